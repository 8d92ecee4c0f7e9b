"""Which photos the careful look is fitted on, and which judge it.

    python -m tests.bench.evidence_split DATA OUT

writes OUT/choosing-<set>.txt and OUT/judging-<set>.txt, as `pipelines.fit_copy_evidence` takes them: a photo a line,
and its mask after a tab. DATA holds `dev/`, with a folder a class, and `hard/`. Judging are: the classes of `dev` that
`copy_split` holds out, of the hard sets every second file (of the names in order, the second first), and of each
sequence of `hard/street` the second half.
"""

import csv
import sys
from itertools import groupby
from pathlib import Path

from tests.bench.copy_split import held_out_classes

HARD = ("fruits", "cells", "kangaroo", "coco")
SUFFIXES = {".jpg", ".jpeg", ".png"}
TWICE = ("caltech101__Faces_easy",)
"""Folders that are crops of another's photos."""


def split(data: Path) -> dict[tuple[str, bool], list[Path]]:
    """Photos by their set and whether they judge."""
    result: dict[tuple[str, bool], list[Path]] = {}
    held_out, repeats = set(held_out_classes(data / "dev")), near_duplicates(data / "dev")
    folders = sorted(path for path in (data / "dev").iterdir() if path.is_dir() and path.name not in TWICE)
    for judges in (False, True):
        classes = [folder for folder in folders if (folder.name in held_out) is judges]
        photos = [photo for folder in classes for photo in images(folder)]
        result["dev", judges] = [photo for photo in photos if f"{photo.parent.name}/{photo.name}" not in repeats]
    for name in HARD:
        found = images(data / "hard" / name / "images" if name == "coco" else data / "hard" / name)
        result[name, False], result[name, True] = found[::2], found[1::2]
    frames = images(data / "hard" / "street" / "images")
    for _, sequence in groupby(frames, key=lambda path: path.name.split("_")[0]):
        ordered = list(sequence)
        half = len(ordered) // 2
        result.setdefault(("street", False), []).extend(ordered[:half])
        result.setdefault(("street", True), []).extend(ordered[half:])
    return result


def images(folder: Path) -> list[Path]:
    """Its images, at any depth, in order."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and "masks" not in path.parts)


def near_duplicates(folder: Path) -> set[str]:
    """Photos that may be copies of another by nature: all but the first of each pair."""
    with open(folder / "NEAR_DUP_CANDIDATES.tsv", newline="") as file:
        return {max(row["file_a"], row["file_b"]) for row in csv.DictReader(file, delimiter="\t")}


def mask_of(photo: Path) -> Path | None:
    """The mask of a photo of `hard/coco`."""
    mask = Path(str(photo).replace("/coco/images/", "/coco/masks/")).with_suffix(".png")
    return mask if mask != photo and mask.exists() else None


def write(data: Path, out: Path) -> None:
    """The lists."""
    out.mkdir(parents=True, exist_ok=True)
    for (name, judges), photos in split(data).items():
        rows = [f"{photo}\t{mask}" if (mask := mask_of(photo)) else str(photo) for photo in photos]
        (out / f"{'judging' if judges else 'choosing'}-{name}.txt").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
