"""What dedup makes of edited copies that lie in one pool with their sources and with photos that have no copy.

    python -m tests.bench.bench_copies_in_pool SET [--reference N] [--keep DIR]
    python -m tests.bench.bench_copies_in_pool SET --run DIR

SET is what `make_copy_edits.py` makes; all of it is one pool, by the rule of `lvd dedup`. A copy is *found* when it is
dropped for an image of its own source, or kept while another of these is dropped for it. *Precision* is the share of
dropped images that were dropped for one of their own source. With `--reference N` the first N sources, by name, are a
reference set as well: all images of theirs, the sources' own files included, should go, and no other for them.
`--keep DIR` keeps the run, and `--run DIR` reads one that is finished.
"""

import argparse
import csv
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from curation.run.directory import Run
from tests.bench.deduped import Verdict, dedup_pool, heavy_looks, seconds_of, upper_bound, verdicts

LEAK = "reference_leak"
SHOWN = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--reference", type=int, default=0)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with open(arguments.set / "truth.tsv", newline="") as file:
        truth = {row["copy"]: row for row in csv.DictReader(file, delimiter="\t")}
    with tempfile.TemporaryDirectory() as scratch:
        run = Run.load(str(arguments.run)) if arguments.run else made(arguments, Path(scratch))
        report(run, truth)


def made(arguments: argparse.Namespace, scratch: Path) -> Run:
    references = None
    if arguments.reference:
        references = (arguments.keep or scratch) / "references"
        references.mkdir(parents=True, exist_ok=True)
        for photo in sorted((arguments.set / "sources").iterdir())[: arguments.reference]:
            shutil.copyfile(photo, references / photo.name)
    return dedup_pool([arguments.set], (arguments.keep or scratch) / "run", references)


def report(run: Run, truth: Mapping[str, Mapping[str, str]]) -> None:
    source_of = {copy: row["source"] for copy, row in truth.items()}
    every = verdicts(run)
    dropped = [verdict for verdict in every.values() if verdict.kept is not None]
    count = max(1, len(every))
    cost = f"{1000 * seconds_of(run) / count:.0f} ms and {heavy_looks(run) / count:.2f} heavy looks each"
    print(f"{len(every):,} images, {cost}")
    if run.config.references:
        leaks(run, every, source_of)
        dropped = [verdict for verdict in dropped if verdict.reason != LEAK]
    right = [verdict for verdict in dropped if same(verdict.path, str(verdict.kept), source_of)]
    wrong = [verdict for verdict in dropped if not same(verdict.path, str(verdict.kept), source_of)]
    found = {name for verdict in right for name in (verdict.path, str(verdict.kept))}
    edits = edits_of(every, truth)
    print("\n| edit | copies | found |\n|---|---|---|")
    for edit, copies in edits.items():
        print(f"| {edit} | {len(copies)} | {np.mean([copy in found for copy in copies]):.3f} |")
    copies = [copy for group in edits.values() for copy in group]
    groups = Counter(str(verdict.kept) for verdict in right)
    original = sum(kept not in truth for kept in groups)
    kinds = Counter(truth[kept]["edit"] for kept in groups if kept in truth)
    print(f"| **all** | {len(copies):,} | **{np.mean([copy in found for copy in copies]) if copies else 0:.3f}** |\n")
    print(f"dropped {len(dropped):,}, precision {len(right) / max(1, len(dropped)):.4f}")
    print(f"dropped for no copy {len(wrong)} (<{upper_bound(len(wrong), count):.2%} of the pool)")
    print(f"groups {len(groups):,}, the original kept in {original / max(1, len(groups)):.3f}; else {dict(kinds)}")
    print(f"hubs {sum(verdict.hub for verdict in every.values())}")
    for verdict in wrong[:SHOWN]:
        print(f"  {verdict}")


def leaks(run: Run, every: Mapping[str, Verdict], source_of: Mapping[str, str]) -> None:
    """What went for the references."""
    reference = run.references(run.config.references[0].name)
    names = {
        f"sources/{path}"
        for part in reference.parts("fetch")
        for path in reference.read("fetch", part, ["path"])["path"].to_pylist()
    }
    own = [verdict for verdict in every.values() if source_of.get(verdict.path, verdict.path) in names]
    gone = [verdict for verdict in every.values() if verdict.reason == LEAK]
    others = [verdict for verdict in gone if source_of.get(verdict.path, verdict.path) not in names]
    print(
        f"{len(names)} references, {len(own):,} images of theirs; {len(gone):,} removed: {len(gone) - len(others):,} "
        f"of theirs ({(len(gone) - len(others)) / max(1, len(own)):.3f}) and {len(others)} others"
    )
    for verdict in others[:SHOWN]:
        print(f"  {verdict}")


def same(one: str, other: str, source_of: Mapping[str, str]) -> bool:
    return source_of.get(one, one) == source_of.get(other, other)


def edits_of(every: Mapping[str, Verdict], truth: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """The copies of each edit that are left to be found."""
    edits: dict[str, list[str]] = {edit: [] for edit in dict.fromkeys(row["edit"] for row in truth.values())}
    for copy, row in truth.items():
        if copy in every and every[copy].reason != LEAK:
            edits[row["edit"]].append(copy)
    return {edit: copies for edit, copies in edits.items() if copies}


if __name__ == "__main__":
    main()
