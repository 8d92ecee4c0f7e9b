"""Which photos things are chosen on and which they are judged by, so that no table reports on what it was chosen on.

    python -m tests.bench.halves DATA choosing|judging [--sets dev fruits ...]

prints the files, one a line. DATA holds `dev/` (a folder for each class) and `hard/` (`fruits`, `street`, `cells`,
`kangaroo`, `coco`). Judging: of `dev` every fourth class, of the names in order (`copy_split.py`); of `street` the
second half of each sequence; of the others every second file, of the names in order. Choosing: all others.
"""

import argparse
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from tests.bench.copy_split import held_out_classes

SETS = ("dev", "fruits", "street", "cells", "kangaroo", "coco")
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def choosing(data: Path, sets: Sequence[str] = SETS) -> list[Path]:
    """Files that numbers may be chosen on."""
    return [path for name in sets for path, judges in _divided(data, name) if not judges]


def judging(data: Path, sets: Sequence[str] = SETS) -> list[Path]:
    """Files that nothing was chosen on."""
    return [path for name in sets for path, judges in _divided(data, name) if judges]


def _divided(data: Path, name: str) -> list[tuple[Path, bool]]:
    if name == "dev":
        held_out = set(held_out_classes(data / "dev"))
        return [(path, path.parent.name in held_out) for path in _photos(data / "dev")]
    files = _photos(data / "hard" / name)
    if name == "street":  # a frame and the next are of one drive
        drives = [list(frames) for _, frames in groupby(files, key=lambda path: path.stem.split("_")[0])]
        return [(frame, at >= len(drive) // 2) for drive in drives for at, frame in enumerate(drive)]
    return [(path, number % 2 == 1) for number, path in enumerate(files)]


def _photos(folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]
    return sorted(path for path in files if "masks" not in path.relative_to(folder).parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("half", choices=("choosing", "judging"))
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    arguments = parser.parse_args()
    half = choosing if arguments.half == "choosing" else judging
    print("\n".join(map(str, half(arguments.data, arguments.sets))))


if __name__ == "__main__":
    main()
