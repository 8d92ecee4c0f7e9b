"""The kNN graph of a large pool, by its inverted file and by exact search: time, recall and memory.

    python -m tests.bench.bench_knn_graph [--images 1000000] [--probes 32 64 128] [--blocks 4] [--compressed]

Vectors are made: a mixture of uneven clusters, and for three in ten images copies at cosine similarities of 0.5 to
0.99, each as likely. The index is built once, and that is part of its time. Blocks of 2,048 random images are then
searched exactly and with the index, in turn, and the medians are multiplied to the whole: an extrapolation. One thread.

A link of the graph is found when either of its images lists the other, as dedup joins them; its recall is told for
links above `--threshold`, beside that of each image's own list.
"""

import argparse
import resource
import statistics
import time

import faiss
import numpy as np

from curation.config import DedupConfig
from curation.stages.index import Searcher, build_index

BLOCK = 2_048
DIM = 256
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
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    vectors = made(options.images)
    print(f"{options.images:,} x {DIM} fp16, {vectors.nbytes / 2**30:.2f} GiB; k = {options.neighbours}, 1 thread")
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
            f"of links {graph.found[probes] / graph.links:.4f}, of each list {graph.listed[probes] / graph.links:.4f}"
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
        self.found: dict[int, int] = {}

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
            found = (back == rows[at[~listed]][:, None]).any(axis=1)
            self.listed[way] = self.listed.get(way, 0) + int(listed.sum())
            self.found[way] = self.found.get(way, 0) + int(listed.sum() + found.sum())

    def _search(self, rows: np.ndarray, way: int) -> tuple[np.ndarray, np.ndarray]:
        return Searcher(self._vectors, self._index, way or 1).search(self._vectors[rows], self._k, exact=way == EXACT)


def made(count: int) -> np.ndarray:
    """(count, 256) float16, L2-normalised, as a run holds them."""
    rng = np.random.default_rng(0)
    centres = directions(rng, CLUSTERS)
    sizes = 1 / np.arange(1, CLUSTERS + 1) ** 0.5
    originals = count - int(COPIES * count)
    vectors = np.empty((count, DIM), np.float32)
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
    side = directions(rng, len(rows))
    side -= np.einsum("nd,nd->n", side, rows)[:, None] * rows
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    near = np.asarray(similarity, np.float32)[:, None]
    return near * rows + np.sqrt(1 - near**2) * side


def directions(rng: np.random.Generator, count: int) -> np.ndarray:
    found = rng.standard_normal((count, DIM), dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def now() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**30


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
