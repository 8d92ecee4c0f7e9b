"""Where in a screenshot, a meme or a padded image its picture is.

Two screenshots of one application agree in nearly all of their pixels and may show different photos, and a screenshot
of a photo agrees with it in few. So copies are looked for by what is in the frame. A frame is drawn, not photographed:
its picture is bounded by straight lines along rows and columns of pixels, and what is around it has few colours.
"""

from typing import NamedTuple

import cv2
import numpy as np

from curation.arrays import BoolArray, Int64Array, UInt8Array
from curation.imaging.decode import Pixels
from curation.imaging.scaling import reduced

__all__ = ["WHOLE", "Frame", "cut", "picture_in", "without_frame"]

SIDE = 256
"""Longer side in pixels that larger images are reduced to."""
STEP = 12
"""Grey levels from one pixel to the next at a border."""
UNBROKEN = 0.85
"""Share of a side along which the border is to be seen. Pictures have pixels of the frame's colour."""
SHORTEST = 0.2
"""Length of a side, as a share of the image's."""
LEAST, MOST = 0.06, 0.97
"""Share of the image that a picture covers."""
COARSE = 3
"""Bits of a colour that JPEG's noise is in."""
COLOURS = 10
"""Coarse colours; a plain one may lie in several."""
DRAWN = 0.7
"""Share of a frame that so many colours fill."""
PHOTOGRAPHED = 0.9
"""Share of a picture that they do not fill: a drawing on white has the colours of its frame."""
LINES = 12
"""Lines in one direction that are looked at, those with the longest border."""
SMALLEST = 24
"""Sides in pixels below which nothing is to be seen."""
DEEPEST = 4
"""Frames within frames."""


class Frame(NamedTuple):
    """The picture's place: its upper left corner, width and height, as shares of the image's width and height."""

    x: float
    y: float
    width: float
    height: float


WHOLE = Frame(0.0, 0.0, 1.0, 1.0)
"""The place of a picture without a frame."""


def without_frame(image: Pixels) -> Pixels:
    """The picture in the frame; the image itself where there is none."""
    frame = picture_in(image)
    return image if frame is None else cut(image, frame)


def cut(image: Pixels, frame: Frame) -> Pixels:
    """The pixels of a place."""
    height, width = image.shape[:2]
    left, top = round(frame.x * width), round(frame.y * height)
    right, bottom = round((frame.x + frame.width) * width), round((frame.y + frame.height) * height)
    return image[top : max(bottom, top + 1), left : max(right, left + 1)]


def picture_in(image: Pixels) -> Frame | None:
    """Where the picture is in an image with a drawn frame, a frame within a frame included; None without a frame."""
    place = WHOLE
    for _ in range(DEEPEST):
        inner = _innermost(reduced(cut(image, place), SIDE))
        if inner is None:
            break
        place = Frame(
            place.x + inner.x * place.width,
            place.y + inner.y * place.height,
            inner.width * place.width,
            inner.height * place.height,
        )
    return None if place == WHOLE or place.width * place.height < LEAST else place


def _innermost(image: UInt8Array) -> Frame | None:
    """One frame's picture, the largest that there is."""
    height, width = image.shape[:2]
    if min(height, width) < SMALLEST:
        return None
    columns, rows = _lines(np.ascontiguousarray(image.transpose(1, 0, 2))), _lines(image)
    if columns.places.size + rows.places.size == 4:
        return None  # the ends of the image alone: photographs end here
    corners = _bounded(columns, rows)
    if not len(corners):
        return None
    left, right, top, bottom = corners.T
    area = (right - left) * (bottom - top)
    plain = cv2.integral(_plain(image).view(np.uint8)).astype(np.int64)
    inside = plain[bottom, right] - plain[top, right] - plain[bottom, left] + plain[top, left]
    outside = plain[-1, -1] - inside
    drawn = (outside >= DRAWN * (width * height - area)) & (inside < area * PHOTOGRAPHED)
    shares = np.where(drawn & (area >= LEAST * width * height) & (area <= MOST * width * height), area, 0)
    best = int(shares.argmax())
    if not shares[best]:
        return None
    x, y, wide, high = left[best], top[best], right[best] - left[best], bottom[best] - top[best]
    return Frame(float(x / width), float(y / height), float(wide / width), float(high / height))


class _Lines(NamedTuple):
    """Borders in one direction.

    Attributes:
        places: (L,) where they are, in order; the two ends of the image among them.
        seen: (L, length + 1) how many pixels along a line, up to each, have a step; at the ends of the image all do.
    """

    places: Int64Array
    seen: Int64Array


def _lines(image: UInt8Array) -> _Lines:
    """Where there may be borders between rows."""
    change = cv2.absdiff(image[1:], image[:-1])
    step = np.maximum(np.maximum(change[..., 0], change[..., 1]), change[..., 2]) >= STEP
    height, width = image.shape[:2]
    total: Int64Array = step.sum(axis=1)
    chosen = np.argsort(-total, kind="stable")[:LINES]
    chosen = np.sort(chosen[total[chosen] >= SHORTEST * width * UNBROKEN])
    seen = np.zeros((len(chosen) + 2, width + 1), np.int64)
    seen[1:-1, 1:] = np.cumsum(step[chosen], axis=1)
    seen[[0, -1]] = np.arange(width + 1)
    return _Lines(np.concatenate([[0], chosen + 1, [height]]), seen)


def _bounded(columns: _Lines, rows: _Lines) -> Int64Array:
    """(R, 4) left, right, top and bottom of the rectangles whose sides are borders, but for the whole image."""
    upright = _unbroken(columns, rows.places)  # (columns, top, bottom)
    level = _unbroken(rows, columns.places)  # (rows, left, right)
    sides = upright[:, None] & upright[None, :] & np.moveaxis(level, 0, 2)[..., None]
    sides = sides & np.moveaxis(level, 0, 2)[:, :, None, :]
    left, right, top, bottom = np.nonzero(sides)
    corners = np.stack([columns.places[left], columns.places[right], rows.places[top], rows.places[bottom]], axis=1)
    whole = (corners == [0, columns.places[-1], 0, rows.places[-1]]).all(axis=1)
    return np.asarray(corners[~whole], dtype=np.int64)


def _unbroken(lines: _Lines, ends: Int64Array) -> BoolArray:
    """(L, E, E) whether a line is a border from one end to another, which is long enough."""
    length = ends[None, :] - ends[:, None]
    seen = lines.seen[:, ends]
    covered = seen[:, None, :] - seen[:, :, None]
    return np.asarray((length >= SHORTEST * ends[-1]) & (covered >= UNBROKEN * length), dtype=bool)


def _plain(image: UInt8Array) -> BoolArray:
    """Pixels of one of the few commonest colours."""
    coarse = (image >> COARSE).astype(np.int32)
    bits = 8 - COARSE
    codes = (coarse[..., 0] << 2 * bits) | (coarse[..., 1] << bits) | coarse[..., 2]
    counts = np.bincount(codes.ravel(), minlength=1 << 3 * bits)
    common = np.zeros(len(counts), bool)
    common[np.argpartition(-counts, COLOURS)[:COLOURS]] = True
    return np.asarray(common[codes], dtype=bool)
