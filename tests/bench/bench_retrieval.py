"""Neighbours of seed images in a pool: recall, queries per second against flat faiss, build time and memory by size.

    python -m tests.bench.bench_retrieval [--rows 1000000] [--probes 32] [--compressed]
    python -m tests.bench.bench_retrieval --growth 100000 1000000 10000000 --plot docs/images/retrieval_growth.svg

Pool and queries are draws from one mixture of components of uneven sizes, with a spectrum that falls as that of
embeddings does. Everything is fp16 in memory, as in a run. Each size is measured in a process of its own; from
`--codes-from` rows on the index holds codes. Flat faiss (`IndexFlatIP`, float32) takes part up to `--flat-up-to` rows;
`exact` is this project's search without an index, which holds 131,072 rows as float32 at a time.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", type=int, default=1_000_000)
parser.add_argument("--dim", type=int, default=384)
parser.add_argument("--components", type=int, default=10_000)
parser.add_argument("--queries", type=int, default=2_000)
parser.add_argument("--neighbours", type=int, default=4)
parser.add_argument("--probes", type=int, nargs="+", default=[128])
parser.add_argument("--compressed", action="store_true", help="product-quantised codes, ranked again")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--rounds", type=int, default=2)
parser.add_argument("--growth", type=int, nargs="+", help="several sizes, one after the other")
parser.add_argument("--codes-from", type=int, default=10_000_000)
parser.add_argument("--flat-up-to", type=int, default=1_000_000)
parser.add_argument("--plot", help="an SVG of the growth")
parser.add_argument("--json", action="store_true", help="print the figures as JSON alone")
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)

import faiss  # noqa: E402, as the number of threads is read when these are loaded
import numpy as np  # noqa: E402
import torch  # noqa: E402

from curation.search.knn import Searcher, build_index  # noqa: E402

torch.set_num_threads(options.threads)
faiss.omp_set_num_threads(options.threads)


def make(rows: int, seed: int) -> np.ndarray:
    """Rows of the mixture, (N, D) fp16, L2-normalised; block by block, so that no more than a block is float32."""
    rng = np.random.default_rng(0)
    spectrum = (np.arange(1, options.dim + 1) ** -0.5).astype(np.float32)
    centres = rng.standard_normal((options.components, options.dim), np.float32) * spectrum
    weights = rng.pareto(2.0, options.components) + 0.1
    rng = np.random.default_rng([1, seed])
    made = np.empty((rows, options.dim), np.float16)
    for at in range(0, rows, 50_000):
        count = min(50_000, rows - at)
        chosen = rng.choice(options.components, count, p=weights / weights.sum())
        block = centres[chosen] + 0.7 * spectrum * rng.standard_normal((count, options.dim), np.float32)
        made[at : at + count] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return made


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(rows: int) -> dict[str, Any]:
    k = options.neighbours
    pool, queries = make(rows, 0), make(options.queries, 1)
    single = queries.astype(np.float32)
    started, held = time.perf_counter(), peak()
    index = build_index(pool, compressed=options.compressed, seed=0, threads=options.threads)
    built = time.perf_counter() - started
    memory = {"pool": pool.nbytes / 2**30, "index": size(index) / 2**30, "peak": peak(), "before": held}
    result: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    ways: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {}
    exact = Searcher(pool)
    ways["exact"] = lambda: exact.search(queries, k, exact=True)
    if rows <= options.flat_up_to:
        flat = faiss.IndexFlatIP(options.dim)
        for at in range(0, rows, 100_000):
            flat.add(pool[at : at + 100_000].astype(np.float32))
        ways["flat faiss"] = lambda: flat.search(single, k)

    def probed(probes: int) -> tuple[np.ndarray, np.ndarray]:
        return Searcher(pool, index, probes).search(queries, k)

    for probes in options.probes:
        ways[f"index, {probes} probes"] = lambda probes=probes: probed(probes)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.rounds):
        for name in list(ways) if turn % 2 == 0 else reversed(list(ways)):
            started = time.perf_counter()
            result[name] = ways[name]()
            seconds[name].append(time.perf_counter() - started)
    truth = result["exact"][1]
    return {
        "rows": rows,
        "dim": options.dim,
        "lists": index.nlist,
        "kind": "IVF-PQ" if options.compressed else "IVF",
        "build": built,
        "memory": memory,
        "rates": {name: options.queries / median(taken) for name, taken in seconds.items()},
        "recall": {name: recall(truth, rows_found) for name, (_, rows_found) in result.items()},
    }


def recall(truth: np.ndarray, result: np.ndarray) -> float:
    return float(np.mean([np.isin(true, own).mean() for true, own in zip(truth, result, strict=True)]))


def size(index: Any) -> int:
    return int(index.ntotal * (index.code_size + 8) + index.nlist * index.d * 4)


def show(results: list[dict[str, Any]]) -> None:
    print(
        f"{options.dim}-d, {options.components:,} components, {options.queries:,} queries, "
        f"recall@{options.neighbours}, {options.threads} threads"
    )
    print("| pool | way | recall | queries/s | times exact | build s | index GiB | pool GiB | peak GiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for result in results:
        for name, rate in result["rates"].items():
            kind = name.replace("index", f"{result['kind']}, {result['lists']:,} lists")
            memory = result["memory"]
            built = [
                f"{result['build']:.0f}",
                f"{memory['index']:.2f}",
                f"{memory['pool']:.2f}",
                f"{memory['peak']:.2f}",
            ]
            reported = built if name.startswith("index") else [""] * 4
            print(
                f"| {result['rows']:,} | {kind} | {result['recall'][name]:.4f} | {rate:,.0f} | "
                f"{rate / result['rates']['exact']:.1f} | {' | '.join(reported)} |"
            )


def plot(results: list[dict[str, Any]], file: str) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "lvd"
    from matplotlib import pyplot

    rows = [result["rows"] for result in results]
    figure, (speed, cost) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    best = [next(name for name in result["rates"] if name.startswith("index")) for result in results]
    speed.loglog(rows, [r["rates"][name] for r, name in zip(results, best, strict=True)], "o-", label="index")
    for result, name in zip(results, best, strict=True):
        note = f"{result['kind']}, recall {result['recall'][name]:.3f}"
        speed.annotate(
            note, (result["rows"], result["rates"][name]), (0, 6), textcoords="offset points", ha="center", size=7
        )
    speed.loglog(rows, [result["rates"]["exact"] for result in results], "s--", label="exact")
    speed.set(xlabel="images in the pool", ylabel="queries per second")
    cost.loglog(rows, [result["build"] for result in results], "o-", label="build, seconds")
    cost.loglog(rows, [result["memory"]["peak"] for result in results], "s--", label="peak memory, GiB")
    cost.set(xlabel="images in the pool")
    for axis in (speed, cost):
        axis.margins(x=0.2, y=0.15)
        axis.legend(frameon=False)
        axis.grid(alpha=0.3)
    figure.savefig(file, metadata={"Date": None})


def grow() -> list[dict[str, Any]]:
    """Each size in a process of its own, so that the peak is its own."""
    results = []
    for rows in options.growth:
        given = sys.argv[1 : sys.argv.index("--growth")]
        command = [sys.executable, "-m", "tests.bench.bench_retrieval", *given, "--rows", str(rows), "--json"]
        command += ["--compressed"] if rows >= options.codes_from else []
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        results.append(json.loads(answer))
        show(results[-1:])
        sys.stdout.flush()
    return results


if __name__ == "__main__":
    done = grow() if options.growth else [measure(options.rows)]
    if options.json:
        print(json.dumps(done[0]))
    else:
        show(done)
    if options.plot:
        plot(done, options.plot)
