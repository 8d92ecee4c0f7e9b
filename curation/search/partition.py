"""The rows that one worker of a group holds, and its part of each k-means iteration.

Two properties make the result the same to the bit for any number of members, threads and restarts:

- **Sums are exact.** Rows are fp16 of magnitude at most 1: multiples of 2^-24. A float64 holds the sum of 2^29 of
  them without rounding, so the order in which rows, threads and members are added does not matter, and a row that
  changes its cluster is taken off one sum and put on another without a trace.
- **Near ties are settled in float64.** Which of two centroids is nearer can depend, in the last bits of float32, on the
  shape of the matrix product; where it is that close, the row is looked at again.

Work that cannot change anything is left out, with bounds in the manner of Hamerly (2010). For each row an upper bound
is kept of its similarity to all centroids but its own; a similarity to a unit row changes by no more than the centroid
moved. Centroids are sorted by how far they moved, so that what a row has to be multiplied with is the first few.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy import sparse
from threadpoolctl import ThreadpoolController

from curation.arrays import Float16Array, Float32Array, Float64Array, Int32Array, Int64Array

__all__ = ["BLOCK", "Change", "KMeansPartition", "single", "torch_threads"]

BLOCK = 1024
"""Rows multiplied at once: their scores against 1,024 centroids are 4 MB, which stay in cache until they are read."""
WIDTHS = (16, 32, 64, 128, 256, 512)
"""Numbers of centroids that rows are multiplied with, other than all: rows are sorted into these."""
NEAR = np.float32(1e-5)
"""Similarities closer than this are compared in float64: 20 times the usual float32 error at 1,280 dimensions."""
SLACK = np.float32(1e-6)
"""Added to a bound each time that it is raised, for the rounding of the addition and of the distance moved."""


@dataclass(frozen=True, slots=True)
class Change:
    """What an iteration changed in a share; changes add up, in any order, to that of all rows.

    Attributes:
        sums: (K, D) float64, exact: rows that came to each cluster, less those that left it.
        counts: (K,) likewise.
        moved: rows whose cluster is another than before.
        multiplied: pairs of row and centroid that were multiplied out.
    """

    sums: Float64Array
    counts: Int64Array
    moved: int
    multiplied: int

    def __add__(self, other: "Change") -> "Change":
        return Change(
            self.sums + other.sums,
            self.counts + other.counts,
            self.moved + other.moved,
            self.multiplied + other.multiplied,
        )


def single(rows: Float16Array) -> Float32Array:
    """fp16 rows as float32; through torch, which is five times as fast at it as NumPy."""
    import torch

    return np.asarray(torch.from_numpy(rows).float().numpy())


class KMeansPartition:
    """Rows in memory once, in fp16, and what is known of each row.

    Args:
        rows: (N, D) fp16, finite, of Euclidean norm 1 as far as fp16 can hold it, or less.
        sizes: rows of each part that these are, in order; by default they are one part.
        threads: blocks in work at once, each on one core.
        bounds: whether to leave out what cannot change anything; the result is the same.
    """

    def __init__(
        self, rows: Float16Array, sizes: Sequence[int] | None = None, *, threads: int = 1, bounds: bool = True
    ) -> None:
        assert rows.dtype == np.float16
        sizes = [len(rows)] if sizes is None else sizes
        assert sum(sizes) == len(rows), f"parts of {sum(sizes)} rows, {len(rows)} given"
        self._blocks = list(_blocks(sizes))
        self._rows = rows
        self._threads = threads
        self._bounds = bounds
        self._centroids: Float32Array | None = None
        self.clusters = np.full(len(rows), -1, dtype=np.int32)
        self.similarities = np.full(len(rows), -np.inf, dtype=np.float32)
        self._limits = np.full(len(rows), np.inf, dtype=np.float32)

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, numbers: Int64Array) -> Float16Array:
        """Rows by their number in the share."""
        return self._rows[numbers]

    def update(self, centroids: Float32Array, one_in: int = 1) -> Change:
        """Assign rows to their nearest centroid, the first of equal ones.

        Args:
            centroids: (K, D) float32, L2-normalised, K the same at each call.
            one_in: of the blocks of each part, only every so many-th is looked at, from the first on. From call to
                call it may become one of its divisors, and nothing else.
        """
        moves = _Moves.between(self._centroids, centroids)
        self._centroids = centroids
        blocks = [block for number, block in self._blocks if number % one_in == 0]
        lanes = min(self._threads, max(1, len(blocks)))
        with _one_blas_thread(), torch_threads(1), ThreadPoolExecutor(lanes) as pool:
            changes = list(pool.map(lambda lane: self._lane(blocks[lane::lanes], moves), range(lanes)))
        return sum(changes[1:], changes[0])

    def _lane(self, blocks: Sequence[slice], moves: "_Moves") -> Change:
        """What one thread does: some blocks, one after the other, in memory that it has once."""
        scores = np.empty((BLOCK, len(moves.order)), np.float32)
        sums = _Sums(moves.sorted.shape)
        for block in blocks:
            before = self.clusters[block].copy()
            self._update_block(block, moves, scores, sums)
            changed = np.flatnonzero(self.clusters[block] != before)
            if len(changed):
                numbers = block.start + changed
                sums.move(self._rows[numbers], before[changed], self.clusters[numbers])
        return Change(sums.sums, sums.counts, sums.moved, sums.multiplied)

    def _update_block(self, block: slice, moves: "_Moves", scores: Float32Array, sums: "_Sums") -> None:
        if not self._bounds:
            self._limits[block] = np.inf
        clusters = self.clusters[block]
        known = clusters >= 0
        lowest = np.where(known, self.similarities[block] - moves.drift[clusters] - SLACK, -np.inf)
        open_ = np.flatnonzero(self._limits[block] + (moves.furthest[0] + SLACK + NEAR) >= lowest)
        shut = np.ones(len(clusters), dtype=bool)
        shut[open_] = False
        self.similarities[block][shut] = lowest[shut]
        self._limits[block][shut] += moves.furthest[0] + SLACK
        if not len(open_):
            return
        numbers = block.start + open_
        rows = single(self._rows[block] if len(open_) == len(clusters) else self._rows[numbers])
        own = np.full(len(open_), -np.inf, np.float32)
        if known[0]:
            assert self._centroids is not None
            own = np.einsum("nd,nd->n", rows, self._centroids[clusters[open_]])
        needed = moves.further_than(own - self._limits[numbers] - (SLACK + NEAR))
        widths = np.searchsorted(moves.widths, needed)
        for at in np.unique(widths).tolist():
            here = np.flatnonzero(widths == at)
            width = int(moves.widths[at])
            if not width:
                self.similarities[numbers[here]] = own[here]
                self._limits[numbers[here]] += moves.furthest[0] + SLACK
                continue
            few = rows if len(here) == len(rows) else rows[here]
            products = np.matmul(
                few, moves.sorted[:width].T, out=scores.ravel()[: len(here) * width].reshape(-1, width)
            )
            sums.multiplied += products.size
            self._compare(numbers[here], few, own[here], products, moves)

    def _compare(
        self, numbers: Int64Array, rows: Float32Array, own: Float32Array, scores: Float32Array, moves: "_Moves"
    ) -> None:
        """Take the nearest of a row's own centroid and those that moved furthest.

        Args:
            scores: (N, W) similarities to the W centroids that moved furthest; overwritten.
        """
        assert self._centroids is not None
        clusters = self.clusters[numbers]
        every, width = np.arange(len(numbers)), scores.shape[1]
        limits = np.full(len(numbers), -np.inf, np.float32)
        if width < len(moves.order):
            limits = self._limits[numbers] + (moves.furthest[width] + SLACK)
        rank = moves.rank[clusters]
        inside = np.flatnonzero((clusters >= 0) & (rank < width))
        scores[inside, rank[inside]] = -np.inf
        there = scores.argmax(axis=1)
        result = scores[every, there]
        better = np.flatnonzero(result > own)
        scores[better, there[better]] = -np.inf
        second = result.copy()
        second[better] = np.maximum(scores[better].max(axis=1), own[better])
        limits = np.maximum(limits, second)
        clusters[better] = moves.order[there[better]]
        best = np.maximum(own, result)
        close = np.flatnonzero(limits + NEAR >= best)
        if len(close):
            doubles = np.matmul(rows[close].astype(np.float64), moves.doubled().T)
            # Equal centroids need not score equally in a matrix product: rounded, so that the first of them is taken.
            clusters[close] = np.round(doubles, 12).argmax(axis=1)
            picked = np.arange(len(close)), clusters[close]
            best[close] = doubles[picked]
            doubles[picked] = -np.inf
            limits[close] = doubles.max(axis=1) + SLACK
        self.clusters[numbers], self.similarities[numbers], self._limits[numbers] = clusters, best, limits


def _blocks(sizes: Sequence[int]) -> Iterator[tuple[int, slice]]:
    """Blocks of at most `BLOCK` rows, each within a part, with their number in it."""
    first = 0
    for size in sizes:
        for number, start in enumerate(range(0, size, BLOCK)):
            yield number, slice(first + start, first + min(start + BLOCK, size))
        first += size


class _Moves:
    """Centroids, the ones that moved furthest first.

    Attributes:
        sorted: (K, D) the centroids in that order; `order` is their numbers, `rank` the place of each.
        drift: (K,) Euclidean distance that each moved, and `furthest` the same in that order; infinity at first.
        widths: numbers of centroids that rows may be multiplied with.
    """

    def __init__(self, centroids: Float32Array, drift: Float32Array) -> None:
        self.drift = drift
        self.order = np.argsort(-drift, kind="stable").astype(np.int32)
        self.rank = np.empty(len(drift), np.int32)
        self.rank[self.order] = np.arange(len(drift), dtype=np.int32)
        self.sorted = centroids[self.order]
        self.furthest = drift[self.order]
        self.widths = np.array([0, *(width for width in WIDTHS if 2 * width <= len(drift)), len(drift)])
        self._centroids = centroids
        self._doubled: Float64Array | None = None

    @classmethod
    def between(cls, old: Float32Array | None, new: Float32Array) -> "_Moves":
        if old is None:
            return cls(new, np.full(len(new), np.inf, np.float32))
        assert old.shape == new.shape, f"centroids {new.shape}, before {old.shape}"
        return cls(new, np.linalg.norm(new - old, axis=1).astype(np.float32))

    def further_than(self, distances: Float32Array) -> Int64Array:
        """How many centroids moved at least as far."""
        return len(self.order) - np.searchsorted(self.furthest[::-1], distances, side="left")

    def doubled(self) -> Float64Array:
        """The centroids in float64, by their number."""
        if self._doubled is None:
            self._doubled = self._centroids.astype(np.float64)
        return self._doubled


class _Sums:
    """Sums and counts that rows are moved between."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.sums: Float64Array = np.zeros(shape)
        self.counts: Int64Array = np.zeros(shape[0], np.int64)
        self.moved = 0
        self.multiplied = 0

    def move(self, rows: Float16Array, before: Int32Array, after: Int32Array) -> None:
        """Take rows off the clusters that they leave (-1 for none) and add them to those that they come to."""
        old = np.flatnonzero(before >= 0)
        clusters = np.concatenate([after, before[old]])
        numbers = np.concatenate([np.arange(len(rows)), old])
        signs = np.ones(len(clusters))
        signs[len(rows) :] = -1
        touched, place = np.unique(clusters, return_inverse=True)
        matrix = sparse.csr_array((signs, (place, numbers)), shape=(len(touched), len(rows)))
        self.sums[touched] += matrix @ single(rows).astype(np.float64)
        np.add.at(self.counts, clusters, signs.astype(np.int64))
        self.moved += len(rows)


def _one_blas_thread() -> AbstractContextManager[object]:
    """Within it, each of our threads multiplies on its own."""
    return _libraries().limit(limits=1)  # type: ignore[no-any-return]


@cache
def _libraries() -> Any:
    """The numerical libraries that are loaded; looking for them takes longer than a small iteration."""
    import torch  # noqa: F401, so that its own are among them

    return ThreadpoolController()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """So many torch threads inside the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
