"""Pairs of pictures to fit and to judge the careful look with: copies of many kinds, and what looks like copies."""

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from PIL import Image

from curation.arrays import UInt8Array
from curation.models.copy.edits import EDITS, WEIGHTS
from curation.models.copy.second_photographs import (
    FRAMES,
    Cut,
    in_one_frame,
    in_one_weather,
    second_photograph,
    stood_before,
    under_one,
)

__all__ = ["COPIES", "OTHERS", "Pair", "Photos", "cut_out", "edited", "make_pair"]

LEAST, MOST = 0.02, 0.5
"""Share of a photo that a thing cut out of it may have."""


@dataclass(frozen=True)
class Pair:
    """Two pictures.

    Attributes:
        first_is_original: whether the second was made of the first; None where neither was, or both were of a third.
        about: what was done, for tables.
    """

    first: UInt8Array
    second: UInt8Array
    first_is_original: bool | None = None
    about: str = ""


@dataclass
class Photos:
    """What pairs are made of.

    Attributes:
        images: N photos (H, W, 3) uint8.
        cuts: things cut out of some of them.
    """

    images: Sequence[UInt8Array]
    cuts: Sequence[Cut] = ()

    def any(self, rng: Generator) -> UInt8Array:
        """A photo."""
        return self.images[int(rng.integers(len(self.images)))]

    def two(self, rng: Generator) -> list[UInt8Array]:
        """Two different photos."""
        return [self.images[at] for at in rng.choice(len(self.images), 2, replace=False).tolist()]


def cut_out(photo: UInt8Array, mask: UInt8Array, kinds: range) -> list[Cut]:
    """The things of a photo, by a mask (H, W) whose numbers in `kinds` are kinds of things."""
    cuts = []
    for kind in sorted(set(np.unique(mask).tolist()) & set(kinds)):
        region = (mask == kind).astype(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(region)
        for label in range(1, len(stats)):
            left, top, wide, high, area = stats[label].tolist()
            if LEAST < area / mask.size < MOST and area > 0.3 * wide * high:
                window = np.s_[top : top + high, left : left + wide]
                cuts.append((np.ascontiguousarray(photo[window]), labels[window] == label))
    return cuts


def encoded(image: UInt8Array, rng: Generator, low: int = 30) -> UInt8Array:
    """As JPEG, and read again."""
    buffer = io.BytesIO()
    quality = int(rng.integers(low, 97))
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as opened:
        return np.asarray(opened.convert("RGB"))


def edited(photo: UInt8Array, other: UInt8Array, names: Sequence[str], rng: Generator) -> UInt8Array:
    """A photo after edits of `EDITS` by their names, and encoded."""
    image = Image.fromarray(photo)
    for edit in sorted((edit for edit in EDITS if edit.name in names), key=lambda edit: edit.phase):
        if edit.compose is not None:
            image = edit.compose(image, Image.fromarray(other), rng)
        elif edit.apply is not None:
            image = edit.apply(image, rng)
    return encoded(np.asarray(image.convert("RGB")), rng)


def _of(pictures: Iterable[UInt8Array]) -> Pair:
    first, second = pictures
    return Pair(first, second)


def _some(rng: Generator, most: int) -> list[str]:
    count = int(rng.integers(1, most + 1))
    return [EDITS[at].name for at in rng.choice(len(EDITS), count, replace=False, p=WEIGHTS).tolist()]


def _resized(photo: UInt8Array, rng: Generator) -> UInt8Array:
    scale = math.exp(rng.uniform(math.log(0.45), 0))
    size = (max(16, round(photo.shape[1] * scale)), max(16, round(photo.shape[0] * scale)))
    return np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _turned(pair: Pair, rng: Generator) -> Pair:
    if rng.random() < 0.5:
        return pair
    original = None if pair.first_is_original is None else not pair.first_is_original
    return Pair(pair.second, pair.first, original, pair.about)


def _one_edit(photos: Photos, rng: Generator) -> Pair:
    photo, other = photos.two(rng)
    name = EDITS[int(rng.integers(len(EDITS)))].name
    return Pair(photo, edited(photo, other, [name], rng), True, name)


def _edits(photos: Photos, rng: Generator) -> Pair:
    photo, other = photos.two(rng)
    return Pair(photo, edited(photo, other, _some(rng, 3), rng), True)


def _two_copies(photos: Photos, rng: Generator) -> Pair:
    photo, other = photos.two(rng)
    return _of(edited(photo, other, _some(rng, 2), rng) for _ in range(2))


def _encoded(photos: Photos, rng: Generator) -> Pair:
    photo = photos.any(rng)
    return Pair(photo, encoded(_resized(photo, rng), rng, 10), True)


def _same(photos: Photos, rng: Generator) -> Pair:
    """Pixel by pixel the same, mirrored, or grey."""
    photo = photos.any(rng)
    copy = (photo, np.ascontiguousarray(photo[:, ::-1]), cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY))[int(rng.integers(3))]
    copy = np.repeat(copy[..., None], 3, axis=2) if copy.ndim == 2 else copy
    return Pair(photo, np.asarray(copy, dtype=np.uint8))


def _two_frames(photos: Photos, rng: Generator) -> Pair:
    photo = photos.any(rng)
    chosen = rng.choice(len(FRAMES), 2, replace=False).tolist()
    copies = [np.asarray(FRAMES[at](Image.fromarray(photo), rng)) for at in chosen]
    return _of(encoded(copy, rng) for copy in copies)


def _framed(photos: Photos, rng: Generator) -> Pair:
    photo = photos.any(rng)
    return Pair(photo, encoded(in_one_frame([photo], rng)[0], rng), True)


def _written_on(photos: Photos, rng: Generator) -> Pair:
    photo = photos.any(rng)
    return Pair(photo, encoded(under_one([photo], rng)[0], rng), True)


def _collage(photos: Photos, rng: Generator) -> Pair:
    photo = photos.any(rng)
    height, width = photo.shape[:2]
    size = (width, height)
    tiles = [photo, *(cv2.resize(photos.any(rng), size) for _ in range(int(rng.choice([1, 3]))))]
    order = rng.permutation(len(tiles)).tolist()
    rows = [[tiles[at] for at in order[start : start + 2]] for start in range(0, len(tiles), 2)]
    collage = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    return Pair(photo, encoded(_resized(collage, rng), rng), True)


def _crops(photos: Photos, rng: Generator) -> Pair:
    """Two crops of one photo that share a part."""
    photo, other = photos.two(rng)
    return _of(edited(photo, other, ["crop"], rng) for _ in range(2))


def _swapped(photos: Photos, rng: Generator) -> Pair:
    background = photos.any(rng)
    things = [_thing(photos, rng) for _ in range(2)]
    first, second = stood_before(background, things, rng)
    return Pair(encoded(first, rng, 50), encoded(second_photograph(second, rng), rng, 50))


def _thing(photos: Photos, rng: Generator) -> Cut:
    if len(photos.cuts) and rng.random() < 0.65:
        return photos.cuts[int(rng.integers(len(photos.cuts)))]
    photo = photos.any(rng)  # a pack: the photo is what is printed on it
    height, width = photo.shape[:2]
    if rng.random() < 0.5:
        wide = min(width, round(height * rng.uniform(0.5, 1.0)))
        left = int(rng.integers(width - wide + 1))
        return np.ascontiguousarray(photo[:, left : left + wide]), np.ones((height, wide), np.bool_)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return photo, np.asarray(x * x + y * y < 0.95, dtype=np.bool_)


def _photographed_again(photos: Photos, rng: Generator) -> Pair:
    photo = photos.any(rng)
    return Pair(encoded(photo, rng, 50), encoded(second_photograph(photo, rng), rng, 50))


def _same_frame(photos: Photos, rng: Generator) -> Pair:
    return _of(encoded(picture, rng) for picture in in_one_frame(photos.two(rng), rng))


def _same_text(photos: Photos, rng: Generator) -> Pair:
    return _of(encoded(picture, rng) for picture in under_one(photos.two(rng), rng))


def _weather(photos: Photos, rng: Generator) -> Pair:
    return _of(encoded(picture, rng, 50) for picture in in_one_weather(photos.two(rng), rng))


def _apart(photos: Photos, rng: Generator) -> Pair:
    """Two parts of one photo that have nothing in common."""
    photo = photos.any(rng)
    if rng.random() < 0.5:
        photo = np.ascontiguousarray(photo.swapaxes(0, 1))
    half = photo.shape[1] // 2
    return Pair(encoded(photo[:, :half], rng, 50), encoded(photo[:, half:], rng, 50))


def _flat(photos: Photos, rng: Generator) -> Pair:
    """Nearly plain pictures: a colour with a slow change, noise, and perhaps a thing or a word on it."""
    height, width = (int(side) for side in rng.integers(160, 400, 2))
    ground = rng.uniform(0, 255, 3) + rng.uniform(0, 60) * np.linspace(-1, 1, width)[None, :, None]
    spread = rng.uniform(0, 6)
    pictures = []
    for _ in range(2):
        picture = np.clip(ground + rng.normal(0, spread, (height, width, 3)), 0, 255).astype(np.uint8)
        kind = rng.random()
        if kind < 0.35:
            picture = under_one([picture], rng)[0]
        elif kind < 0.85:
            picture = stood_before(picture, [_thing(photos, rng)], rng)[0]
        pictures.append(encoded(picture, rng, 50))
    return _of(pictures)


COPIES: Mapping[str, Callable[[Photos, Generator], Pair]] = {
    "one edit": _one_edit,
    "edits": _edits,
    "two copies": _two_copies,
    "encoded": _encoded,
    "framed": _framed,
    "two frames": _two_frames,
    "written on": _written_on,
    "collage": _collage,
    "crops": _crops,
    "same": _same,
}
OTHERS: Mapping[str, Callable[[Photos, Generator], Pair]] = {
    "swapped": _swapped,
    "photographed again": _photographed_again,
    "same frame": _same_frame,
    "same text": _same_text,
    "weather": _weather,
    "apart": _apart,
    "flat": _flat,
}
"""What makes a pair of each kind; nearest neighbours among the photos themselves come beside these."""


def make_pair(kind: str, photos: Photos, rng: Generator) -> Pair:
    """A pair of a kind, in either order."""
    return _turned({**COPIES, **OTHERS}[kind](photos, rng), rng)
