"""Bilinear resize as OpenCV does it: each pixel from its four neighbours, however much the image shrinks.

The detectors were trained and are used with it. Pillow's `resize` averages over all pixels when shrinking, which
is the better picture, and gives other scores.
"""

import numpy as np

from curation.arrays import UInt8Array
from curation.imaging.decode import Pixels

__all__ = ["to_tensor"]


def to_tensor(image: Pixels, width: int, height: int) -> UInt8Array:
    """A (H, W, 3) uint8 image resized, as (3, height, width) uint8; within 1 of `cv2.resize` with INTER_LINEAR."""
    if image.shape[:2] == (height, width):
        return np.ascontiguousarray(image.transpose(2, 0, 1))
    import torch  # takes seconds, and runs without detectors need none of it

    # torch takes no negative strides, and warns of arrays that it may not write to
    pixels = np.require(image, requirements=("C_CONTIGUOUS", "WRITEABLE"))
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(planes, size=(height, width), mode="bilinear", antialias=False)
    return np.ascontiguousarray(resized[0].numpy())
