"""The ONNX graph says what timm's network says, and the weights are those of the package and no others."""

import dataclasses

import numpy as np
import pytest
import timm
import torch
from skimage import data

from curation.errors import ModelError
from curation.models.detectors import package_file
from curation.models.detectors.package_file import LITE0, find_package_file
from curation.models.lite0.network import ANIMALS, FOOD, Lite0


@pytest.fixture(scope="module")
def network():
    result = Lite0()
    result.setup()
    return result


def test_it_says_what_timms_network_says(network):
    """Float32 on both sides, in another order of sums."""
    reference = timm.create_model("tf_efficientnet_lite0").eval()
    state = torch.load(find_package_file(LITE0), weights_only=True)
    reference.load_state_dict(dict(zip(reference.state_dict(), state.values(), strict=True)), strict=True)
    images = np.random.default_rng(0).integers(0, 256, (10, 224, 224, 3), dtype=np.uint8)
    with torch.inference_mode():
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        features = reference.blocks(reference.bn1(reference.conv_stem(pixels)))
        head = reference.bn2(reference.conv_head(features)).mean((2, 3))
        probabilities = reference(pixels).softmax(1)
    looks = network.look(list(images))
    np.testing.assert_allclose(looks.features, features.mean((2, 3)).numpy(), atol=1e-3)
    np.testing.assert_allclose(looks.head, head.numpy(), atol=1e-3)
    np.testing.assert_allclose(looks.probabilities, probabilities.numpy(), atol=1e-4)


def test_a_cat_is_an_animal_and_a_cup_of_coffee_food_or_drink(network):
    cat, coffee, man = network.look([data.chelsea(), data.coffee(), data.astronaut()]).probabilities
    assert cat[ANIMALS].sum() > 0.9
    assert coffee[FOOD].sum() > 0.5
    assert man[ANIMALS].sum() + man[FOOD].sum() < 0.1


def test_images_of_any_size_are_looked_at_and_none_gives_none(network):
    shapes = ((1, 1), (3, 900), (224, 224), (500, 300))
    looks = network.look([np.full((*shape, 3), 99, np.uint8) for shape in shapes])
    assert looks.features.shape == (4, 320)
    assert np.isfinite(looks.head).all()
    assert network.look([]).probabilities.shape == (0, 1000)


def test_other_weights_are_refused_in_one_line(monkeypatch):
    other = dataclasses.replace(LITE0, sha256="0" * 64)
    with pytest.raises(ModelError, match="is not that of") as caught:
        find_package_file(other)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(package_file.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="is not installed; run `python -m pip install"):
        Lite0().setup()
