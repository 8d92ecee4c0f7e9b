"""Local features of an image: RootSIFT points and a small grey picture, compact enough to be stored for many images.

SIFT (Lowe 2004) finds points that are found again after a change of scale, rotation and light; RootSIFT (Arandjelovic
and Zisserman 2012) compares descriptors by the Hellinger kernel: L1-normalise, take square roots, then use L2.
"""

import functools
import struct
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from curation.arrays import Float32Array, UInt8Array
from curation.imaging.decode import Pixels
from curation.imaging.framed import WHOLE, Frame
from curation.imaging.scaling import reduced

__all__ = ["FEATURES_SIDE", "FEATURES_VERSION", "Features", "as_stored", "extract"]

FEATURES_VERSION = 2
"""Raised whenever the same image would give other features."""

FEATURES_SIDE = 320
"""Shorter side in pixels that images are decoded for."""
SIDE = 320
"""Longer side in pixels that larger images are reduced to before points are looked for."""
MOST = 400
"""Points kept, the strongest."""
CONTRAST = 0.01
"""SIFT's contrast threshold; a quarter of the usual one, since blurred and reduced copies have faint points."""
PICTURE = 96
"""Longer side of the grey picture."""

_HEADER = struct.Struct("<HHHHH")


@dataclass(frozen=True)
class Features:
    """What geometric verification knows of an image.

    Attributes:
        width, height: of the image in pixels, at the size that it came in.
        points: (N, 2) float32, x and y of each point as shares of width and height, in [0, 1].
        descriptors: (N, 128) uint8, RootSIFT scaled by 255.
        picture: (h, w) uint8, the image in grey with its longer side at most `PICTURE`.
        frame: where in a larger image this one is, which was cut out of it.
    """

    width: int
    height: int
    points: Float32Array
    descriptors: UInt8Array
    picture: UInt8Array
    frame: Frame = WHOLE

    def to_bytes(self) -> bytes:
        """132 bytes for each point, and the picture. Points keep 16 bits, 0.01 pixel of a picture of 640."""
        height, width = self.picture.shape
        header = _HEADER.pack(min(self.width, 65535), min(self.height, 65535), len(self.points), width, height)
        frame = np.array(self.frame, "<f4").tobytes()
        points = np.rint(np.clip(self.points, 0, 1) * 65535).astype("<u2")
        return header + frame + points.tobytes() + self.descriptors.tobytes() + self.picture.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Features":
        """Read what `to_bytes` wrote."""
        width, height, count, columns, rows = _HEADER.unpack_from(data)
        frame = Frame(*map(float, np.frombuffer(data, "<f4", 4, _HEADER.size)))
        at = _HEADER.size + 16
        points = np.frombuffer(data, "<u2", 2 * count, at).reshape(count, 2)
        descriptors = np.frombuffer(data, np.uint8, 128 * count, at + 4 * count).reshape(count, 128)
        picture = np.frombuffer(data, np.uint8, rows * columns, at + 132 * count).reshape(rows, columns)
        return cls(width, height, points.astype(np.float32) / np.float32(65535), descriptors, picture, frame)


def extract(image: Pixels, frame: Frame = WHOLE) -> Features:
    """Features of a decoded image, uint8 (H, W, 3). The same pixels give the same bytes, whatever the core count.

    Args:
        frame: where in a larger image this one is.
    """
    height, width = image.shape[:2]
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    working = reduced(grey, SIDE)
    keypoints, descriptors = _sift().detectAndCompute(working, None)
    if descriptors is None:
        keypoints, descriptors = (), np.empty((0, 128), np.float32)
    places = np.array([point.pt for point in keypoints], np.float32).reshape(-1, 2)
    # OpenCV returns a few more than it was asked for where responses are equal.
    strength = np.array([point.response for point in keypoints], np.float32)
    order = np.lexsort((places[:, 1], places[:, 0], -strength))[:MOST]
    size = np.array(working.shape[1::-1], np.float32)
    points = np.clip((places[order] + 0.5) / size, 0, 1)
    picture = reduced(grey, PICTURE)
    return Features(width, height, points, _root(descriptors[order]), picture, _rounded(frame))


def _rounded(frame: Frame) -> Frame:
    return Frame(*(float(np.float32(value)) for value in frame))


def _root(descriptors: Float32Array) -> UInt8Array:
    total = np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6)
    return np.asarray(np.rint(np.sqrt(descriptors / total) * 255), dtype=np.uint8)


def as_stored(image: Pixels, frame: Frame = WHOLE) -> Features:
    """Features as a run keeps them, points to 16 bits: the same verdict on every pair, whether stored or made now."""
    return Features.from_bytes(extract(image, frame).to_bytes())


@functools.lru_cache(maxsize=1)
def _sift() -> Any:
    library: Any = cv2  # its types lack SIFT
    return library.SIFT_create(nfeatures=MOST, contrastThreshold=CONTRAST)
