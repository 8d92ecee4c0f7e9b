"""Two images compared by the pictures that they show: what is in a drawn frame, the points in it, and its pixels."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from curation.arrays import Float64Array
from curation.config import ImageConfig
from curation.drops import Dropped
from curation.imaging.decode import Pixels, decode
from curation.imaging.evidence import PROPOSED_FROM, look
from curation.imaging.framed import WHOLE, Frame, cut, picture_in
from curation.imaging.local_features import FEATURES_SIDE, Features
from curation.imaging.matching import match

__all__ = ["Comparison", "compare", "picture_of"]

FRAMED_IS_ORIGINAL = 0.02
"""Probability that a picture in a drawn frame is the original of the same picture without one."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was seen of two images.

    Attributes:
        probability: in [0, 1], that one is a copy of the other. 0 where points and a rough look say no already.
        original: in [0, 1], that the first is the original of the two, if they are copies.
        inliers, agreement, mirrored: see `Match`.
        transform: of `Match`, between the whole images, frames included.
    """

    probability: float
    original: float
    inliers: int
    agreement: float
    mirrored: bool
    transform: tuple[float, ...]


def picture_of(data: bytes, limits: ImageConfig, frame: Frame | None = None) -> tuple[Pixels, Frame] | Dropped:
    """The picture that an encoded image shows, with enough pixels to compare it, and where in the image it is.

    Args:
        frame: where it is, if that is known; found otherwise.
    """
    if frame is None:
        image = decode(data, limits, FEATURES_SIDE)
        if isinstance(image, Dropped):
            return image
        frame = picture_in(image)
        if frame is None:
            return image, WHOLE
    image = decode(data, limits, int(FEATURES_SIDE / min(frame.width, frame.height)))
    return image if isinstance(image, Dropped) else (cut(image, frame), frame)


def compare(
    first: Features, second: Features, first_pixels: Callable[[], Pixels], second_pixels: Callable[[], Pixels]
) -> Comparison:
    """Compare two images; their pixels are asked for only where points propose the pair.

    The same images give the same answer, whatever ran before; callers set OpenCV to one thread.
    """
    proposed = match(first, second)
    transform = _between_images(proposed.transform, proposed.mirrored, first.frame, second.frame)
    said = (proposed.inliers, proposed.agreement, proposed.mirrored, transform)
    if proposed.score < PROPOSED_FROM:
        return Comparison(0.0, 0.5, *said)
    evidence = look(first_pixels(), second_pixels(), proposed)
    return Comparison(evidence.probability, _original(evidence.original, first.frame, second.frame), *said)


def _original(probability: float, first: Frame, second: Frame) -> float:
    """Of the same picture with a frame and without, the one without is the original, whatever pixels say."""
    if (first == WHOLE) == (second == WHOLE):
        return probability
    return 1 - FRAMED_IS_ORIGINAL if first == WHOLE else FRAMED_IS_ORIGINAL


def _between_images(transform: tuple[float, ...], mirrored: bool, first: Frame, second: Frame) -> tuple[float, ...]:
    """From the transform between two pictures that between the images which they are in."""
    if first == WHOLE and second == WHOLE:
        return transform
    if mirrored:
        first = Frame(1 - first.x - first.width, *first[1:])
    inner = np.vstack([np.array(transform, np.float64).reshape(2, 3), [0, 0, 1]])
    whole = _out_of(second) @ inner @ np.linalg.inv(_out_of(first))
    return tuple(float(np.float32(value)) for value in whole[:2].ravel())


def _out_of(frame: Frame) -> Float64Array:
    """Takes places in a picture to places in its image."""
    return np.array([[frame.width, 0, frame.x], [0, frame.height, frame.y], [0, 0, 1]], np.float64)
