"""`decode_image`: pixels of bytes that are at hand."""

import io

import numpy as np
import pytest
from PIL import Image

from curation import decode_image
from curation.errors import DatasetError


def test_pixels_are_upright_rgb(encoded, photo):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: shown, the picture is 80 wide
    assert decode_image(encoded(photo(1), exif=exif)).shape == (96, 80, 3)


def test_a_large_jpeg_is_decoded_as_small_as_is_enough(encoded, photo):
    assert decode_image(encoded(photo(1, width=400, height=300)), side=70).shape == (75, 100, 3)


def test_transparency_lies_over_white():
    buffer = io.BytesIO()
    Image.new("RGBA", (3, 2), (0, 0, 0, 0)).save(buffer, "PNG")
    pixels = decode_image(buffer.getvalue())
    assert (pixels.dtype, pixels.shape, np.unique(pixels).tolist()) == (np.uint8, (2, 3, 3), [255])


def test_what_is_refused_says_why(encoded, photo):
    data = encoded(photo(1))
    for refused, options, words in (
        (b"", {}, "image: "),
        (b"text", {}, "starts with b'text'"),
        (data[:-700], {}, "truncated"),
        (data, {"max_pixels": 100}, "96 x 80"),
    ):
        with pytest.raises(DatasetError, match=words):
            decode_image(refused, **options)
