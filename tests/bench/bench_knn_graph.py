"""The kNN graph of a large pool, by its inverted file and by exact search: time, recall and memory.

    python -m tests.bench.bench_knn_graph [--images 1000000] [--probes 32 64 128] [--blocks 4] [--compressed]
    python -m tests.bench.bench_knn_graph --partitions 1 4 [--exact] ...

Vectors are made: a mixture of uneven clusters, and for three in ten images copies at cosine similarities of 0.5 to
0.99, each as likely. The index is built once, and that is part of its time. Blocks of 2,048 random images are then
searched exactly and with the index, in turn, and the medians are multiplied to the whole: an extrapolation. One thread.

A link of the graph is found when either of its images lists the other, as dedup joins them; its recall is told for
links above `--threshold`, beside that of each image's own list.

With `--partitions`, the stage itself searches a pool that is cut into so many, for `--blocks` parts of 10,000 images:
what a worker holds at its peak while it builds and while it searches, each in a process of its own, and how long it
takes. Searches of all numbers of partitions are made in turn, forwards and backwards.
"""

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import faiss
import numpy as np
import pyarrow as pa

from curation.config import DedupConfig
from curation.engine.contract import Output, StageSpec, commit_output
from curation.run.parts import Collection
from curation.run.store import Store
from curation.search.knn import Searcher, build_index
from curation.stages.knn.knn import COPY_KNN, KnnWork
from curation.stages.knn.pool_index import PoolIndex
from curation.stages.knn.vectors import VECTOR

BLOCK = 2_048
PART = 10_000
CLUSTERS = 10_000
WITHIN = 0.6
"""Similarity of an image to the centre of its cluster; two images of a cluster have the square of it."""
COPIES = 0.3
EXACT = 0
"""Stands for exact search among numbers of probes."""


def main() -> None:
    defaults = DedupConfig()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--neighbours", type=int, default=defaults.neighbours)
    parser.add_argument("--probes", type=int, nargs="+", default=[defaults.probes])
    parser.add_argument("--threshold", type=float, default=0.6)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--compressed", action="store_true", help="product-quantised codes, ranked again")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--partitions", type=int, nargs="+", help="numbers of partitions to cut the pool into")
    parser.add_argument("--exact", action="store_true", help="with --partitions: no index")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    if options.worker:
        work(options, *options.worker)
        return
    if options.partitions:
        compare_shards(options)
        return
    vectors = made(options.images, options.dim)
    print(
        f"{options.images:,} x {options.dim} fp16, {vectors.nbytes / 2**30:.2f} GiB; k = {options.neighbours}, 1 thread"
    )
    print(f"memory before: {now():.2f} GiB")
    started = time.monotonic()
    index = build_index(vectors, compressed=options.compressed, seed=0)
    build = time.monotonic() - started
    print(f"index: {build:.0f} s, {index.nlist} lists; memory after: {now():.2f} GiB, peak {peak():.2f} GiB")

    graph = Graph(vectors, index, options.neighbours + 1, options.threshold)  # an image finds itself
    rng = np.random.default_rng(1)
    ways = [EXACT, *options.probes]
    for number in range(options.blocks):
        graph.measure(np.sort(rng.choice(options.images, BLOCK, replace=False)), ways[:: 1 - 2 * (number % 2)])
    exact = graph.seconds(EXACT)
    print(f"exact: {exact:,.0f} s, from {options.blocks} blocks of {BLOCK:,}; {graph.links} links looked for")
    for probes in options.probes:
        search = graph.seconds(probes)
        print(
            f"{probes:>4} probes: {build:.0f} + {search:,.0f} s, {exact / (build + search):.1f} times as fast; recall "
            f"of links {graph.result[probes] / graph.links:.4f}, of each list {graph.listed[probes] / graph.links:.4f}"
        )
    print(f"peak memory: {peak():.2f} GiB")


class Graph:
    """Searches blocks of images in several ways, and counts what each finds."""

    def __init__(self, vectors: np.ndarray, index: faiss.Index, k: int, threshold: float) -> None:
        self._vectors = vectors
        self._index = index
        self._k = k
        self._threshold = threshold
        self._times: dict[int, list[float]] = {}
        self.links = 0
        self.listed: dict[int, int] = {}
        self.result: dict[int, int] = {}

    def seconds(self, way: int) -> float:
        """Of the whole graph."""
        return statistics.median(self._times[way]) * len(self._vectors) / BLOCK

    def measure(self, rows: np.ndarray, ways: list[int]) -> None:
        lists = {}
        for way in ways:
            started = time.monotonic()
            lists[way] = self._search(rows, way)
            self._times.setdefault(way, []).append(time.monotonic() - started)
        similar, others = lists.pop(EXACT)
        at, column = np.nonzero((similar > self._threshold) & (others != rows[:, None]))
        others = others[at, column]
        self.links += len(others)
        for way, (_, got) in lists.items():
            listed = (got[at] == others[:, None]).any(axis=1)
            back = self._search(others[~listed], way)[1]
            result = (back == rows[at[~listed]][:, None]).any(axis=1)
            self.listed[way] = self.listed.get(way, 0) + int(listed.sum())
            self.result[way] = self.result.get(way, 0) + int(listed.sum() + result.sum())

    def _search(self, rows: np.ndarray, way: int) -> tuple[np.ndarray, np.ndarray]:
        return Searcher(self._vectors, self._index, way or 1).search(self._vectors[rows], self._k, exact=way == EXACT)


def compare_shards(options: argparse.Namespace) -> None:
    """A table: memory of a worker, and time, by the number of partitions."""
    with tempfile.TemporaryDirectory() as folder:
        vectors = made(options.images, options.dim)
        for part in range(-(-len(vectors) // PART)):
            store_part(Collection(Store(folder), "pool"), part, vectors[part * PART : (part + 1) * PART])
        size = vectors.nbytes / 2**30
        del vectors
        built = {number: ask("build", folder, number) for number in options.partitions}
        turns = [*options.partitions, *reversed(options.partitions)]
        result: dict[int, list[dict[str, float]]] = {number: [] for number in options.partitions}
        for number in turns:
            result[number].append(ask("search", folder, number))
    how = "exact" if options.exact else f"{options.probes[0]} probes" + (", codes" if options.compressed else "")
    print(f"{options.images:,} x {options.dim} fp16, {size:.2f} GiB; k = {options.neighbours}, {how}, 1 thread")
    print("| partitions | build s | peak GiB | search of all, s | ratio | peak GiB | before, GiB | recall |")
    print("|---|---|---|---|---|---|---|---|")
    one = statistics.median(each["seconds"] for each in result[options.partitions[0]])
    for number in options.partitions:
        seconds = statistics.median(each["seconds"] for each in result[number])
        worst = max(each["peak"] for each in result[number])
        print(
            f"| {number} | {built[number]['seconds']:.1f} | {built[number]['peak']:.2f} | {seconds:,.0f} | "
            f"{seconds / one:.2f} | {worst:.2f} | {result[number][0]['before']:.2f} | "
            f"{result[number][0]['recall']:.4f} |"
        )


def ask(what: str, folder: str, partitions: int) -> dict[str, float]:
    """Have a process of its own do it."""
    command = [
        sys.executable,
        "-m",
        "tests.bench.bench_knn_graph",
        *sys.argv[1:],
        "--worker",
        what,
        folder,
        str(partitions),
    ]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def work(options: argparse.Namespace, what: str, folder: str, partitions: str) -> None:
    """In that process: build all indexes of the pool, or search for some of its parts in all partitions."""
    settings = DedupConfig(
        neighbours=options.neighbours,
        probes=options.probes[0],
        exact_up_to=options.images if options.exact else 0,
        compressed_from=0 if options.compressed else options.images + 1,
        partition=math.ceil(options.images / PART / int(partitions)) * PART,
    )
    before = peak()
    pool = Collection(Store(folder), "pool")
    index = PoolIndex(pool, "copy_descriptors", settings, 0, folder=f"artifacts/{partitions}")
    assert len(index.partitions) == int(partitions), (
        f"{options.images} images are no {partitions} partitions of whole parts"
    )
    near = KnnWork(COPY_KNN, pool, index, after="copy_descriptors", neighbours=options.neighbours)
    parts = pool.parts("copy_descriptors")[: options.blocks]
    for part in parts:
        pool.remove(COPY_KNN.name, part)
    started = time.monotonic()
    if what == "build":
        if not index.is_current():
            index.run()
        seconds, recall = time.monotonic() - started, math.nan
    else:
        for some in [*near.passes(), [near]]:
            for each in some:
                each.setup()
                for part in parts:
                    each.run(part)
        seconds = (time.monotonic() - started) * len(pool.parts("copy_descriptors")) / len(parts)
        reported = [
            pool.read(COPY_KNN.name, part, ["neighbour_recall"])["neighbour_recall"].to_pylist() for part in parts
        ]
        values = [value for each in reported for value in each if value is not None]
        recall = statistics.mean(values) if values else 1.0
    print(json.dumps({"seconds": seconds, "peak": peak(), "before": before, "recall": recall}))


def store_part(pool: Collection, part: int, vectors: np.ndarray) -> None:
    kind = pa.list_(pa.float16(), vectors.shape[1])
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    spec = StageSpec("copy_descriptors", 1, None, {}, pa.schema([(VECTOR, kind)]), {})
    commit_output(spec, pool, part, np.ones(len(vectors), bool), Output({VECTOR: column}), digest=f"made {part}")


def made(count: int, dim: int) -> np.ndarray:
    """(count, dim) float16, L2-normalised, as a run holds them."""
    rng = np.random.default_rng(0)
    centres = directions(rng, CLUSTERS, dim)
    sizes = 1 / np.arange(1, CLUSTERS + 1) ** 0.5
    originals = count - int(COPIES * count)
    vectors = np.empty((count, dim), np.float32)
    for at in range(0, originals, 65_536):
        block = vectors[at : min(at + 65_536, originals)]
        member = rng.choice(CLUSTERS, len(block), p=sizes / sizes.sum())
        block[:] = moved(rng, centres[member], np.full(len(block), WITHIN, np.float32))
    for at in range(originals, count, 65_536):
        block = vectors[at : at + 65_536]
        block[:] = moved(rng, vectors[rng.integers(0, originals, len(block))], rng.uniform(0.5, 0.99, len(block)))
    return vectors.astype(np.float16)[rng.permutation(count)]


def moved(rng: np.random.Generator, rows: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """Vectors at about the given similarities to rows, in random directions from them."""
    side = directions(rng, *rows.shape)
    side -= np.einsum("nd,nd->n", side, rows)[:, None] * rows
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    near = np.asarray(similarity, np.float32)[:, None]
    return near * rows + np.sqrt(1 - near**2) * side


def directions(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    result = rng.standard_normal((count, dim), dtype=np.float32)
    return result / np.linalg.norm(result, axis=1, keepdims=True)


def now() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**30


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
