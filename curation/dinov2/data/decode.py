"""Image bytes to pixels. The bytes are untrusted: size is judged before pixels are made, any failure is one error."""

import io
import warnings

import numpy as np
from PIL import Image

__all__ = ["BrokenImageError", "decode"]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")


class BrokenImageError(Exception):
    """The bytes are no image, or one that is too large."""


def decode(content: bytes, *, max_pixels: int, enough: int | None = None) -> np.ndarray:
    """RGB pixels `(H, W, 3)` uint8.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size, which is much faster, if its shorter side stays at least `enough`.

    Raises:
        BrokenImageError: not decodable, or more than `max_pixels`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise BrokenImageError(f"{width}x{height} is more than {max_pixels} pixels")
                if image.format == "JPEG" and enough is not None:
                    factor = next((f for f in (8, 4, 2) if min(width, height) // f >= enough), 1)
                    image.draft("RGB", (width // factor, height // factor))
                return np.asarray(image.convert("RGB"))
        except BrokenImageError:
            raise
        except Exception as error:  # decoders raise nearly anything on hostile bytes
            raise BrokenImageError(f"{type(error).__name__}: {error}") from error
