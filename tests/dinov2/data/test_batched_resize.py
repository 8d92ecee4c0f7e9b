"""Resized crops of many pictures together against torch's and Pillow's, one at a time."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from curation.dinov2.data import batched_resize
from curation.dinov2.data.augment import resized_crop
from curation.dinov2.data.batched_resize import Crop, Pictures, filters

CPU = torch.device("cpu")
SIZES = ((40, 60), (75, 31), (9, 120), (1, 1))
PICTURES = [torch.from_numpy(np.random.default_rng(n).integers(0, 256, (*s, 3), np.uint8)) for n, s in enumerate(SIZES)]
CROPS = [
    Crop(0, (0, 0, 40, 60), False),
    Crop(0, (11, 7, 29, 20), True),
    Crop(1, (30, 4, 45, 27), True),
    Crop(1, (0, 30, 75, 1), False),
    Crop(2, (1, 3, 8, 117), False),
    Crop(2, (4, 50, 3, 2), True),
    Crop(3, (0, 0, 1, 1), False),
]


@pytest.mark.parametrize("size", [5, 14, 28])
def test_crops_are_those_of_torchs_8_bit_kernel_to_one_level_though_pixels_are_noise(size: int) -> None:
    ours = Pictures(PICTURES, CPU).crops(CROPS, size)
    assert ours.shape == (len(CROPS), 3, size, size)
    assert torch.equal(ours, ours.round().clamp(0, 255))
    for crop, result in zip(CROPS, ours, strict=True):
        expected = resized_crop(PICTURES[crop.picture].permute(2, 0, 1), crop.box, size).float()
        difference = (result - (expected.flip(-1) if crop.flip else expected)).abs()
        assert difference.max() <= 1
        assert difference.mean() < 0.05


def test_crops_are_pillows_to_one_level() -> None:
    result = Pictures(PICTURES, CPU).crops([CROPS[0]], 14)[0].permute(1, 2, 0).numpy()
    pillow = Image.fromarray(PICTURES[0].numpy()).resize((14, 14), Image.Resampling.BICUBIC)
    assert np.abs(result - np.asarray(pillow).astype(float)).max() <= 1


@pytest.mark.parametrize("size", [7, 30])
def test_filters_are_torchs_antialiased_bicubic_in_floats(size: int) -> None:
    lengths = torch.tensor([50, 31, 8, 1, 71])
    weights = filters(lengths, size, 71)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(5, size))
    for length, result in zip(lengths.tolist(), weights, strict=True):
        assert (result[:, length:] == 0).all()
        signals = torch.eye(length)[None, None]  # each row a signal of one sample: what comes out are the weights
        expected = functional.interpolate(signals, size=(length, size), mode="bicubic", antialias=True)[0, 0].T
        torch.testing.assert_close(result[:, :length], expected, rtol=0, atol=2e-5)


def test_crops_do_not_depend_on_what_they_are_padded_to(monkeypatch: pytest.MonkeyPatch) -> None:
    together = Pictures(PICTURES, CPU).crops(CROPS, 14)
    monkeypatch.setattr(batched_resize, "AT_ONCE", 1)
    alone = Pictures(PICTURES, CPU).crops(CROPS, 14)
    assert (together != alone).float().mean() < 0.001  # sums in another order, at a half
    assert (together - alone).abs().max() <= 1
