"""Two images are compared by the pictures that they show; transforms are those between the whole images."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from curation.config import ImageConfig
from curation.imaging.framed import WHOLE
from curation.imaging.local_features import Features, extract
from curation.imaging.pictures import compare, picture_of
from tests.imaging.test_framed import padded, photo, screenshot

LIMITS = ImageConfig(min_side=1)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def seen(first, second):
    pictures = [picture_of(png(image), LIMITS) for image in (first, second)]
    features = [Features.from_bytes(extract(*picture).to_bytes()) for picture in pictures]
    return compare(*features, *(lambda pixels=pixels: pixels for pixels, _ in pictures))


def test_one_photo_in_two_frames_is_one_photo():
    result = seen(screenshot(photo("coffee")), padded(photo("coffee"), (0, 0, 0)))
    assert result.probability >= 0.95


def test_two_photos_in_one_frame_are_two_photos():
    result = seen(screenshot(photo("coffee")), screenshot(photo("chelsea")))
    assert result.probability < 0.5


def test_a_photo_is_the_original_of_itself_in_a_frame():
    bare, framed = data.coffee(), padded(data.coffee(), (255, 255, 255))
    assert seen(bare, framed).original > 0.9
    assert seen(framed, bare).original < 0.1


def test_the_transform_takes_places_of_the_whole_image_to_places_of_the_whole_image():
    result = seen(photo("coffee"), padded(photo("coffee"), (0, 0, 0)))
    transform = np.array(result.transform).reshape(2, 3)
    np.testing.assert_allclose(transform @ (0, 0, 1), (40 / 380, 60 / 320), atol=0.02)
    np.testing.assert_allclose(transform @ (1, 1, 1), (340 / 380, 260 / 320), atol=0.02)


def test_mirrored_in_a_frame_the_transform_starts_from_the_mirrored_image():
    framed = padded(photo("coffee"), (0, 0, 0))[:, 20:]  # so that the frame is not the same on both sides
    result = seen(framed[:, ::-1], photo("coffee"))
    assert result.mirrored
    transform = np.array(result.transform).reshape(2, 3)
    np.testing.assert_allclose(transform @ (20 / 360, 60 / 320, 1), (0, 0), atol=0.02)


def test_a_small_picture_in_a_large_frame_is_decoded_so_that_it_has_pixels():
    large = screenshot(photo("coffee"))
    large = np.asarray(Image.fromarray(large).resize((1920, 1200), Image.Resampling.LANCZOS))
    pixels, frame = picture_of(png(large), LIMITS)
    assert frame != WHOLE
    assert min(pixels.shape[:2]) >= 320
