"""timm models: loaded strictly and safely, preprocessed as timm does."""

import hashlib
import os
import pickle
import re

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from curation.config import ModelConfig
from curation.errors import ModelError
from curation.models import open_embedder

RESNET, VIT = "timm/resnet10t", "timm/vit_tiny_patch16_224"


class Marker:
    """Pickled code: unpickling it makes a directory."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Checkpoints of two small models in the shapes that people have them in."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    resnet = timm.create_model("resnet10t").eval()
    vit = timm.create_model("vit_tiny_patch16_224").eval()
    save_file(resnet.state_dict(), folder / "resnet.safetensors")
    torch.save(resnet.state_dict(), folder / "resnet.pth")
    torch.save({"state_dict": {f"module.{k}": v for k, v in resnet.state_dict().items()}}, folder / "wrapped.pth")
    headless = {key: value for key, value in resnet.state_dict().items() if not key.startswith("fc.")}
    save_file(headless, folder / "headless.safetensors")
    save_file(vit.state_dict(), folder / "vit.safetensors")
    encoder = {f"module.{key}": value for key, value in vit.state_dict().items()}
    torch.save({"encoder": encoder, "epoch": 9}, folder / "ijepa.pth.tar")
    return folder


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 256, (height, width, 3)).astype(np.uint8) for height, width in ((300, 220), (64, 64), (9, 70))
    ]


def opened(model, weights, **settings):
    embedder = open_embedder(ModelConfig(model=model, weights=str(weights), **settings))
    embedder.setup()
    return embedder


def by_hand(name, path, images):
    """The same vectors by timm alone, one image at a time."""
    model = timm.create_model(name, num_classes=0, checkpoint_path="").eval()
    state = {key: value for key, value in torch.load(path, weights_only=True).items() if not key.startswith("fc.")}
    model.load_state_dict(state)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with torch.inference_mode():
        features = torch.cat([model(transform(Image.fromarray(image))[None]) for image in images])
    return torch.nn.functional.normalize(features).numpy()


def refusal(model, weights, **settings):
    with pytest.raises(ModelError) as refused:
        opened(model, weights, **settings)
    text = str(refused.value)
    assert "\n" not in text
    assert model in text
    return text


def test_vectors_are_those_of_timm_itself(files, images):
    embedder = opened(RESNET, files / "resnet.safetensors")
    vectors = embedder.embed(images)
    assert (embedder.name, embedder.dim, embedder.needs_fit) == (RESNET, 512, False)
    assert (vectors.shape, vectors.dtype) == ((3, 512), np.float32)
    np.testing.assert_allclose(vectors, by_hand("resnet10t", files / "resnet.pth", images), atol=3e-4)


@pytest.mark.parametrize("name", ["resnet.pth", "wrapped.pth", "headless.safetensors"])
def test_every_shape_of_checkpoint_gives_the_same_vectors(files, images, name):
    expected = opened(RESNET, files / "resnet.safetensors").embed(images)
    np.testing.assert_array_equal(opened(RESNET, files / name).embed(images), expected)


def test_a_foreign_checkpoint_passes_through_timms_own_conversion(files, images):
    expected = opened(VIT, files / "vit.safetensors").embed(images)
    np.testing.assert_array_equal(opened(VIT, files / "ijepa.pth.tar").embed(images), expected)


def test_batches_change_nothing_but_rounding(files, images):
    many = images * 3
    at_once = opened(RESNET, files / "resnet.pth", batch=64).embed(many)
    one_by_one = opened(RESNET, files / "resnet.pth", batch=1).embed(many)
    np.testing.assert_allclose(at_once, one_by_one, atol=1e-5)
    assert opened(RESNET, files / "resnet.pth").embed([]).shape == (0, 512)


def test_the_side_is_what_timm_resizes_to_before_its_crop():
    assert open_embedder(ModelConfig(model=VIT)).side == 248  # 224 / 0.9
    assert open_embedder(ModelConfig(model=RESNET)).side == 201  # 176 / 0.875


def test_the_papers_stand_in_is_known_and_nothing_is_loaded_to_say_so():
    embedder = open_embedder(ModelConfig(model="timm/vit_huge_patch14_gap_224.in22k_ijepa"))
    assert embedder.side == 248


def test_the_fingerprint_is_name_version_and_sha256(files):
    digest = hashlib.sha256((files / "resnet.pth").read_bytes()).hexdigest()
    embedder = open_embedder(ModelConfig(model=RESNET, weights=str(files / "resnet.pth")))
    assert embedder.fingerprint() == f"timm/resnet10t v2 sha256:{digest}"


def test_pinned_weights_are_verified_before_they_are_loaded(files, tmp_path):
    good = hashlib.sha256((files / "resnet.pth").read_bytes()).hexdigest()
    assert opened(RESNET, files / "resnet.pth", sha256=good).dim == 512
    torch.save({"bomb": Marker(tmp_path / "ran")}, tmp_path / "other.pth")
    text = refusal(RESNET, tmp_path / "other.pth", sha256=good)
    assert f"but {good} is pinned; get the right file, or change the sha256 setting" in text
    with pytest.raises(ModelError, match="is pinned"):
        open_embedder(ModelConfig(model=RESNET, weights=str(files / "resnet.safetensors"), sha256=good)).fingerprint()


@pytest.mark.parametrize("protocol", ["torch", "plain pickle"])
def test_code_in_a_checkpoint_is_refused_and_never_runs(tmp_path, protocol):
    path = tmp_path / "weights.pth"
    if protocol == "torch":
        torch.save({"state_dict": {}, "extra": Marker(tmp_path / "ran")}, path)
    else:
        path.write_bytes(pickle.dumps({"extra": Marker(tmp_path / "ran")}))
    assert "holds more than tensors or is damaged, and is not loaded; get it as safetensors" in refusal(RESNET, path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["resnet.pth", "resnet.safetensors"])
@pytest.mark.parametrize("damage", ["cut short", "empty", "garbage"])
def test_damaged_files_are_refused(files, tmp_path, name, damage):
    data = (files / name).read_bytes()
    broken = {"cut short": data[: len(data) // 2], "empty": b"", "garbage": b"\x00\x01\x02" * 5000}[damage]
    path = tmp_path / name
    path.write_bytes(broken)
    assert re.search(r"damaged.*; get (the file again|it as safetensors)$", refusal(RESNET, path))


def test_weights_of_another_model_are_refused_naming_the_keys(files):
    text = refusal(RESNET, files / "vit.safetensors")
    assert "is no checkpoint of this model" in text
    assert 'Missing key(s) in state_dict: "conv1.0.weight"' in text


def test_one_missing_key_is_enough_to_be_refused(files, tmp_path):
    state = torch.load(files / "resnet.pth", weights_only=True)
    del state["layer1.0.conv1.weight"]
    torch.save(state, tmp_path / "almost.pth")
    assert 'Missing key(s) in state_dict: "layer1.0.conv1.weight"' in refusal(RESNET, tmp_path / "almost.pth")


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {"state_dict": 5}, {}])
def test_what_is_no_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "odd.pth")
    assert "is no checkpoint of this model" in refusal(RESNET, tmp_path / "odd.pth")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("timm/resnet1Ot", r"timm knows no such model; did you mean .*timm/resnet10t"),
        ("timm/vit_tiny_patch16_224.augreg", r"timm knows vit_tiny_patch16_224, but not this variant of it; did you"),
        ("timm/hf-hub:timm/resnet18", r"timm knows no such model"),
        ("timm/../../etc/passwd", r"timm knows no such model; list them with timm.list_models\(\)"),
    ],
)
def test_typing_errors_in_names_are_answered_with_names(model, expected):
    with pytest.raises(ModelError, match=expected):
        open_embedder(ModelConfig(model=model))


def test_a_model_that_gives_no_vector_is_refused(files, monkeypatch):
    monkeypatch.setattr(timm.models.resnet.ResNet, "forward", timm.models.resnet.ResNet.forward_features)
    assert "gives no vector per image; name an image classifier" in refusal(RESNET, files / "resnet.pth")


def test_nothing_is_embedded_before_setup(images):
    with pytest.raises(AssertionError, match="comes before"):
        open_embedder(ModelConfig(model=RESNET)).embed(images)
