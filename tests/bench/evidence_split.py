"""Which photos the careful look is fitted on, and which judge it.

    python -m tests.bench.evidence_split DATA OUT

writes OUT/choosing-<set>.txt and OUT/judging-<set>.txt, as `pipelines.fit_copy_evidence` takes them: a photo a line,
and its mask after a tab. DATA holds `dev/`, with a folder a class, and `hard/`; `halves.py` says which judge.
"""

import csv
import sys
from pathlib import Path

from tests.bench.halves import SETS, choosing, judging

TWICE = ("caltech101__Faces_easy",)
"""Folders that are crops of another's photos."""


def split(data: Path) -> dict[tuple[str, bool], list[Path]]:
    """Photos by their set and whether they judge, by `halves`; of photos that are copies by nature one each."""
    repeats = near_duplicates(data / "dev")
    result = {}
    for judges, half in ((False, choosing), (True, judging)):
        for name in SETS:
            photos = half(data, [name])
            if name == "dev":
                photos = [photo for photo in photos if photo.parent.name not in TWICE]
                photos = [photo for photo in photos if f"{photo.parent.name}/{photo.name}" not in repeats]
            result[name, judges] = photos
    return result


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
