"""k-means against faiss and pt_kmeans, and against the time that its matrix products alone take.

    python -m tests.bench.bench_kmeans [--rows 200000] [--data mixture|random] [--site FOLDER] [--rounds 2]
    python -m tests.bench.bench_kmeans --big 10000000 --iterations 3

FOLDER is where `pip install --no-deps --target FOLDER pt-kmeans` put it; without one it is left out. All start from
rows at random. Objectives are measured alike for all: the mean similarity of all rows to their nearest centroid,
afterwards. `mixture` has 3,000 components of uneven sizes with a falling spectrum, as embeddings have; `random` has no
structure at all.
"""

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from statistics import median

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", type=int, default=200_000)
parser.add_argument("--dim", type=int, default=384)
parser.add_argument("--clusters", type=int, default=1024)
parser.add_argument("--iterations", type=int, default=10)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--rounds", type=int, default=2)
parser.add_argument("--data", choices=("mixture", "random"), default="mixture")
parser.add_argument("--site", help="folder with pt_kmeans")
parser.add_argument("--big", type=int, help="rows of a run of our own, in fp16, that reports memory")
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)
if options.site:
    sys.path.append(options.site)

import faiss  # noqa: E402, as the number of threads is read when these are loaded
import numpy as np  # noqa: E402
import torch  # noqa: E402

from curation.search.kmeans import Held, Progress, fit, kmeans, unit  # noqa: E402
from curation.search.worker_group import LocalGroup  # noqa: E402

torch.set_num_threads(options.threads)
faiss.omp_set_num_threads(options.threads)


def make(rows: int) -> np.ndarray:
    """Unit rows in fp16, made a block at a time."""
    rng = np.random.default_rng(0)
    spectrum = ((1 + np.arange(options.dim)) ** -0.5).astype(np.float32)
    centres = rng.standard_normal((3000, options.dim), dtype=np.float32) * spectrum
    weights = rng.pareto(1.2, 3000) + 0.1
    weights /= weights.sum()
    made = np.empty((rows, options.dim), np.float16)
    for start in range(0, rows, 50_000):
        size = min(50_000, rows - start)
        block = rng.standard_normal((size, options.dim), dtype=np.float32)
        if options.data == "mixture":
            block = centres[rng.choice(3000, size, p=weights)] + 0.8 * block * spectrum
        made[start : start + size] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return made


def products(rows: np.ndarray, centroids: np.ndarray) -> float:
    """Seconds for the matrix products of one iteration over float32 rows: the faster of NumPy and torch."""
    one, other = torch.from_numpy(rows), torch.from_numpy(centroids)
    ways: list[Callable[[slice], object]] = [
        lambda at: rows[at] @ centroids.T,
        lambda at: torch.mm(one[at], other.T),
    ]
    seconds = []
    for way in ways:
        started = time.perf_counter()
        for start in range(0, len(rows), 4096):
            way(slice(start, start + 4096))
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def objective(rows: np.ndarray, centroids: np.ndarray) -> float:
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(np.ascontiguousarray(centroids / np.linalg.norm(centroids, axis=1, keepdims=True)))
    return float(index.search(rows, 1)[0].mean(dtype=np.float64))


def compare() -> None:
    halves = make(options.rows)
    rows = halves.astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    count, iterations, dim = options.clusters, options.iterations, options.dim

    def ours(growing: bool) -> np.ndarray:
        return kmeans(
            halves, count, iterations, np.random.default_rng(1), threads=options.threads, growing=growing
        ).centroids

    def with_faiss() -> np.ndarray:
        trainer = faiss.Kmeans(dim, count, niter=iterations, spherical=True, seed=1, max_points_per_centroid=10**9)
        trainer.train(rows)
        return np.asarray(trainer.centroids)

    ways: dict[str, Callable[[], np.ndarray]] = {
        "lvd": lambda: ours(True),
        "lvd, growing: false": lambda: ours(False),
        "faiss": with_faiss,
    }
    if options.site:
        import pt_kmeans

        settings = {"max_iters": iterations, "tol": 0, "distance_metric": "cosine", "init_method": "random"}
        ways["pt_kmeans"] = lambda: pt_kmeans.kmeans(torch.from_numpy(rows), count, random_seed=1, **settings)[
            0
        ].numpy()
    wall: dict[str, list[float]] = {name: [] for name in ["products alone", *ways]}
    cpu: dict[str, list[float]] = {name: [] for name in wall}
    quality: dict[str, float] = {}
    ours(True)  # loads what is loaded once
    for turn in range(options.rounds):
        names = list(wall)
        for name in names if turn % 2 == 0 else reversed(names):
            started, before = time.perf_counter(), time.process_time()
            if name == "products alone":
                wall[name].append(products(rows, rows[:count]) * iterations)
                cpu[name].append(0.0)
                continue
            centroids = ways[name]()
            wall[name].append(time.perf_counter() - started)
            cpu[name].append(time.process_time() - before)
            quality[name] = objective(rows, centroids)
    print(
        f"{options.rows:,} x {dim}, {options.data}, k = {count:,}, {iterations} iterations, {options.threads} threads"
    )
    print("| way | wall s | CPU s | faiss / it, wall | products alone / it | objective |")
    print("|---|---|---|---|---|---|")
    for name in wall:
        seconds = median(wall[name])
        ratios = f"{median(wall['faiss']) / seconds:.2f} | {median(wall['products alone']) / seconds:.0%}"
        print(
            f"| {name} | {seconds:.2f} | {median(cpu[name]):.2f} | {ratios} | {quality.get(name, float('nan')):.5f} |"
        )


def big() -> None:
    halves = make(options.big)
    first = halves[:: options.big // options.clusters][: options.clusters].astype(np.float32)
    sample = halves[:100_000].astype(np.float32)
    limit = products(sample, first) * options.big / len(sample)
    group = LocalGroup([Held(halves, [10_000] * (options.big // 10_000))], options.threads)
    started = [time.perf_counter()]
    print(f"{options.big:,} x {options.dim} in fp16; products alone, from 100,000 rows: {limit:.1f} s an iteration")

    def reported(progress: Progress) -> None:
        started.append(time.perf_counter())
        seconds = started[-1] - started[-2]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        done = f"iteration {len(progress.objectives)}: {seconds:.1f} s, {limit / seconds:.0%} of the limit"
        print(f"{done}, objective {progress.objectives[-1]:.5f}, peak memory {peak:.2f} GiB", flush=True)

    start = Progress(unit(first.astype(np.float64), otherwise=first))
    fit(group, options.big, start, options.iterations, growing=False, save=reported)
    sample = halves[:100_000].astype(np.float32)
    print(f"products alone, again: {products(sample, first) * options.big / len(sample):.1f} s an iteration")


if __name__ == "__main__":
    big() if options.big else compare()
