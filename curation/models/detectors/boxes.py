"""Boxes around what a detector found, and the suppression of boxes that say the same."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Box", "suppressed"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Box:
    """A box in pixels of the image given, from its upper left corner, and the score in [0, 1] of what is in it."""

    x: float
    y: float
    width: float
    height: float
    score: float
    label: str

    def scaled(self, across: float, down: float) -> "Box":
        """The same box in an image of another size."""
        return Box(self.x * across, self.y * down, self.width * across, self.height * down, self.score, self.label)


def suppressed(
    corners: Floats, scores: Floats, overlapping: Callable[[Floats], npt.NDArray[np.bool_]]
) -> npt.NDArray[np.intp]:
    """Greedy non-maximum suppression: which boxes to keep, best score first; of equal scores the first.

    Args:
        corners: (N, 4) left, top, right, bottom.
        overlapping: tells of intersection over union, an array, where it is too much.
    """
    order = np.argsort(-scores, kind="stable")
    keep = []
    while len(order):
        best, order = order[0], order[1:]
        keep.append(best)
        order = order[~overlapping(_overlap(corners[best], corners[order]))]
    return np.asarray(keep, dtype=np.intp)


def _overlap(box: Floats, others: Floats) -> Floats:
    """Intersection over union of one box with N others; 1 where both are empty."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.prod(np.maximum(sides, 0.0), axis=1)
    union = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1) - shared
    return np.asarray(np.divide(shared, union, out=np.ones_like(shared), where=union > 0), np.float32)
