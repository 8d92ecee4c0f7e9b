"""Spherical k-means over a worker group: only centroids, sums and counts travel.

The centroids do not depend, to the bit, on how many members there are, nor on whether the work was interrupted: each
iteration is a function of the centroids before it (see `share`).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from curation.arrays import Float16Array, Float32Array, Float64Array
from curation.search.partition import Change, KMeansPartition
from curation.search.seeding import plus_plus
from curation.search.worker_group import LocalGroup, WorkerGroup

__all__ = ["Held", "Progress", "fit", "kmeans", "one_in", "unit"]

SPLIT = 2.0**-7
"""How far the halves of a split cluster are moved apart, as a share of each coordinate."""
LEAST_ROWS = 16
"""Rows of a cluster, on average, below which early iterations are not made on fewer rows."""


@dataclass(frozen=True)
class Progress:
    """Where k-means has got to.

    Attributes:
        centroids: (K, D) float32, L2-normalised, after as many iterations as there are objectives.
        objectives: mean similarity of a row to its centroid, in each iteration, over the rows that it looked at.
        done: whether there are no more iterations to make.
    """

    centroids: Float32Array
    objectives: list[float] = field(default_factory=list)
    done: bool = False


def one_in(iteration: int, iterations: int, rows: int, clusters: int, growing: bool = True) -> int:
    """Of how many blocks of rows one is looked at: 8, then 4, then 2, and in the second half of the iterations all.

    While centroids are far from settled, a fair part of the rows moves them as well as all would.
    """
    if not growing:
        return 1
    at = iteration / iterations
    every = 8 if at < 0.2 else 4 if at < 0.4 else 2 if at < 0.5 else 1
    while every > 1 and rows < LEAST_ROWS * clusters * every:
        every //= 2
    return every


def fit(
    group: WorkerGroup,
    rows: int,
    progress: Progress,
    iterations: int,
    *,
    growing: bool = True,
    save: Callable[[Progress], None] | None = None,
) -> Progress:
    """Make what is left of the iterations.

    Args:
        group: partitions with `update`, as `KMeansPartition` has it, of so many rows in all; new, whatever `progress`
            says.
        progress: first centroids, or what was saved.
        save: called after each iteration.
    """
    total: Change | None = None
    while len(progress.objectives) < iterations and not progress.done:
        number = len(progress.objectives)
        every = one_in(number, iterations, rows, len(progress.centroids), growing)
        change: Change = group.total("update", progress.centroids, every)
        total = change if total is None else total + change
        seen = int(total.counts.sum())
        objective = float(np.einsum("kd,kd->", total.sums, progress.centroids.astype(np.float64))) / seen
        centroids = _means(total, progress.centroids, split=every == 1)
        settled = every == 1 and bool((centroids == progress.centroids).all())
        objectives = [*progress.objectives, objective]
        progress = Progress(centroids, objectives, settled or len(objectives) == iterations)
        logging.getLogger(__name__).info(
            "k-means %d of %d: objective %.6f over %d rows, %d moved, %.1f %% of products made",
            *(number + 1, iterations, objective, seen, change.moved),
            100 * change.multiplied / (seen * len(centroids)),
        )
        if save is not None:
            save(progress)
    return progress


def _means(total: Change, old: Float32Array, *, split: bool) -> Float32Array:
    """The direction of each cluster's sum. A cluster without rows keeps its centroid, or takes half of the largest."""
    centroids = unit(total.sums, otherwise=old)
    if not split:
        return centroids
    counts = total.counts.copy()
    apart = np.where(np.arange(old.shape[1]) % 2, 1 - SPLIT, 1 + SPLIT)
    for empty in np.flatnonzero(counts == 0).tolist():
        largest = int(counts.argmax())
        if counts[largest] < 2:
            break
        centre = centroids[largest].astype(np.float64)
        pair = unit(np.stack([centre * apart, centre * (2 - apart)]), otherwise=centroids[[largest, largest]])
        centroids[largest], centroids[empty] = pair
        counts[empty] = counts[largest] // 2
        counts[largest] -= counts[empty]
    return centroids


def unit(sums: Float64Array, otherwise: Float32Array) -> Float32Array:
    """Rows of Euclidean norm 1 in float32; where a row is 0, what `otherwise` has."""
    norms = np.sqrt(np.einsum("kd,kd->k", sums, sums))[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        rows: Float32Array = np.where(norms > 0, sums / norms, otherwise).astype(np.float32)
    return rows


class Held:
    """A member with rows that are in memory already."""

    def __init__(self, rows: Float16Array, sizes: list[int] | None = None) -> None:
        self._rows = rows
        self._sizes = sizes

    def setup(self, threads: int) -> None:
        self._share = KMeansPartition(self._rows, self._sizes, threads=threads)

    def update(self, centroids: Float32Array, every: int) -> Change:
        return self._share.update(centroids, every)


def kmeans(
    vectors: Float16Array | Float32Array,
    count: int,
    iterations: int,
    rng: np.random.Generator,
    *,
    threads: int = 1,
    growing: bool = True,
    start: str = "random",
) -> Progress:
    """Spherical k-means of rows in memory.

    Args:
        vectors: (N, D), L2-normalised, N >= count, in an order that says nothing of them (or set `growing` to False);
            float32 is rounded to fp16.
        start: `random`, distinct rows, or `k-means++`, rows far from each other.
    """
    assert len(vectors) >= count, f"{count} clusters of {len(vectors)} rows"
    halves = np.ascontiguousarray(vectors, dtype=np.float16)
    if start == "random":
        first = halves[np.sort(rng.choice(len(halves), count, replace=False))].astype(np.float32)
    else:
        first = plus_plus(halves, count, rng)
    first = unit(first.astype(np.float64), otherwise=first)
    return fit(LocalGroup([Held(halves)], threads), len(halves), Progress(first), iterations, growing=growing)
