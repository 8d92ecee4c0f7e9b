"""How many photos that are no copies dedup drops: of photos as they were collected, and of made look-alikes.

    python -m tests.bench.bench_harm DATA [--half judging] [--sets dev fruits ...] [--made 60] [--keep FOLDER]

DATA is the folder that `halves.py` splits. Each set is a pool of its own, run at the defaults but for filters and the
brake, which are off. What is dropped is listed. Pairs of `dev` that NEAR_DUP_CANDIDATES.tsv names are counted apart, as
copies by nature; other drops may be copies too, so look at them. In brackets stands the upper bound of the share of
other drops (95 %, one-sided, Clopper and Pearson).

Look-alikes are made of photos of the same half, `--made` of each kind, each kind a pool of its own in which nothing
should be dropped: objects cut out by COCO's masks, two before each background, photographed anew; scenes photographed
twice; four photos at a time in one drawn frame; and all photos in one fog, in the dark, or in light of one colour. `0`
makes none. `--keep FOLDER` keeps pools and runs, and reads those that are there.
"""

import argparse
import csv
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from curation.config import ImageConfig
from curation.imaging.decode import decode
from curation.models.copy.evidence_pairs import cut_out
from curation.models.copy.second_photographs import in_one_frame, second_photograph, stood_before
from pipelines.fit_copy_evidence import THINGS
from tests.bench.deduped import Verdict, dedup_pool, heavy_looks, seconds_of, upper_bound, verdicts
from tests.bench.evidence_split import mask_of, split
from tests.bench.halves import SETS, choosing, judging

SIDE, IN_ONE_FRAME, SEED = 512, 4, 7
TINTS = {"red": (255, 60, 50), "green": (70, 220, 90), "blue": (60, 90, 255), "amber": (255, 180, 40)}

Pixels = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--half", choices=("judging", "choosing"), default="judging")
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument("--made", type=int, default=60)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    half = judging if arguments.half == "judging" else choosing
    print(
        f"{arguments.half} half\n\n| set | images | dropped | by nature | others | heavy looks an image | ms an image |"
    )
    print("|---|---|---|---|---|---|---|")
    listed: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = arguments.keep or Path(scratch)
        for name in arguments.sets:
            pool = root / f"{name}"
            if not pool.exists():
                pool.mkdir(parents=True)
                for photo in half(arguments.data, [name]):
                    shutil.copyfile(photo, pool / flat(photo))
            near = candidates(arguments.data) if name == "dev" else set()
            listed[name] = report(name, pool, near)
        for name, pictures in made(arguments.data, arguments.half == "judging", arguments.made):
            pool = root / name.replace(" ", "-")
            if not pool.exists():
                pool.mkdir(parents=True)
                for file, picture in pictures:
                    Image.fromarray(picture).save(pool / f"{file}.jpg", quality=90)
            listed[name] = report(name, pool, set())
    for name, lines in listed.items():
        print("\n".join(["", f"dropped of {name}:", *lines]) if lines else "", end="")
    print()


def report(name: str, pool: Path, near: set[frozenset[str]]) -> list[str]:
    """Runs a pool and prints its row of the table; returns what was dropped."""
    run = dedup_pool([pool], pool.with_name(f"{pool.name}.run"))
    every = verdicts(run)
    dropped = [verdict for verdict in every.values() if verdict.kept is not None]
    others = [verdict for verdict in dropped if pair_of(verdict) not in near]
    count = max(1, len(every))
    share = f"{len(others)}, {len(others) / count:.2%} (<{upper_bound(len(others), count):.2%})"
    print(
        f"| {name} | {len(every):,} | {len(dropped)} | {len(dropped) - len(others)} | {share} "
        f"| {heavy_looks(run) / count:.2f} | {1000 * seconds_of(run) / count:.0f} |",
        flush=True,
    )
    return [f"  {verdict}{'' if verdict in others else ', by nature'}" for verdict in dropped]


def pair_of(verdict: Verdict) -> frozenset[str]:
    return frozenset((verdict.path, str(verdict.kept)))


def flat(photo: Path) -> str:
    return f"{photo.parent.name}__{photo.name}"


def candidates(data: Path) -> set[frozenset[str]]:
    """Pairs of `dev` that may be copies by nature, as their files are called in a pool."""
    with open(data / "dev" / "NEAR_DUP_CANDIDATES.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {frozenset(row[name].replace("/", "__") for name in ("file_a", "file_b")) for row in rows}


def made(data: Path, judges: bool, count: int) -> Iterator[tuple[str, Iterator[tuple[str, Pixels]]]]:
    """Kinds of look-alikes, and the pictures of each by their names."""
    if not count:
        return
    photos = [photo for name in SETS for photo in split(data)[name, judges] if name != "street"]  # frames of one drive
    order = np.random.default_rng(SEED).permutation(len(photos))
    plain = [photos[at] for at in order if mask_of(photos[at]) is None]
    things = [thing for at in order if mask_of(photos[at]) is not None for thing in things_of(photos[at])]
    yield f"{2 * count} objects before {count} backgrounds", swapped(plain[:count], plain[count:], things)
    yield f"{count} scenes photographed twice", twice(plain[:count])
    yield f"{count} photos in drawn frames", framed(plain[:count])
    lights = {"fog": fog, "dark": dark}
    lights |= {f"{tint} light": lambda photo, rng, tint=tint: tinted(photo, TINTS[tint]) for tint in TINTS}
    for name, light in lights.items():
        yield f"{count} photos in {name}", lit(plain[:count], light)


def things_of(photo: Path) -> list[tuple[Pixels, NDArray[np.bool_]]]:
    pixels, mask = pixels_of(photo), cv2.imread(str(mask_of(photo)), cv2.IMREAD_GRAYSCALE)
    mask = cv2.resize(mask, (pixels.shape[1], pixels.shape[0]), interpolation=cv2.INTER_NEAREST)
    return cut_out(pixels, mask, THINGS)


def pixels_of(photo: Path) -> Pixels:
    result = decode(photo.read_bytes(), ImageConfig(min_side=1), SIDE)
    assert isinstance(result, np.ndarray), f"{photo}: {result}"
    return result


def swapped(backgrounds: list[Path], packs: list[Path], things: list) -> Iterator[tuple[str, Pixels]]:
    """Two pictures of each background, with another thing before each; whole photos, as packs, when things run out."""
    rng = np.random.default_rng(SEED)
    packs, things = list(packs), list(things)
    for number, background in enumerate(backgrounds):
        pair = [things.pop(0) if things else pack(pixels_of(packs.pop(0))) for _ in range(2)]
        for side, picture in enumerate(stood_before(pixels_of(background), pair, rng)):
            yield f"{number:03d}-{side}", second_photograph(picture, rng) if side else picture


def pack(photo: Pixels) -> tuple[Pixels, NDArray[np.bool_]]:
    return photo, np.ones(photo.shape[:2], np.bool_)


def twice(photos: list[Path]) -> Iterator[tuple[str, Pixels]]:
    rng = np.random.default_rng(SEED)
    for number, photo in enumerate(photos):
        pixels = pixels_of(photo)
        yield from ((f"{number:03d}-0", pixels), (f"{number:03d}-1", second_photograph(pixels, rng)))


def framed(photos: list[Path]) -> Iterator[tuple[str, Pixels]]:
    rng = np.random.default_rng(SEED)
    for start in range(0, len(photos), IN_ONE_FRAME):
        pictures = in_one_frame([pixels_of(photo) for photo in photos[start : start + IN_ONE_FRAME]], rng)
        yield from ((f"{start:03d}-{at}", picture) for at, picture in enumerate(pictures))


def lit(photos: list[Path], light) -> Iterator[tuple[str, Pixels]]:
    rng = np.random.default_rng(SEED)
    for number, photo in enumerate(photos):
        yield f"{number:03d}", light(pixels_of(photo), rng)


def fog(photo: Pixels, rng: Generator) -> Pixels:
    return np.clip(0.15 * photo + 0.85 * 215 + rng.normal(0, 1.5, photo.shape), 0, 255).astype(np.uint8)


def dark(photo: Pixels, rng: Generator) -> Pixels:
    return np.clip(0.08 * photo + rng.normal(0, 2, photo.shape), 0, 255).astype(np.uint8)


def tinted(photo: Pixels, colour: tuple[int, int, int]) -> Pixels:
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[..., None] / 255
    return (0.15 * photo + 0.85 * grey * np.array(colour)).astype(np.uint8)


if __name__ == "__main__":
    main()
