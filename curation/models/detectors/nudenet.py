"""NudeNet: where an image shows which parts of a body, covered or not.

The model is YOLOv8n at 320 x 320, of the package `nudenet`. Images, boxes and scores are treated as `NudeDetector`
treats them; a test holds both to the same answers.
"""

from collections.abc import Sequence

import numpy as np

from curation.arrays import Float32Array
from curation.imaging.decode import Pixels
from curation.models.detectors.boxes import Box, suppressed
from curation.models.detectors.package_file import NUDENET, find_package_file
from curation.models.detectors.resize import to_tensor
from curation.models.detectors.session import OnnxModel

__all__ = ["LABELS", "NudeNet"]

VERSION = 1
SIDE = 320
FLOOR = 0.05
MAX_OVERLAP = 0.45

LABELS = (
    "FEMALE_GENITALIA_COVERED",
    "FACE_FEMALE",
    "BUTTOCKS_EXPOSED",
    "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_BREAST_EXPOSED",
    "ANUS_EXPOSED",
    "FEET_EXPOSED",
    "BELLY_COVERED",
    "FEET_COVERED",
    "ARMPITS_COVERED",
    "ARMPITS_EXPOSED",
    "FACE_MALE",
    "BELLY_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
    "ANUS_COVERED",
    "FEMALE_BREAST_COVERED",
    "BUTTOCKS_COVERED",
)


class NudeNet:
    """The detector; `setup()` finds, verifies and loads its weights.

    Args:
        threads: threads of one forward pass.
        floor: boxes with a lower score are not reported. The library's own is 0.25; since a box never suppresses one
            with a higher score, a lower floor adds boxes and changes none.

    Attributes:
        side: the longer side in pixels that images are resized to.
        labels: the 18 classes.
    """

    side, labels = SIDE, LABELS

    def __init__(self, threads: int = 1, floor: float = FLOOR) -> None:
        self._threads = threads
        self._floor = floor
        self._model: OnnxModel | None = None

    def fingerprint(self) -> str:
        """Name, version and the weights' sha256; ModelError where they cannot be had."""
        find_package_file(NUDENET)
        return f"nudenet v{VERSION} sha256:{NUDENET.sha256}"

    def setup(self) -> None:
        """Load the weights, once; ModelError where they cannot be had."""
        if self._model is None:
            self._model = OnnxModel(find_package_file(NUDENET), self._threads)

    def detect(self, images: Sequence[Pixels]) -> list[list[Box]]:
        """Boxes of each image, best score first.

        Args:
            images: N arrays of (H, W, 3) uint8 RGB, of any size.
        """
        assert self._model is not None, "setup() comes before detect()"
        if not images:
            return []
        batch = np.zeros((len(images), 3, SIDE, SIDE), np.uint8)
        for at, image in enumerate(images):
            batch[at] = to_tensor(_squared(image), SIDE, SIDE)[::-1]  # the library swaps twice, so BGR goes in
        (outputs,) = self._model.run(batch.astype(np.float32) / np.float32(255.0))
        return [self._boxes(output, image.shape) for output, image in zip(outputs, images, strict=True)]

    def scores(self, images: Sequence[Pixels]) -> Float32Array:
        """(N, 18): for each class its best box's score, 0 where there is none."""
        result = np.zeros((len(images), len(LABELS)), np.float32)
        for row, boxes in zip(result, self.detect(images), strict=True):
            for box in boxes:
                at = LABELS.index(box.label)
                row[at] = max(row[at], box.score)
        return result

    def _boxes(self, output: Float32Array, shape: tuple[int, ...]) -> list[Box]:
        """(22, 2100) of one image: centre, width and height, then 18 scores, for each of 2,100 places."""
        best = output[4:].max(axis=0)
        likely = np.flatnonzero(best > self._floor)
        if not len(likely):
            return []
        height, width = shape[:2]
        scale = max(height, width) / SIDE
        places = output[:, likely]
        # The reference clips the corner but not the far side along with it; what it gives is what is matched.
        left = np.clip((places[0] - places[2] / 2) * scale, 0, width)
        top = np.clip((places[1] - places[3] / 2) * scale, 0, height)
        across = np.minimum(places[2] * scale, width - left)
        down = np.minimum(places[3] * scale, height - top)
        corners = np.stack((left, top, left + across, top + down), axis=1)
        scores = best[likely]
        labels = places[4:].argmax(axis=0)
        keep = suppressed(corners, scores, MAX_OVERLAP)
        rows = np.stack((left, top, across, down, scores), axis=1)[keep].tolist()
        return [
            Box(x, y, width, height, score, LABELS[label])
            for (x, y, width, height, score), label in zip(rows, labels[keep], strict=True)
        ]


def _squared(image: Pixels) -> Pixels:
    """The image in the upper left corner of a black square."""
    height, width = image.shape[:2]
    if height == width:
        return image
    side = max(height, width)
    square = np.zeros((side, side, 3), np.uint8)
    square[:height, :width] = image
    return square
