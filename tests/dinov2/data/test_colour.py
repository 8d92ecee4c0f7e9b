"""Colour operations against torchvision's on 8-bit images."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from skimage import data
from torchvision.transforms import functional as reference

from curation.dinov2.data import colour

PHOTO = Image.fromarray(data.astronaut()).resize((96, 96), Image.Resampling.BICUBIC)


def planes(image: Image.Image) -> np.ndarray:
    return np.asarray(image).transpose(2, 0, 1).astype(np.float32)


def difference(ours: Callable[[np.ndarray], None], official: Image.Image) -> np.ndarray:
    x = planes(PHOTO)
    ours(x)
    assert x.min() >= 0
    assert x.max() <= 255
    assert (x == np.floor(x)).all()
    return np.abs(x - planes(official))


@pytest.mark.parametrize("factor", [0.6, 0.9, 1.0, 1.3])
def test_brightness_contrast_and_saturation_are_torchvisions_to_one_level(factor: float) -> None:
    assert difference(lambda x: colour.brighten(x, factor), reference.adjust_brightness(PHOTO, factor)).max() <= 1
    assert difference(lambda x: colour.contrast(x, factor), reference.adjust_contrast(PHOTO, factor)).max() <= 1
    assert difference(lambda x: colour.saturate(x, factor), reference.adjust_saturation(PHOTO, factor)).max() <= 1


@pytest.mark.parametrize("turn", [-0.1, -0.03, 0.05, 0.1])
def test_hue_is_torchvisions_up_to_its_8_bit_hues(turn: float) -> None:
    result = difference(lambda x: colour.rotate_hue(x, turn), reference.adjust_hue(PHOTO, turn))
    assert result.mean() < 1.5
    assert np.quantile(result, 0.99) <= 6


def test_no_turn_changes_no_pixel_and_grey_stays_grey() -> None:
    assert difference(lambda x: colour.rotate_hue(x, 0.0), PHOTO).max() == 0
    x = np.full((3, 4, 4), 77, dtype=np.float32)
    colour.rotate_hue(x, 0.3)
    assert (x == 77).all()


@pytest.mark.parametrize("sigma", [0.1, 0.2, 0.3, 0.5, 0.9, 1.4, 2.0])
def test_blur_is_torchvisions_9_tap_blur_to_one_level(sigma: float) -> None:
    official = reference.gaussian_blur(PHOTO, [9, 9], [sigma, sigma])
    assert difference(lambda x: colour.blur(x, sigma), official).max() <= 1


def test_grey_and_solarise_are_pillows() -> None:
    assert difference(colour.grey, reference.rgb_to_grayscale(PHOTO, 3)).max() <= 1
    assert difference(colour.solarise, reference.solarize(PHOTO, 128)).max() == 0
