"""Crops shared out: a few become the reference set, a few the seeds, all others the pool."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.demo.photographs import CONCEPTS, TEXTURES, crops, has_detail, open_photograph
from pipelines.demo.variants import first_save

__all__ = ["GRAINY", "REFERENCE_SET", "SEED_SETS", "Picture", "Shares", "share_out"]

SEED_SETS = {
    "things": ("astronaut", "camera", "coffee", "motorcycle"),
    "scenes": ("flower", "galaxies", "retina", "tissue"),
}
SEEDS_EACH = {"things": 5, "scenes": 8}
REFERENCE_SET = "benchmark"
GRAINY = ("galaxies", "moon")
"""Photographs whose detail is mostly grain, which saving again takes away; and galaxies all look alike."""
REGULAR = ("brick",)
"""Whose parts are alike: nothing tells one from another."""
REFERENCES_EACH = 3
"""Fewer of photographs that have fewer crops full of detail."""
MOST_CROPS = 120
MOST_PLAIN = 60
"""Of which so many may show little."""
SIDES = (200, 300)
"""Shorter sides in pixels: small pictures of the web. Fewer pixels have too few points to tell a copy by."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A crop and the bytes that it was first saved as."""

    image: Image.Image
    data: bytes
    suffix: str
    concept: str | None
    """The photograph that it comes from; None for a texture."""
    detailed: bool = True
    """Whether nearly all of it shows something: only such a picture can be told from another by what it shows."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Who gets which crops; no two of one photograph overlap."""

    pool: list[Picture]
    """In random order."""
    references: dict[str, Picture]
    """By file name."""


def share_out(folder: Path, rng: np.random.Generator) -> Shares:
    """Cut all photographs; write `folder/seeds/<set>/<concept>/*` and `folder/references/<set>/*`."""
    pool: list[Picture] = []
    references: dict[str, Picture] = {}
    for name in (*CONCEPTS, *TEXTURES):
        pictures = list(_pictures(name, rng))
        if name in CONCEPTS and name not in GRAINY:
            chosen = [picture for picture in pictures if picture.detailed][:REFERENCES_EACH]
            pictures = [picture for picture in pictures if picture not in chosen]
            for index, picture in enumerate(chosen):
                file = f"{name}-{index}.{picture.suffix}"
                references[file] = picture
                _write(folder / "references" / REFERENCE_SET / file, picture)
        for set_name in (key for key, concepts in SEED_SETS.items() if name in concepts):
            for index in range(SEEDS_EACH[set_name]):
                picture = pictures.pop()
                _write(folder / "seeds" / set_name / name / f"{index:02d}.{picture.suffix}", picture)
        pool.extend(pictures)
    return Shares([pool[index] for index in rng.permutation(len(pool))], references)


def _pictures(name: str, rng: np.random.Generator) -> Iterator[Picture]:
    photograph = open_photograph(name)
    plain = 0
    for box in crops(photograph, MOST_CROPS, rng):
        detailed = name not in REGULAR and has_detail(photograph, box)
        plain += not detailed
        if not detailed and plain > MOST_PLAIN:
            continue
        image = photograph.cut(box, int(rng.integers(*SIDES)))
        data, suffix = first_save(image, rng)
        concept = name if name in CONCEPTS else None
        yield Picture(image, data, suffix, concept, detailed)


def _write(path: Path, picture: Picture) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture.data)
