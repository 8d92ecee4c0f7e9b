"""Images as people hold them, to pixels: a path, encoded bytes, or an array."""

import os
from collections.abc import Sequence

import numpy as np

from curation.config import ImageConfig
from curation.drops import Dropped
from curation.errors import ConfigError, DatasetError
from curation.imaging.decode import Pixels, decode
from curation.run.store import filesystem

__all__ = ["Image", "bytes_of", "decode_image", "name_of", "pixels_of"]

Image = str | os.PathLike[str] | bytes | Pixels
LIMITS = ImageConfig(min_side=1)


def decode_image(data: bytes, *, side: int | None = None, max_pixels: int = LIMITS.max_pixels) -> Pixels:
    """Decode an image as a viewer would show it, by the decoder of the pipeline; the bytes may be hostile.

    EXIF orientation is applied, colours are converted to sRGB, transparency is laid over white, 16-bit samples are
    scaled to 8, and of an animation the first frame is taken.

    Args:
        data: a JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF file.
        side: the shorter side in pixels that is enough: a larger JPEG is decoded at 1/2, 1/4 or 1/8 of its size.
        max_pixels: width x height above which it is refused, by its header alone.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DatasetError: the bytes are no image, a damaged one, or one that is too large; it says which.
    """
    pixels = decode(data, LIMITS.model_copy(update={"max_pixels": max_pixels}), side)
    if isinstance(pixels, Dropped):
        raise DatasetError(f"image: {pixels}")
    return pixels


def pixels_of(images: Sequence[Image], row: int, side: int) -> Pixels | Dropped:
    """The pixels of one of several images, or why there are none.

    Raises:
        ConfigError: an array is no (H, W, 3) uint8.
        DatasetError: a file cannot be read.
    """
    image = images[row]
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ConfigError(f"images[{row}]: is {image.dtype} of shape {image.shape}; give (H, W, 3) uint8 RGB")
        return image
    return decode(bytes_of(images, row), LIMITS, side)


def bytes_of(images: Sequence[Image], row: int) -> bytes:
    """The encoded bytes of one of several images that is no array; DatasetError where its file cannot be read."""
    image = images[row]
    assert not isinstance(image, np.ndarray)
    return image if isinstance(image, bytes) else _read(image)


def name_of(images: Sequence[Image], row: int) -> str:
    """What messages call one of several images."""
    image = images[row]
    return f"images[{row}]" if isinstance(image, bytes | np.ndarray) else f"images[{row}] ({os.fspath(image)})"


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        fs, inner = filesystem(os.fspath(path))
        return bytes(fs.cat_file(inner))
    except OSError as error:
        raise DatasetError(f"{os.fspath(path)}: cannot be read ({error.strerror or error}); check the path") from error
