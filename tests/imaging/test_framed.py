"""A drawn frame is told from a photograph, and its picture is where it is."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw
from skimage import data

from curation.imaging.decode import encode_jpeg
from curation.imaging.framed import WHOLE, picture_in, without_frame

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")


def photo(name, size=(300, 200)):
    return np.asarray(Image.fromarray(getattr(data, name)()).resize(size, Image.Resampling.LANCZOS))


def screenshot(picture):
    """A white page with bars, a column of buttons and lines of text around a picture at (180, 140)."""
    canvas = Image.new("RGB", (640, 400), (255, 255, 255))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, 640, 40), fill=(50, 80, 160))
    for row in range(8):
        draw.rectangle((20, 70 + 38 * row, 120, 90 + 38 * row), fill=(225, 228, 235))
        draw.text((190, 60 + 9 * row), "one line of text after another", fill=(30, 30, 30))
    canvas.paste(Image.fromarray(picture), (180, 140))
    return np.asarray(canvas)


def card(picture):
    """A grey page with a column of entries and, on a white card under a bar, a picture at (170, 150)."""
    canvas = Image.new("RGB", (640, 400), (240, 242, 245))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, 640, 30), fill=(255, 255, 255))
    draw.rectangle((0, 31, 110, 400), fill=(248, 249, 252))
    for row in range(9):
        draw.text((14, 50 + 30 * row), "an entry", fill=(90, 95, 110))
    draw.rectangle((150, 90, 490, 400), fill=(255, 255, 255))
    draw.ellipse((160, 98, 190, 128), fill=(120, 60, 40))
    draw.text((200, 105), "somebody, an hour ago", fill=(40, 40, 40))
    canvas.paste(Image.fromarray(picture), (170, 150))
    return np.asarray(canvas)


def padded(picture, colour):
    canvas = np.full((picture.shape[0] + 120, picture.shape[1] + 80, 3), colour, np.uint8)
    canvas[60:-60, 40:-40] = picture
    return canvas


@pytest.mark.parametrize("name", PHOTOS)
def test_the_picture_of_a_screenshot_is_found_to_the_pixel(name):
    frame = picture_in(screenshot(photo(name)))
    assert frame is not None
    np.testing.assert_allclose(frame, (180 / 640, 140 / 400, 300 / 640, 200 / 400), atol=0.012)


@pytest.mark.parametrize("name", PHOTOS)
def test_the_picture_on_a_card_is_found_and_not_the_card(name):
    frame = picture_in(card(photo(name)))
    assert frame is not None
    np.testing.assert_allclose(frame, (170 / 640, 150 / 400, 300 / 640, 200 / 400), atol=0.02)


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (30, 140, 90)])
def test_a_border_of_one_colour_is_a_frame(name, colour):
    if name in ("astronaut", "coffee") and colour == (0, 0, 0):
        pytest.skip("an edge of it is as black as the border: no frame is seen, and the image is compared whole")
    frame = picture_in(padded(photo(name), colour))
    assert frame is not None
    np.testing.assert_allclose(frame, (40 / 380, 60 / 320, 300 / 380, 200 / 320), atol=0.02)


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_jpeg_hides_no_frame(name):
    encoded = encode_jpeg(Image.fromarray(padded(photo(name), (255, 255, 255))), 60)
    assert picture_in(np.asarray(Image.open(io.BytesIO(encoded)))) is not None


def test_a_frame_within_a_frame_is_taken_off_too():
    frame = picture_in(padded(padded(photo("chelsea"), (0, 0, 0)), (255, 255, 255)))
    assert frame is not None
    np.testing.assert_allclose(frame, (80 / 460, 120 / 440, 300 / 460, 200 / 440), atol=0.02)


@pytest.mark.parametrize("name", [*PHOTOS, "camera", "cat", "hubble_deep_field", "immunohistochemistry"])
def test_a_photograph_has_none(name):
    image = getattr(data, name)()
    image = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    assert picture_in(image) is None
    assert without_frame(image) is image


@pytest.mark.parametrize("shape", [(1, 1), (2, 500), (23, 23), (64, 64), (700, 3)])
def test_plain_and_tiny_images_have_none(shape):
    assert picture_in(np.full((*shape, 3), 200, np.uint8)) is None


def test_the_whole_is_no_frame():
    assert WHOLE == (0, 0, 1, 1)
