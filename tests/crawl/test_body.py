"""Bytes that begin as an image does are told from those that do not."""

import io

import pytest
from PIL import Image

from curation.crawl.body import looks_like_image

FORMATS = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "ICO", "AVIF", "JPEG2000"]


@pytest.mark.parametrize("kind", FORMATS)
def test_images_of_every_usual_format(kind: str) -> None:
    buffer = io.BytesIO()
    try:
        Image.new("RGB", (32, 32)).save(buffer, kind)
    except (KeyError, OSError):
        pytest.skip(f"Pillow was built without {kind}")
    assert looks_like_image(buffer.getvalue()[:16])


@pytest.mark.parametrize(
    "head",
    [b"", b"<html>", b"<!DOCTYPE html>", b"BM and then text", b"RIFF....WAVEfmt ", b"....ftypisom....", b"%PDF-1.7"],
)
def test_what_is_no_image(head: bytes) -> None:
    assert not looks_like_image(head)
