"""A second look at what a detector reports, by other networks and other views, before an image is dropped or altered.

Detectors that were trained on people report fruit, lobsters and the heads of dogs as well. Only where one reports
something is any of this done: to a few images in a hundred.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from curation.arrays import Float32Array
from curation.imaging.decode import Pixels
from curation.models.detectors.boxes import Box
from curation.models.lite0.network import ANIMALS, FOOD, Lite0

__all__ = ["Likeness", "cut_out", "enlarged", "likenesses", "overlap"]


NAMED = 0.1
"""Probability from which on a class is worth its name."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """What an image shows that is no person, by the classes of ImageNet-1k.

    Attributes:
        probability: of all animals and all food, fruit among it, together.
        kind: the likelier of the two: `animal` or `food`.
        class_number: the likeliest class of that kind, in the order of ImageNet-1k.
        class_probability: its own.
    """

    probability: float
    kind: str
    class_number: int
    class_probability: float

    def __str__(self) -> str:
        said = f"animal or food {self.probability:.2f}"
        if self.class_probability < NAMED:
            return said
        return f"{said} ({self.kind}: {_class_name(self.class_number)} {self.class_probability:.2f})"


def likenesses(network: Lite0, images: Sequence[Pixels]) -> list[Likeness]:
    """For each image how far it shows an animal or food."""
    return [_likeness(row) for row in network.look(images).probabilities]


def _likeness(row: Float32Array) -> Likeness:
    kinds = {"animal": ANIMALS, "food": FOOD}
    sums = {kind: float(row[classes].sum(dtype=np.float64)) for kind, classes in kinds.items()}
    kind = max(sums, key=lambda kind: sums[kind])
    best = kinds[kind].start + int(row[kinds[kind]].argmax())
    return Likeness(sum(sums.values()), kind, best, float(row[best]))


def cut_out(image: Pixels, box: Box, times: float) -> tuple[Pixels, Box]:
    """A square around a box, as far as it is in the image, and the box within it.

    Args:
        times: the square's side over the box's longer one.
    """
    side = max(box.width, box.height) * times
    across, down = box.x + box.width / 2, box.y + box.height / 2
    left, top = max(0, int(across - side / 2)), max(0, int(down - side / 2))
    cut = image[top : int(down + side / 2) + 1, left : int(across + side / 2) + 1]
    return cut, Box(box.x - left, box.y - top, box.width, box.height, box.score, box.label)


def enlarged(image: Pixels, box: Box, side: int) -> tuple[Pixels, Box]:
    """An image whose longer side is `side`, and the box within it."""
    scale = side / max(image.shape[:2])
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    resized = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8), box.scaled(width / image.shape[1], height / image.shape[0])


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    if across <= 0 or down <= 0:
        return 0.0
    common = across * down
    return common / (one.width * one.height + other.width * other.height - common)


def _class_name(number: int) -> str:
    from timm.data.imagenet_info import ImageNetInfo  # takes seconds to import, and few images need a name

    return str(ImageNetInfo().index_to_description(number)).split(",")[0]
