"""Curates a folder of labelled photos end to end, and prints funnel, seconds and peak memory.

    python tests/bench/bench_curate.py DATA [--classes 8] [--per-class 10] [--kind ray] [--keep RUN]

DATA is a folder whose sub-folders are classes. The seeds are the first images of the largest classes; the pool is the
whole folder, seeds included, so each seed's nearest neighbour is itself.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from curation.engine.gather import gather
from curation.report.funnel import funnel
from curation.run.directory import Run

LVD = str(Path(sys.executable).with_name("lvd"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--per-class", type=int, default=10)
    parser.add_argument("--kind", choices=["ray", "inline"], default="ray")
    parser.add_argument("--keep", type=Path, help="leave the run in this folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out = arguments.keep or Path(scratch) / "run"
        seeds = plant_seeds(arguments.data, Path(scratch) / "seeds", arguments.classes, arguments.per_class)
        seconds, memory = timed_run(arguments.data, seeds, out, arguments.kind)
        print_funnel(out)
        print(f"\nwall time {seconds:.1f} s, peak resident memory of the largest process {memory / 1e9:.2f} GB")
        print(f"share of retrieved images with the class of their seed: {purity(out):.3f}")


def plant_seeds(data: Path, seeds: Path, classes: int, per_class: int) -> Path:
    """Copy the first images of the largest classes."""
    folders = sorted(
        (path for path in data.iterdir() if path.is_dir()), key=lambda p: (-len(list(p.iterdir())), p.name)
    )
    for folder in folders[:classes]:
        (seeds / folder.name).mkdir(parents=True)
        for image in sorted(folder.iterdir())[:per_class]:
            shutil.copy(image, seeds / folder.name / image.name)
    return seeds


def timed_run(data: Path, seeds: Path, out: Path, kind: str) -> tuple[float, float]:
    """Seconds of the whole command, and bytes resident in its largest process."""
    command = [LVD, "curate", "--pool", str(data), "--seed", str(seeds), "--out", str(out)]
    started = time.perf_counter()
    subprocess.run([*command, "--set", f"runner.kind={kind}", "--set", "parts.rows=1000"], check=True)
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def print_funnel(out: Path) -> None:
    print(f"\n{'collection':<14}{'stage':<12}{'in':>8}{'out':>8}{'worker s':>10}  dropped")
    for row in funnel(Run.load(str(out))):
        drops = ", ".join(f"{count} {reason}" for reason, count in row.ledger.drops.items())
        numbers = f"{row.ledger.live_in:>8}{row.ledger.live_out:>8}{row.ledger.seconds:>10.1f}"
        print(f"{row.collection:<14}{row.stage:<12}{numbers}  {drops}")


def purity(out: Path) -> float:
    """Share of picks, nominal, whose label is that of the seed image that picked them, seeds themselves left out."""
    run = Run.load(str(out))
    pool = gather(run.pool, "clusters", {"fetch": ["label", "sha256"]})
    places = zip(pool.part.tolist(), pool.row.tolist(), pool.table.to_pylist(), strict=True)
    by_place = {(part, row): fields for part, row, fields in places}
    counts: Counter[bool] = Counter()
    (seed,) = run.config.seeds
    columns = {"fetch": ["label", "sha256"], "seed_knn": ["neighbour_part", "neighbour_row"]}
    seeds = gather(run.seeds(seed.name), "seed_knn", columns).table.to_pylist()
    own = {fields["sha256"] for fields in seeds}
    for fields in seeds:
        for place in zip(fields["neighbour_part"], fields["neighbour_row"], strict=True):
            result = by_place[place]
            if result["sha256"] not in own:
                counts[result["label"] == fields["label"]] += 1
    return counts[True] / max(1, sum(counts.values()))


if __name__ == "__main__":
    main()
