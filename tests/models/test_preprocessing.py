"""Preprocessing is timm's own, but for a resize's last rounding."""

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform

from curation.models.preprocessing import Preprocessing

DATA = {
    "input_size": (3, 64, 64),
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "crop_mode": "center",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}
SIZES = [(71, 71), (64, 64), (300, 201), (97, 640), (333, 90), (20, 31), (1, 3)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"interpolation": "bilinear", "crop_pct": 1.0},
        {"interpolation": "lanczos", "crop_pct": 0.875},
        {"crop_mode": "squash"},
        {"crop_mode": "border"},
        {"input_size": (3, 48, 64)},
        {"crop_pct": 1.2},
    ],
)
def test_pixels_are_those_of_timms_own_transform(changes):
    data = {**DATA, **changes}
    rng = np.random.default_rng(0)
    smooth = [Image.fromarray(rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)).resize(size[::-1]) for size in SIZES]
    images = [np.asarray(image) for image in smooth]
    images += [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in SIZES]
    result = Preprocessing(data)(images, torch.device("cpu"))
    transform = create_transform(**data)
    expected = torch.stack([transform(Image.fromarray(image)) for image in images])
    assert result.shape == expected.shape
    assert result.dtype == torch.float32
    levels = (result - expected).abs() * torch.tensor(DATA["std"]).view(3, 1, 1) * 255
    assert levels.max() < 1.01  # of 255: one rounding up that was one down
    assert (levels > 0.01).float().mean() < 0.02


def test_very_long_images_are_cut_from_the_same_place():
    gradient = np.add.outer(np.arange(1000) % 200, np.arange(70)).astype(np.uint8)
    images = [np.stack([gradient] * 3, axis=2), np.stack([gradient.T] * 3, axis=2)]
    result = Preprocessing(DATA)(images, torch.device("cpu"))
    transform = create_transform(**DATA)
    expected = torch.stack([transform(Image.fromarray(image)) for image in images])
    levels = (result - expected).abs() * torch.tensor(DATA["std"]).view(3, 1, 1) * 255
    assert levels.mean() < 0.5


def test_threads_change_nothing():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in SIZES * 5]
    preprocess, cpu = Preprocessing(DATA), torch.device("cpu")
    assert torch.equal(preprocess(images, cpu, 4), preprocess(images, cpu))
