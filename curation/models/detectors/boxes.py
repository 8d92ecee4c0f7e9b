"""Boxes of what a detector reports, and the suppression of those that overlap."""

from dataclasses import dataclass

import numpy as np

from curation.arrays import Float32Array, Int64Array

__all__ = ["Box", "suppressed"]


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


def suppressed(corners: Float32Array, scores: Float32Array, max_overlap: float) -> Int64Array:
    """Greedy non-maximum suppression: which boxes to keep, best score first; of equal scores the first.

    Args:
        corners: (N, 4) left, top, right, bottom.
        scores: (N,) without NaN.
        max_overlap: a box whose intersection over union with a better one is larger, in float32, goes. Of boxes
            without an area the best one stays.

    Returns:
        (M,) int64, M <= N.
    """
    import torch  # takes seconds to import, and runs without detectors need none of it
    from torchvision.ops import nms

    keep: Int64Array = nms(torch.from_numpy(corners), torch.from_numpy(scores), max_overlap).numpy()
    is_empty = np.prod(corners[keep, 2:] - corners[keep, :2], axis=1) == 0
    return np.asarray(keep[~is_empty | (np.cumsum(is_empty) == 1)])
