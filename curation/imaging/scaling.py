"""Pictures reduced to a longer side, smoothed as they shrink."""

import cv2
import numpy as np

from curation.arrays import UInt8Array

__all__ = ["reduced"]


def reduced(image: UInt8Array, side: int) -> UInt8Array:
    """A picture, (H, W) or (H, W, 3), with its longer side at most `side` pixels; contiguous."""
    image = np.ascontiguousarray(image)
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
