"""The photographs that come with scikit-image and scikit-learn, and crops of them that are truly different images.

Only files inside the installed wheels are read: nothing is downloaded. A photograph is a concept; two crops of one
photograph stand for two pictures of one thing. No two overlap: what they shared would make the one a copy of the other.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage.data
import sklearn.datasets
from PIL import Image

from curation.arrays import Float32Array, UInt8Array
from curation.errors import DatasetError

__all__ = ["CONCEPTS", "TEXTURES", "Box", "Photograph", "crops", "has_detail", "open_photograph"]

CONCEPTS = {
    "astronaut": "astronaut.png",
    "camera": "camera.png",
    "cat": "chelsea.png",
    "cells": "cell.png",
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
TEXTURES = {"brick": "brick.png", "gravel": "gravel.png"}
REPEATING = {"grass": "grass.png"}
"""Pictures of which one part is a copy of another."""

TILE = 80
"""Sides in pixels that crops have at least, but for what the cuts between them are moved by."""
MOVED = 0.06
SIDE = 224
LEAST_DEVIATION = 6.0
"""Standard deviation in grey levels below which there is nothing to see."""
LEAST_CHANGE = 3.5
"""Grey levels from one pixel to the next, down and across together, below which there is nothing sharp."""


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

    def cut(self, box: Box, side: int = SIDE) -> Image.Image:
        """The crop, made so large that its shorter side has `side` pixels, as pictures on pages have."""
        crop = self.pixels[box.top : box.top + box.height, box.left : box.left + box.width]
        image = Image.fromarray(crop)
        scale = side / min(image.size)
        width, height = (round(length * scale) for length in image.size)
        return image.resize((width, height), Image.Resampling.LANCZOS)


def open_photograph(name: str) -> Photograph:
    """A photograph of `CONCEPTS`, `TEXTURES` or `REPEATING` by name.

    Raises:
        DatasetError: the installed scikit-image or scikit-learn lacks the file.
    """
    file = {**CONCEPTS, **TEXTURES, **REPEATING}[name]
    folders = (Path(skimage.data.__file__).parent, Path(sklearn.datasets.__file__).parent / "images")
    for folder in folders:
        if (folder / file).is_file():
            with Image.open(folder / file) as image:
                return Photograph(name, np.asarray(image if image.mode == "L" else image.convert("RGB")))
    raise DatasetError(f"{file} is in neither {folders[0]} nor {folders[1]}; reinstall scikit-image and scikit-learn")


def crops(photograph: Photograph, most: int, rng: np.random.Generator) -> list[Box]:
    """Up to `most` boxes that do not overlap and are not blank, in random order: uneven rows, cut into uneven tiles."""
    grey = _grey(photograph.pixels)
    height, width = grey.shape
    boxes = []
    for top, bottom in _cuts(height, rng):
        for left, right in _cuts(width, rng):
            if grey[top:bottom, left:right].std() >= LEAST_DEVIATION:
                boxes.append(Box(left, top, right - left, bottom - top))
    return [boxes[index] for index in rng.permutation(len(boxes))[:most]]


def has_detail(photograph: Photograph, box: Box) -> bool:
    """Whether at least 12 of the box's 4 x 4 cells are neither flat nor blurred: blank sky and soft shades have nothing
    to be told apart by."""
    crop = _grey(photograph.pixels[box.top : box.top + box.height, box.left : box.left + box.width])
    change = np.abs(np.diff(crop, axis=0))[:, 1:] + np.abs(np.diff(crop, axis=1))[1:]
    shown = (_cells(crop).std(axis=(1, 3)) >= LEAST_DEVIATION) & (_cells(change).mean(axis=(1, 3)) >= LEAST_CHANGE)
    return int(shown.sum()) >= 12


def _cells(values: Float32Array) -> Float32Array:
    """(4, h, 4, w) the 4 x 4 cells."""
    rows, columns = values.shape[0] // 4, values.shape[1] // 4
    return values[: rows * 4, : columns * 4].reshape(4, rows, 4, columns)


def _cuts(length: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """A length cut into parts of some 80 pixels or more."""
    count = max(1, length // TILE)
    inner = (np.arange(1, count) + rng.uniform(-MOVED, MOVED, count - 1)) * length / count
    ends = [0, *(round(place) for place in inner.tolist()), length]
    return list(itertools.pairwise(ends))


def _grey(pixels: UInt8Array) -> Float32Array:
    return np.asarray(Image.fromarray(pixels).convert("L"), np.float32)
