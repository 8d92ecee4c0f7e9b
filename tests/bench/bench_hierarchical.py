"""How evenly concepts are sampled: at random, from flat k-means, and from a hierarchy with and without resampling.

    python -m tests.bench.bench_hierarchical [--rows 200000] [--dim 64] [--concepts 5000] [--sample 10000]

Rows are a mixture of concepts whose sizes fall off as in Zipf's law, so few concepts have most of the rows, as on the
web. Each way chooses the same number of rows without knowing of concepts; then the entropy of the true concepts among
them is measured, as a share of log(concepts), and how many concepts are there at all. "By concept" shares the number
out over the true concepts: no way can do better. All ways have the same number of lowest clusters; those with levels
begin with the flat way's centroids, and their seconds include its own.
"""

import argparse
import os
import time
from statistics import median

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", type=int, default=200_000)
parser.add_argument("--dim", type=int, default=64)
parser.add_argument("--concepts", type=int, default=5000)
parser.add_argument("--zipf", type=float, default=1.2, help="how fast sizes fall off")
parser.add_argument("--noise", type=float, default=0.8, help="spread of a concept, against 1 between concepts")
parser.add_argument("--sample", type=int, default=10_000)
parser.add_argument("--clusters", type=int, default=2000)
parser.add_argument("--iterations", type=int, default=20)
parser.add_argument("--rounds", type=int, default=2, help="repetitions, with other seeds; medians are shown")
parser.add_argument("--threads", type=int, default=1)
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)

import numpy as np  # noqa: E402, as the number of threads is read when it is loaded

from curation.search.balanced import balanced  # noqa: E402
from curation.search.hierarchical import Growth, Points, Rounds, grow, parents  # noqa: E402
from curation.search.kmeans import kmeans  # noqa: E402
from curation.search.partition import KMeansPartition  # noqa: E402
from curation.search.worker_group import LocalGroup  # noqa: E402

WAYS = {
    "flat k-means": (1, 0),
    "flat, 3 resamplings": (1, 3),
    "2 levels": (2, 0),
    "2 levels, 1 resampling": (2, 1),
    "2 levels, 3 resamplings": (2, 3),
    "2 levels, 10 resamplings": (2, 10),
    "3 levels, 3 resamplings": (3, 3),
}


def make(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows in fp16, and the concept of each."""
    weights = 1 / np.arange(1, options.concepts + 1) ** options.zipf
    concepts = rng.choice(options.concepts, options.rows, p=weights / weights.sum())
    rows = rng.standard_normal((options.concepts, options.dim), dtype=np.float32)[concepts]
    rows += options.noise * rng.standard_normal(rows.shape, dtype=np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16), concepts


def paths(rows: np.ndarray, growth: Growth) -> np.ndarray:
    share = KMeansPartition(rows, threads=options.threads, bounds=False)
    share.update(growth.centroids[0])
    result = [share.clusters]
    for level in parents(growth):
        result.insert(0, level[result[0]])
    return np.stack(result, axis=1)


def measure(seed: int, result: dict[str, list[tuple[float, int, float]]]) -> None:
    rows, concepts = make(np.random.default_rng(seed))

    def note(way: str, chosen: np.ndarray, seconds: float) -> None:
        assert len(set(chosen.tolist())) == options.sample
        shares = np.bincount(concepts[chosen], minlength=options.concepts) / options.sample
        shares = shares[shares > 0]
        entropy = float(-(shares * np.log(shares)).sum() / np.log(options.concepts))
        result.setdefault(way, []).append((entropy, len(shares), seconds))

    rng = np.random.default_rng(seed + 1)
    note("random", rng.choice(options.rows, options.sample, replace=False), 0.0)
    started = time.perf_counter()
    flat = kmeans(rows, options.clusters, options.iterations, rng, threads=options.threads).centroids
    alone = time.perf_counter() - started
    for way, (levels, resamplings) in WAYS.items():
        counts = tuple(options.clusters // 10**level for level in range(levels))
        settings = Rounds(resamplings, iterations=options.iterations)
        started = time.perf_counter()
        growth = grow(
            LocalGroup([Points(rows)], options.threads),
            len(rows),
            Growth((flat,)),
            counts,
            settings,
            lambda *at: np.random.default_rng([seed, *at]),
            threads=options.threads,
        )
        chosen = balanced(paths(rows, growth), options.sample, np.random.default_rng(seed))
        note(way, chosen, alone + time.perf_counter() - started)
    by_concept = balanced(concepts[:, None].astype(np.int32), options.sample, np.random.default_rng(seed))
    note("by concept", by_concept, 0.0)


def main() -> None:
    result: dict[str, list[tuple[float, int, float]]] = {}
    for seed in range(options.rounds):
        measure(10 * seed, result)
    print(
        f"{options.rows:,} x {options.dim}, {options.concepts:,} concepts, sizes as rank^-{options.zipf:g}, noise "
        f"{options.noise:g}; {options.sample:,} chosen; {options.clusters:,} lowest clusters, {options.iterations} "
        f"iterations, {options.threads} thread(s); medians of {options.rounds}"
    )
    print("| way | entropy | concepts found | seconds |")
    print("|---|---|---|---|")
    for way, results in result.items():
        entropy, there, seconds = (median(values) for values in zip(*results, strict=True))
        print(f"| {way} | {entropy:.3f} | {there:,.0f} | {seconds:.1f} |")


if __name__ == "__main__":
    main()
