"""The whole self-dedup of a folder beside fastdup: wall and CPU time, and which true copies each of them finds.

    python -m tests.bench.bench_fastdup FOLDER --peer PYTHON [--set KEY=VALUE ...] [--rounds 1]

PYTHON is that of an environment with fastdup in it (`pip install fastdup`; its licence allows to measure it). A round
is A B B A, each time as a command of its own on a fresh work folder: `lvd curate --until dedup` with every filter and
the brake off, and `fastdup.create(...).run(threshold=0.9)`, the call of its manual, whose pairs above that threshold
are then joined. One seed image is given to lvd, as it asks for one.

True copies are the rows of FOLDER/truth.tsv (copy, source), as `make_copy_edits.py` writes it. Without it, files of one
name in the folders caltech101__Faces and caltech101__Faces_easy: pictures, and crops of them. A copy is found when it
is in one group with its source. Of a folder with truth.tsv it is told as well how many images are in a group with
another photo, which is wrong, as each photo has a file name of its own.
"""

import argparse
import csv
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from curation.run.directory import Run
from curation.search.components import components_of

LVD = str(Path(sys.executable).with_name("lvd"))
BRAKE_OFF = ("dedup.max_share=1", "dedup.max_group=1")
FILTERS_OFF = ("quality.on=[]", "safety.nsfw=off", "safety.faces=keep", "image.min_side=1", *BRAKE_OFF)
IMAGES = {".jpg", ".jpeg", ".png", ".webp"}
THRESHOLD = 0.9
PEER = """
import json, sys
import fastdup
found = fastdup.create(work_dir=sys.argv[2], input_dir=sys.argv[1])
found.run(threshold=float(sys.argv[3]))
pairs = found.similarity()
with open(sys.argv[4], "w") as file:
    json.dump([list(pairs["filename_from"]), list(pairs["filename_to"])], file)
"""


@dataclass(frozen=True)
class Result:
    """One command, run once: the group of each image."""

    seconds: float
    cpu_seconds: float
    groups: dict[str, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peer", required=True, help="the python that has fastdup")
    parser.add_argument("--set", action="append", default=[], help="settings of lvd")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    folder = options.folder.resolve()
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix.lower() in IMAGES)
    results: dict[str, list[Result]] = {"lvd": [], "fastdup": []}
    for letter in "ABBA" * options.rounds:
        with tempfile.TemporaryDirectory() as work:
            if letter == "A":
                name, result = "lvd", ours(folder, files, Path(work), options.set)
            else:
                name, result = "fastdup", theirs(folder, files, Path(work), options.peer)
            results[name].append(result)
            print(f"{name}: {result.seconds:.1f} s wall, {result.cpu_seconds:.1f} s CPU", flush=True)
    truth = true_pairs(folder, files)
    table = Table(
        "", "wall s", "CPU s", "images/s", "would drop", f"of {len(truth):,} copies found", "in a wrong group"
    )
    for name, result in results.items():
        seconds = statistics.median(item.seconds for item in result)
        groups = result[0].groups
        table.add_row(
            name,
            f"{seconds:.1f}",
            f"{statistics.median(item.cpu_seconds for item in result):.1f}",
            f"{len(files) / seconds:.0f}",
            f"{len(groups) - len(set(groups.values())):,}",
            f"{sum(groups[copy] == groups[source] for copy, source in truth):,}",
            f"{wrong(groups):,}" if (folder / "truth.tsv").exists() else "",
        )
    Console(width=130).print(table)
    print(f"{len(files):,} images, {' '.join(options.set)}")


def ours(folder: Path, files: list[str], work: Path, settings: list[str]) -> Result:
    (work / "seed").mkdir()
    shutil.copy(folder / files[0], work / "seed")
    command = [LVD, "curate", "--pool", str(folder), "--seed", str(work / "seed"), "--until", "dedup"]
    changes = [part for item in (*FILTERS_OFF, *settings) for part in ("--set", item)]
    seconds, cpu = timed([*command, "--out", str(work / "run"), *changes])
    pool = Run.load(str(work / "run")).pool
    name_of: dict[bytes, str] = {}
    stands: dict[str, bytes] = {}
    for part in pool.parts("dedup"):
        keys = pool.read("list", part, ["path"])["path"].to_pylist()
        ids = pool.read("fetch", part, ["id"])["id"].to_pylist()
        components = pool.read("dedup", part, ["representative"])["representative"].to_pylist()
        name_of.update(zip(ids, keys, strict=True))
        stands.update({key: component for key, component in zip(keys, components, strict=True) if component})
    pairs = [(key, name_of[component]) for key, component in stands.items()]
    return Result(seconds, cpu, grouped(files, pairs))


def theirs(folder: Path, files: list[str], work: Path, peer: str) -> Result:
    answer = work / "pairs.json"
    command = [peer, "-c", PEER, str(folder), str(work / "fastdup"), str(THRESHOLD), str(answer)]
    seconds, cpu = timed(command)
    result = json.loads(answer.read_text())
    pairs = [tuple(str(Path(name).relative_to(folder)) for name in pair) for pair in zip(*result, strict=True)]
    return Result(seconds, cpu, grouped(files, pairs))


def timed(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a command and its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    done = subprocess.run(
        command, env={**os.environ, "FASTDUP_PRODUCTION": "1"}, capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - started
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def grouped(files: list[str], pairs: list[tuple[str, ...]]) -> dict[str, int]:
    number = {name: at for at, name in enumerate(files)}
    edges = np.array([[number[name] for name in pair] for pair in pairs], np.int64).reshape(-1, 2)
    return dict(zip(files, components_of(len(files), edges).tolist(), strict=True))


def true_pairs(folder: Path, files: list[str]) -> list[tuple[str, str]]:
    if (folder / "truth.tsv").exists():
        with open(folder / "truth.tsv", newline="") as file:
            return [(row["copy"], row["source"]) for row in csv.DictReader(file, delimiter="\t")]
    crops = {name: name.replace("caltech101__Faces_easy", "caltech101__Faces") for name in files}
    return [(crop, whole) for crop, whole in crops.items() if crop != whole and whole in crops]


def wrong(groups: dict[str, int]) -> int:
    """Images in a group that holds two photos or more."""
    photos: dict[int, set[str]] = {}
    for name, group in groups.items():
        photos.setdefault(group, set()).add(Path(name).stem)
    return sum(len(photos[group]) > 1 for group in groups.values())


if __name__ == "__main__":
    main()
