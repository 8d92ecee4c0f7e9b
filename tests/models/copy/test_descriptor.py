"""SSCD by name: vectors, weights that fit and weights that do not."""

import os
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import resnet50

from curation.config import ModelConfig
from curation.errors import ModelError
from curation.models import open_embedder
from curation.models.copy.descriptor import CopyDescriptor, copy_models
from curation.models.copy.network import GeM, Sscd, normalise

SSCD = "sscd/disc_mixup"


class Marker:
    """Pickled code: unpickling it makes a directory."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def opened(**settings):
    embedder = open_embedder(ModelConfig(model=SSCD, **settings))
    embedder.setup()
    return embedder


@pytest.fixture(scope="module")
def sscd_net():
    torch.manual_seed(3)
    return Sscd().eval()


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*shape, 3)).astype(np.uint8) for shape in ((300, 220), (64, 64))]


def test_sscd_has_the_keys_and_shapes_of_the_published_file(sscd_net):
    """It is torchvision's ResNet-50 with 512 outputs for its classes, under `backbone.`; GeM has no weights."""
    reference = resnet50(weights=None, num_classes=512).state_dict()
    state = sscd_net.state_dict()
    assert {key: value.shape for key, value in state.items()} == {
        f"backbone.{key}": value.shape for key, value in reference.items()
    }
    assert state["backbone.fc.weight"].shape == (512, 2048)
    assert state["backbone.conv1.weight"].shape == (64, 3, 7, 7)
    assert len(state) == 320


@pytest.mark.slow
def test_sscd_is_read_from_a_state_dict_and_from_torchscript_alike(sscd_net, images, tmp_path):
    torch.save(sscd_net.state_dict(), tmp_path / "sscd_disc_mixup.torchvision.pt")
    save_file(sscd_net.state_dict(), tmp_path / "sscd.safetensors")
    with warnings.catch_warnings(action="ignore"):
        script = torch.jit.trace(sscd_net, torch.randn(1, 3, 64, 64))
        torch.jit.save(script, tmp_path / "sscd_disc_mixup.torchscript.pt")
    vectors = [
        opened(weights=str(tmp_path / name)).embed(images[:2])
        for name in ("sscd_disc_mixup.torchvision.pt", "sscd.safetensors", "sscd_disc_mixup.torchscript.pt")
    ]
    assert vectors[0].shape == (2, 512)
    assert np.array_equal(vectors[0], vectors[1])
    assert np.abs(vectors[0] - vectors[2]).max() < 1e-5
    inputs = torch.stack(
        [
            torch.from_numpy(np.array(Image.fromarray(image).resize((320, 320), Image.Resampling.BILINEAR)))
            for image in images[:2]
        ]
    )
    with torch.inference_mode():
        assert np.abs(sscd_net(normalise(inputs)).numpy() - vectors[0]).max() < 1e-5


def test_gem_is_the_third_root_of_the_mean_third_power():
    maps = torch.rand(2, 5, 4, 3, dtype=torch.float64)
    expected = np.cbrt((maps.numpy() ** 3).mean(axis=(2, 3)))
    assert GeM()(maps).numpy() == pytest.approx(expected, rel=1e-12)


def test_weights_that_are_not_the_models_are_refused_in_one_line(sscd_net, tmp_path):
    good, bias = sscd_net.state_dict(), "backbone.fc.bias"
    save_file({key: value for key, value in good.items() if key != bias}, tmp_path / "missing.safetensors")
    save_file({**good, "backbone.more": torch.zeros(1)}, tmp_path / "more.safetensors")
    save_file({**good, bias: torch.zeros(3)}, tmp_path / "shape.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "more.safetensors").read_bytes()[:5000])
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"state_dict": Marker(tmp_path / "made")}, tmp_path / "code.pt")
    (tmp_path / "not.torchscript.pt").write_bytes(b"PK\\x03\\x04 nonsense")
    for name, words in (
        ("missing.safetensors", "1 missing such as backbone.fc.bias"),
        ("more.safetensors", "1 unknown such as backbone.more"),
        ("shape.safetensors", "1 of another shape such as backbone.fc.bias"),
        ("cut.safetensors", "is damaged"),
        ("list.pt", "holds no state dict"),
        ("code.pt", "holds more than tensors or is damaged"),
        ("none.safetensors", "is no file"),
        ("not.torchscript.pt", "is no TorchScript"),
    ):
        with pytest.raises(ModelError, match=words) as caught:
            opened(weights=str(tmp_path / name))
        assert "\\n" not in str(caught.value)
    assert not (tmp_path / "made").exists()


def test_pins_are_checked(sscd_net, tmp_path):
    save_file(sscd_net.state_dict(), tmp_path / "sscd.safetensors")
    with pytest.raises(ModelError, match="is pinned"):
        opened(weights=str(tmp_path / "sscd.safetensors"), sha256="0" * 64)
    with pytest.raises(ModelError, match="no known sha256"):
        open_embedder(ModelConfig(model="sscd/disc_blur")).setup()


def test_names_are_known_or_refused():
    assert copy_models()[0] == "sscd/disc_advanced"
    assert isinstance(open_embedder(ModelConfig(model=SSCD)), CopyDescriptor)
    with pytest.raises(ModelError, match="no such copy descriptor; name one of sscd/"):
        open_embedder(ModelConfig(model="sscd/disc"))
