"""Colour operations on a batch against those on one image: both end on whole values, which sums may fall beside."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from curation.dinov2.data import batched_colour, colour

SIDE = 32
NAMES = ("astronaut", "coffee", "chelsea")
PHOTOS = [Image.fromarray(getattr(data, n)()).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for n in NAMES]
ONE = [np.asarray(photo).transpose(2, 0, 1).astype(np.float32) for photo in PHOTOS]
ONE.append(np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE)).astype(np.float32))
ONE.append(np.broadcast_to(ONE[0][1], (3, SIDE, SIDE)).copy())  # grey


def differences(batched: torch.Tensor, change: Callable[[np.ndarray, int], None]) -> np.ndarray:
    """By how much an image of the batch is off the one changed by itself."""
    images = [x.copy() for x in ONE]
    for number, x in enumerate(images):
        change(x, number)
    assert batched.shape == (len(ONE), 3, SIDE, SIDE)
    assert torch.equal(batched, batched.floor().clamp(0, 255))
    return np.abs(batched.numpy() - np.stack(images))


def batch() -> torch.Tensor:
    return torch.from_numpy(np.stack(ONE))


@pytest.mark.parametrize(
    ("together", "alone", "amounts"),
    [
        (batched_colour.brighten, colour.brighten, [0.61317, 0.93714, 1.0, 1.21732, 1.39121]),
        (batched_colour.contrast, colour.contrast, [0.61317, 0.93714, 1.0, 1.21732, 1.39121]),
        (batched_colour.saturate, colour.saturate, [0.8, 0.93, 1.0, 1.13, 1.2]),
        (batched_colour.rotate_hue, colour.rotate_hue, [-0.1, -0.03, 0.0, 0.07, 0.1]),
    ],
    ids=["brightness", "contrast", "saturation", "hue"],
)
def test_each_image_is_changed_by_its_own_amount(
    together: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    alone: Callable[[np.ndarray, float], None],
    amounts: list[float],
) -> None:
    result = differences(together(batch(), torch.tensor(amounts)), lambda x, number: alone(x, amounts[number]))
    assert result.max() <= 1
    assert result[:-1].mean() < 0.001
    assert result[-1].mean() < 0.5  # x * f + x * (1 - f), whole but for the last bit


def test_blur_has_the_taps_of_each_images_own_width() -> None:
    widths = [0.1, 0.4, 0.9, 1.5, 2.0]
    kernels = [colour.gaussian(width) for width in widths]
    assert [len(kernel) for kernel in kernels] == [1, 2, 4, 5, 5]
    weights = torch.from_numpy(np.stack([np.pad(kernel, (0, 5 - len(kernel))) for kernel in kernels]))
    result = differences(batched_colour.blur(batch(), weights), lambda x, number: colour.blur(x, widths[number]))
    assert result.max() <= 1
    assert result.mean() < 0.001


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_images_smaller_than_the_blur_are_mirrored_as_often_as_needed(side: int) -> None:
    x = np.random.default_rng(side).integers(0, 256, (3, side, side)).astype(np.float32)
    result = batched_colour.blur(torch.from_numpy(x)[None], torch.from_numpy(colour.gaussian(2.0))[None])[0]
    colour.blur(x, 2.0)
    assert np.abs(result.numpy() - x).max() <= 1


def test_grey_and_solarise_are_the_same() -> None:
    assert differences(batched_colour.grey(batch()), lambda x, _: colour.grey(x)).max() <= 1
    assert differences(batched_colour.solarise(batch()), lambda x, _: colour.solarise(x)).max() == 0


def test_no_operation_changes_what_it_is_given() -> None:
    x, ones = batch(), torch.ones(len(ONE))
    for change in (batched_colour.brighten, batched_colour.contrast, batched_colour.saturate):
        change(x, 0.7 * ones)
    batched_colour.rotate_hue(x, 0.1 * ones)
    batched_colour.blur(x, torch.full((len(ONE), 2), 1 / 3))
    batched_colour.grey(x)
    batched_colour.solarise(x)
    assert torch.equal(x, batch())
