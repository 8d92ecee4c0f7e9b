"""The photographs that come with scikit-image and scikit-learn, and crops of them that are truly different images.

Only files inside the installed wheels are read: nothing is downloaded. A photograph is a concept; two crops of one
photograph stand for two pictures of one thing.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage.data
import sklearn.datasets
from PIL import Image

from curation.arrays import Float32Array, UInt8Array
from curation.errors import DatasetError

__all__ = ["CONCEPTS", "TEXTURES", "Box", "Photograph", "crops", "open_photograph"]

CONCEPTS = {
    "astronaut": "astronaut.png",
    "camera": "camera.png",
    "cat": "chelsea.png",
    "coffee": "coffee.png",
    "coins": "coins.png",
    "flower": "flower.jpg",
    "galaxies": "hubble_deep_field.jpg",
    "handwriting": "text.png",
    "moon": "moon.png",
    "motorcycle": "motorcycle_left.png",
    "pagoda": "china.jpg",
    "print": "page.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
    "tissue": "ihc.png",
}
TEXTURES = {"brick": "brick.png", "grass": "grass.png", "gravel": "gravel.png"}

SMALLEST_SIDE = 80
LARGEST_SIDE = 256
MOST_OVERLAP = 0.3
LEAST_DEVIATION = 6.0
TRIES = 3000


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of a photograph in pixels."""

    left: int
    top: int
    width: int
    height: int

    def overlap(self, other: "Box") -> float:
        """Intersection over union, 0 to 1."""
        across = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        down = min(self.top + self.height, other.top + other.height) - max(self.top, other.top)
        shared = max(across, 0) * max(down, 0)
        return shared / (self.width * self.height + other.width * other.height - shared)


@dataclass(frozen=True, slots=True)
class Photograph:
    """One photograph and what it shows."""

    name: str
    pixels: UInt8Array
    """(H, W, 3) or (H, W) uint8."""

    def cut(self, box: Box) -> Image.Image:
        """The crop, at most 256 pixels on its shorter side, as pictures on pages are."""
        crop = self.pixels[box.top : box.top + box.height, box.left : box.left + box.width]
        image = Image.fromarray(crop)
        scale = LARGEST_SIDE / min(image.size)
        if scale >= 1.0:
            return image
        width, height = (round(side * scale) for side in image.size)
        return image.resize((width, height), Image.Resampling.LANCZOS)


def open_photograph(name: str) -> Photograph:
    """A photograph of `CONCEPTS` or `TEXTURES` by name.

    Raises:
        DatasetError: the installed scikit-image or scikit-learn lacks the file.
    """
    file = {**CONCEPTS, **TEXTURES}[name]
    folders = (Path(skimage.data.__file__).parent, Path(sklearn.datasets.__file__).parent / "images")
    for folder in folders:
        if (folder / file).is_file():
            with Image.open(folder / file) as image:
                return Photograph(name, np.asarray(image if image.mode == "L" else image.convert("RGB")))
    raise DatasetError(f"{file} is in neither {folders[0]} nor {folders[1]}; reinstall scikit-image and scikit-learn")


def crops(photograph: Photograph, most: int, rng: np.random.Generator) -> list[Box]:
    """Up to `most` boxes in random order, full of detail and overlapping each other by at most 30 %.

    Sides run from 80 pixels to half of the photograph's shorter side, small ones more often.
    """
    grey = np.asarray(Image.fromarray(photograph.pixels).convert("L"), np.float32)
    height, width = grey.shape
    longest = max(min(height, width) / 2, SMALLEST_SIDE * 1.5)
    boxes: list[Box] = []
    for _ in range(TRIES):
        if len(boxes) == most:
            break
        side = SMALLEST_SIDE * (longest / SMALLEST_SIDE) ** (rng.random() ** 1.5)
        aspect = math.exp(rng.uniform(-0.25, 0.25))
        box_width, box_height = (max(SMALLEST_SIDE, round(side * factor)) for factor in (aspect, 1 / aspect))
        left, top = int(rng.integers(width - box_width + 1)), int(rng.integers(height - box_height + 1))
        box = Box(left, top, box_width, box_height)
        if all(box.overlap(other) <= MOST_OVERLAP for other in reversed(boxes)) and _has_detail(grey, box):
            boxes.append(box)
    return [boxes[index] for index in rng.permutation(len(boxes))]


def _has_detail(grey: Float32Array, box: Box) -> bool:
    """Whether at least 12 of the box's 4 x 4 cells are not flat: blank sky has nothing to be told apart by."""
    crop = grey[box.top : box.top + box.height, box.left : box.left + box.width]
    rows, columns = crop.shape[0] // 4, crop.shape[1] // 4
    cells = crop[: rows * 4, : columns * 4].reshape(4, rows, 4, columns)
    return int((cells.std(axis=(1, 3)) >= LEAST_DEVIATION).sum()) >= 12
