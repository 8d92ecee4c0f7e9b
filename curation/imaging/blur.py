"""Makes faces unrecognisable for good: a few cells of noisy colour, and nothing of the face.

A box and a margin around it are shrunk to two cells across, noise is added to the cells, they are rounded to 16
levels, and smoothly enlarged again. At most 2 x 4 numbers of 4 bits a channel are left of a face, whatever its size;
sharpening cannot bring back what is not there. With four cells across, the detector still took every fourth small
face for one (docs/filters.md). The margin covers hair and chin, which boxes leave out.
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from curation.imaging.decode import FORMATS, Pixels

__all__ = ["Region", "blur", "encode_like", "region_around"]

CELLS = 2
MOST_CELLS = 4
NOISE = 12.0
STEP = 16
QUALITY = 95


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of whole pixels, right and bottom not included."""

    left: int
    top: int
    right: int
    bottom: int


def region_around(box: tuple[float, float, float, float], margin: float, width: int, height: int) -> Region | None:
    """The pixels that a box and a margin touch; None where no pixel of the image is among them.

    Args:
        box: left, top, width and height; it may reach over the border, or be empty.
        margin: added at each side, as a share of the box's longer side.
    """
    x, y, across, down = box
    if not np.isfinite(box).all():
        return None
    extra = margin * max(across, down, 0.0)
    left, top = max(0, int(np.floor(x - extra))), max(0, int(np.floor(y - extra)))
    right, bottom = min(width, int(np.ceil(x + across + extra))), min(height, int(np.ceil(y + down + extra)))
    return Region(left, top, right, bottom) if left < right and top < bottom else None


def blur(image: Pixels, regions: Sequence[Region], seed: bytes) -> Pixels:
    """A copy of a (H, W, 3) uint8 image in which the regions are blurred; all other pixels are the same.

    Args:
        seed: decides the noise, together with the region's number; equal input gives equal output.
    """
    out = image.copy()
    for number, region in enumerate(regions):
        key = hashlib.sha256(seed + number.to_bytes(4, "big")).digest()
        rng = np.random.default_rng(int.from_bytes(key[:16], "big"))
        rows, columns = slice(region.top, region.bottom), slice(region.left, region.right)
        out[rows, columns] = _obscured(out[rows, columns], rng)
    return out


def _obscured(patch: Pixels, rng: np.random.Generator) -> Pixels:
    height, width = patch.shape[:2]
    shorter = min(height, width)
    grid = tuple(max(1, min(MOST_CELLS, side, round(CELLS * side / shorter))) for side in (width, height))
    cells = np.asarray(Image.fromarray(patch).resize(grid, Image.Resampling.BOX), np.float64)
    noisy = cells + rng.normal(0.0, NOISE, (*cells.shape[:2], 1))
    levels = np.clip(np.floor(noisy / STEP) * STEP + STEP / 2, 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC))


def encode_like(pixels: Pixels, original: bytes) -> bytes:
    """Encode changed pixels as their original was encoded, without its metadata.

    A JPEG becomes a JPEG with the same quantisation tables and chroma subsampling, so that blocks that did not change
    are quantised to what they were: all but a few pixels there come back within a level or two, not all of them
    bit-equal, which only an encoder of coefficients could do. Everything else becomes PNG, where they are equal.
    """
    buffer = io.BytesIO()
    options = _jpeg_options(original)
    if options is None:
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)
    else:
        Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def _jpeg_options(data: bytes) -> dict[str, Any] | None:
    """How to encode like a JPEG; None where the bytes are something else."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.format not in ("JPEG", "MPO"):
            return None
        tables: dict[int, list[int]] = image.quantization  # type: ignore[attr-defined]
        layers: list[tuple[int, int, int, int]] = image.layer  # type: ignore[attr-defined]
    chosen = [tables[at] for at in sorted(tables)][:2]
    if not chosen or max(max(table) for table in chosen) > 255:  # baseline tables have 8 bits
        return {"quality": QUALITY}
    return {"qtables": chosen, "subsampling": _subsampling(layers)}


def _subsampling(layers: Sequence[tuple[int, int, int, int]]) -> int:
    """Pillow's number for the chroma subsampling of a JPEG's components (id, across, down, table)."""
    if len(layers) != 3:
        return 0
    return {(1, 1): 0, (2, 1): 1, (2, 2): 2}.get((layers[0][1] // layers[1][1], layers[0][2] // layers[1][2]), 0)
