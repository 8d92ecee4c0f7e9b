"""Crops shared out: a few become the reference set, a few the seeds, all others the pool."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.demo.photographs import CONCEPTS, TEXTURES, crops, open_photograph
from pipelines.demo.variants import first_save

__all__ = ["REFERENCE_SET", "SEED_SETS", "Picture", "Shares", "share_out"]

SEED_SETS = {
    "things": ("astronaut", "cat", "coffee", "motorcycle"),
    "scenes": ("flower", "galaxies", "retina", "tissue"),
}
SEEDS_EACH = {"things": 6, "scenes": 12}
REFERENCE_SET = "benchmark"
REFERENCES_EACH = 3
MOST_CROPS = 100


@dataclass(frozen=True, slots=True)
class Picture:
    """A crop and the bytes that it was first saved as."""

    image: Image.Image
    data: bytes
    suffix: str
    concept: str | None
    """The photograph that it comes from; None for a texture."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Who gets which crops; no two of one photograph overlap by more than 30 %."""

    pool: list[Picture]
    """In random order."""
    references: dict[str, Picture]
    """By file name."""


def share_out(folder: Path, rng: np.random.Generator) -> Shares:
    """Cut all photographs; write `folder/seeds/<set>/<concept>/*` and `folder/references/<set>/*`."""
    pool: list[Picture] = []
    references: dict[str, Picture] = {}
    for name in (*CONCEPTS, *TEXTURES):
        pictures = _pictures(name, rng)
        if name in CONCEPTS:
            for index in range(REFERENCES_EACH):
                picture = next(pictures)
                file = f"{name}-{index}.{picture.suffix}"
                references[file] = picture
                _write(folder / "references" / REFERENCE_SET / file, picture)
        for set_name in (key for key, concepts in SEED_SETS.items() if name in concepts):
            for index in range(SEEDS_EACH[set_name]):
                picture = next(pictures)
                _write(folder / "seeds" / set_name / name / f"{index:02d}.{picture.suffix}", picture)
        pool.extend(pictures)
    return Shares([pool[index] for index in rng.permutation(len(pool))], references)


def _pictures(name: str, rng: np.random.Generator) -> Iterator[Picture]:
    photograph = open_photograph(name)
    for box in crops(photograph, MOST_CROPS, rng):
        image = photograph.cut(box)
        data, suffix = first_save(image, rng)
        yield Picture(image, data, suffix, name if name in CONCEPTS else None)


def _write(path: Path, picture: Picture) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture.data)
