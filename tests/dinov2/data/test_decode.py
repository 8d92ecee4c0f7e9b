"""Decoding untrusted bytes."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curation.dinov2.data.decode import BrokenImageError, decode

from .made import jpeg, picture


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = Image.new(mode, (20, 10)) if mode == "I;16" else picture(0).convert(mode)
    pixels = decode(encoded(image, "TIFF"), max_pixels=10_000)
    assert pixels.shape == (image.height, image.width, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize(
    "content",
    [b"", b"not an image", jpeg(0)[:200], b"\xff\xd8\xff\xe0" + bytes(300), b"%!PS-Adobe-3.0 EPSF-3.0\n"],
    ids=["empty", "text", "truncated", "zeros", "postscript"],
)
def test_what_is_no_image_is_one_kind_of_error(content: bytes) -> None:
    with pytest.raises(BrokenImageError):
        decode(content, max_pixels=10_000)


def test_size_is_judged_before_pixels_are_made() -> None:
    with pytest.raises(BrokenImageError, match="40x40 is more than 100 pixels"):
        decode(jpeg(0), max_pixels=100)


def test_a_decompression_bomb_is_an_error_not_a_warning() -> None:
    bomb = encoded(Image.new("1", (20_000, 20_000)), "PNG")
    with pytest.raises(BrokenImageError):
        decode(bomb, max_pixels=64_000_000)


def test_a_large_jpeg_is_decoded_no_smaller_than_needed(tmp_path: Path) -> None:
    content = jpeg(0, size=400)
    assert decode(content, max_pixels=10**6, enough=90).shape == (100, 100, 3)
    assert decode(content, max_pixels=10**6, enough=300).shape == (400, 400, 3)
    assert decode(content, max_pixels=10**6).shape == (400, 400, 3)
