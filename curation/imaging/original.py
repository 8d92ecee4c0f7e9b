"""What tells the original of a picture from its copy, as numbers that change sides with the two pictures.

A copy is blurred, grey, saturated, has something around it or laid over it; a crop lies within its original, and there
the content goes on across the boundary. None of it is certain: it is a guess which of two to keep.
"""

from typing import NamedTuple

import cv2
import numpy as np

from curation.arrays import BoolArray, Float32Array, UInt8Array
from curation.imaging.cues import Places
from curation.imaging.registration import Laid

__all__ = ["SIDED", "Sides", "sides_of"]

USUAL = np.log([1.0, 4 / 3, 3 / 2, 16 / 9])
"""Proportions that cameras give."""


class Sides(NamedTuple):
    """What is known of one of two pictures."""

    pixels: float
    """ln of the pixels, as it came in."""
    proportions: float
    """How far its proportions are from the nearest usual ones, in ln."""
    aspect: float
    """|ln(width / height)|."""
    overlap: float
    """Share of it that is in common."""
    outside_flat: float
    """Share of it that is not in common and flat."""
    outside_natural: float
    """Share of it that is not in common and has texture."""
    edge: float
    """How much steeper it is along the boundary of what is in common than elsewhere, in ln."""
    rim: float
    """Share of it that is flat and goes to its rim: paper, bars, corners of a turned picture."""
    saturated: float
    """Share of what is in common that is black or white."""
    sharpness: float
    """ln of the high frequencies of what is in common, at the coarser one's resolution."""
    contrast: float
    """Deviation of what is in common, in grey levels / 64."""
    colour: float
    """Mean distance of channels, / 64."""
    drawn: float
    """Where they differ, the share that has no texture as photographs have it."""
    hard: float
    """Where they differ, the share of pixels on steep edges."""
    blocky: float
    """How much steeper it is across the borders of 8 x 8 blocks than within them, in ln."""


SIDED = (
    *(f"difference_{name}" for name in Sides._fields),
    *(f"first_{name}" for name in Sides._fields),
    *(f"second_{name}" for name in Sides._fields),
    "differs",
)
"""Names of what the judge of the original is given: both sides, their difference, and the share where they differ."""


def sides_of(
    laid: Laid, places: Places, first: UInt8Array, second: UInt8Array, as_given: tuple[tuple[int, ...], tuple[int, ...]]
) -> tuple[Sides, Sides]:
    """The two pictures' sides, the first one's first.

    Args:
        first, second: the pictures at working size, as they are.
        as_given: the shapes of both as they came in.
    """
    # Where the base lies in the picture that is laid over it.
    size = (laid.fine.shape[1], laid.fine.shape[0])
    full = np.full(laid.base.shape[:2], 255, np.uint8)
    within = cv2.warpPerspective(full, np.linalg.inv(laid.transform), size, flags=cv2.INTER_LINEAR) > 127
    sides = [
        _side(laid.fine, laid.over, within, laid.cover, places, places.natural_over),
        _side(laid.base, laid.base, laid.cover, laid.cover, places, places.natural_base),
    ]
    if laid.swapped:
        sides.reverse()
    pictures = zip(sides, (first, second), as_given, strict=True)
    one, other = (
        Sides(
            float(np.log(max(1, shape[0] * shape[1]))),
            float(np.abs(USUAL - _aspect(shape)).min()),
            _aspect(shape),
            *values,  # type: ignore[call-arg]
            _blocky(picture),
        )
        for values, picture, shape in pictures
    )
    return one, other


def _aspect(shape: tuple[int, ...]) -> float:
    return float(abs(np.log(shape[1] / shape[0])))


def _side(
    picture: UInt8Array, common: UInt8Array, within: BoolArray, cover: BoolArray, places: Places, natural: BoolArray
) -> tuple[float, ...]:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    slope = _slope(grey)
    flat = slope < 0.75
    outside = ~within
    laid_grey = cv2.cvtColor(common, cv2.COLOR_RGB2GRAY).astype(np.float32)
    shared = laid_grey[cover]
    red, green, blue = cv2.split(common)
    colours = (np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue))[cover]
    laplacian = np.abs(cv2.Laplacian(laid_grey, cv2.CV_32F))[cover]
    differing, drawn, hard = int(places.differs.sum()), 0.0, 0.0
    if differing >= 4:
        total = max(1, int(places.inside.sum()))
        drawn = float((places.differs & ~natural).sum()) / total
        steep = cv2.blur((_slope(laid_grey) > 20).astype(np.float32), (places.window,) * 2)
        half = places.window // 2
        hard = float(steep[half::half, half::half][places.differs].sum()) / total
    return (
        np.count_nonzero(within) / within.size,
        np.count_nonzero(outside & flat) / within.size,
        np.count_nonzero(outside & ~flat) / within.size,
        _edge(slope, within),
        _rim(flat),
        float(np.count_nonzero((shared < 3) | (shared > 252))) / len(shared),
        float(np.log(laplacian.mean(dtype=np.float64) + 0.1)),
        float(shared.std(dtype=np.float64)) / 64,
        float(colours.mean(dtype=np.float64)) / 64,
        drawn,
        hard,
    )


def _slope(grey: Float32Array) -> Float32Array:
    across, down = (cv2.Sobel(grey, cv2.CV_32F, dx, dy, scale=0.125) for dx, dy in ((1, 0), (0, 1)))
    return np.asarray(np.hypot(across, down), dtype=np.float32)


def _edge(slope: Float32Array, within: BoolArray) -> float:
    """Along the boundary of a region, but for the picture's own."""
    mask = within.view(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    line = (cv2.dilate(mask, kernel) > 0) & (cv2.erode(mask, kernel, borderValue=1) == 0)
    line[[0, -1], :] = line[:, [0, -1]] = False
    if line.sum() < 16:
        return 0.0
    return float(np.log((slope[line].mean(dtype=np.float64) + 1) / (slope[within].mean(dtype=np.float64) + 1)))


def _rim(flat: BoolArray) -> float:
    # Flat pixels in pieces of some size only: noise makes single ones everywhere.
    solid = cv2.morphologyEx(flat.view(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    _, labels = cv2.connectedComponents(solid, connectivity=4)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    at_rim = np.unique(edge[edge > 0])
    return float(np.isin(labels, at_rim).mean())


def _blocky(picture: UInt8Array) -> float:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    steps = np.abs(np.diff(grey, axis=1)).mean(axis=0, dtype=np.float64)
    if len(steps) < 24:
        return 0.0
    border = np.arange(len(steps)) % 8 == 7
    return float(np.log((steps[border].mean() + 0.2) / (steps[~border].mean() + 0.2)))
