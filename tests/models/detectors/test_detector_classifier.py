"""Classifiers by name: real loading, and one line for whatever cannot be loaded."""

import shutil

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from timm.data.transforms_factory import create_transform

from curation.config import ModelConfig
from curation.errors import ModelError
from curation.models.detectors.classifier import Classifier


@pytest.fixture
def folder(small_classifier, tmp_path):
    """This test's own copy."""
    return shutil.copytree(small_classifier, tmp_path / "classifier")


def opened(folder, **settings):
    return Classifier(ModelConfig(model=f"local-dir:{folder}", **settings))


def images(count):
    rng = np.random.default_rng(0)
    sizes = [(200 + 7 * at, 300 - 11 * at) for at in range(count)]
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in sizes]


def test_probabilities_are_those_of_the_checkpoint(folder):
    classifier = opened(folder)
    assert classifier.side == 168
    classifier.setup()
    assert classifier.labels == ("NSFW", "SFW")
    model = timm.create_model("test_resnet", num_classes=2).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    transform = create_transform((3, 160, 160), crop_pct=0.95, interpolation="bicubic", mean=[0.5] * 3, std=[0.5] * 3)
    with torch.inference_mode():
        logits = model(torch.stack([transform(Image.fromarray(image)) for image in images(3)]))
    expected = torch.softmax(logits, dim=1).numpy()
    np.testing.assert_allclose(classifier.scores(images(3)), expected, atol=1e-5)
    np.testing.assert_allclose(classifier.scores(images(3)).sum(axis=1), 1.0, atol=1e-5)


def test_batches_change_nothing(folder):
    small, large = opened(folder, batch=2), opened(folder, batch=64)
    small.setup()
    large.setup()
    np.testing.assert_allclose(small.scores(images(5)), large.scores(images(5)), atol=1e-5)
    assert small.scores([]).shape == (0, 2)


def test_the_fingerprint_is_that_of_the_weights(folder):
    before = opened(folder).fingerprint()
    assert before.startswith(f"local-dir:{folder} v1 sha256:")
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    assert opened(folder).fingerprint() != before


def break_config(folder):
    (folder / "config.json").write_text("{")


def remove_config(folder):
    (folder / "config.json").unlink()


def remove_weights(folder):
    (folder / "model.safetensors").unlink()


def damage_weights(folder):
    (folder / "model.safetensors").write_bytes(b"\x00" * 500)


def other_labels(folder):
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"NSFW", "SFW"', '"A", "B", "C"'))


@pytest.mark.parametrize(
    ("breaking", "message"),
    [
        (break_config, "its config.json cannot be had"),
        (remove_config, "its config.json cannot be had"),
        (remove_weights, "holds none of model.safetensors, pytorch_model.bin; add the weights"),
        (damage_weights, "is damaged, or no checkpoint of it"),
        (other_labels, "names 3 labels for 2 classes"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(folder, breaking, message):
    breaking(folder)
    with pytest.raises(ModelError) as caught:
        opened(folder).setup()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_other_than_those_pinned_are_refused(folder):
    with pytest.raises(ModelError, match="is pinned"):
        opened(folder, sha256="0" * 64).setup()


@pytest.mark.parametrize("name", ["nsfw", "hf_hub:nobody/no-such-model", "timm/no_such_model", "local-dir:/no/such"])
def test_unknown_names_are_one_line(name):
    with pytest.raises(ModelError) as caught:
        Classifier(ModelConfig(model=name)).fingerprint()
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
