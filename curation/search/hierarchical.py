"""Hierarchical k-means with resampling (Vo et al. 2024, section 3.2 and algorithm 1), over a worker group.

k-means puts centroids where rows are dense. Run again on the few rows that are nearest to each centroid, it sees a set
that is spread more evenly, and its centroids follow; after some rounds they lie nearly uniformly over what there is.
A level above clusters the centroids of the one below, in the same way.

Like all of `kmeans` the result is the same to the bit for any number of members.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from curation.arrays import Float16Array, Float32Array, Float64Array, Int32Array, Int64Array
from curation.search.kmeans import Progress, fit, kmeans, unit
from curation.search.partition import BLOCK, Change, KMeansPartition
from curation.search.worker_group import LocalGroup, WorkerGroup

__all__ = ["Growth", "Nearest", "Points", "Rounds", "grow", "parents", "resample"]


@dataclass(frozen=True)
class Rounds:
    """How each level is made.

    Attributes:
        count: times that rows are resampled and clustered again (the paper's m).
        nearest: rows of each cluster that are taken (the paper's r); None for half of a cluster's rows on average.
        iterations, growing: of each k-means, as `fit` takes them.
    """

    count: int = 10
    nearest: int | None = None
    iterations: int = 20
    growing: bool = True


@dataclass(frozen=True)
class Growth:
    """How far a hierarchy has got.

    Attributes:
        centroids: of each level that is begun, from the lowest: (K, D) float32, L2-normalised.
        resampled: rounds that are done of the last of these.
    """

    centroids: tuple[Float32Array, ...]
    resampled: int = 0


class Nearest(NamedTuple):
    """Rows that are nearest to the centroid of their cluster: numbers among all rows, cluster, and similarity."""

    numbers: Int64Array
    clusters: Int32Array
    similarities: Float64Array


class Points:
    """A member that holds rows, and the few of them that k-means is run on again.

    Args:
        rows: (N, D) fp16, as `KMeansPartition` takes them.
        sizes: rows of each part that these are; by default they are one part.
        first: the number of the first of them among the rows of all members.
    """

    def __init__(self, rows: Float16Array, sizes: list[int] | None = None, first: int = 0) -> None:
        self._rows = rows
        self._sizes = [len(rows)] if sizes is None else sizes
        self._first = first

    def setup(self, threads: int) -> None:
        self._threads = threads
        self._share = KMeansPartition(self._rows, self._sizes, threads=threads)

    def update(self, centroids: Float32Array, every: int) -> Change:
        return self._share.update(centroids, every)

    def nearest(self, centroids: Float32Array, most: int) -> Nearest:
        """Of each cluster's rows here, at most so many that are nearest to its centroid."""
        self._share.update(centroids)
        clusters = self._share.clusters
        similarities = np.empty(len(clusters))
        doubled = centroids.astype(np.float64)
        for start in range(0, len(clusters), BLOCK):  # what the share holds are bounds
            block = slice(start, start + BLOCK)
            rows = self._rows[block].astype(np.float64)
            similarities[block] = np.round(np.einsum("nd,nd->n", rows, doubled[clusters[block]]), 12)
        return _first_of_each(Nearest(self._first + np.arange(len(clusters)), clusters, similarities), most)

    def take(self, numbers: Int64Array) -> Float16Array:
        """Rows by their number among all rows, in order, as far as they are here."""
        return self._rows[self._here(numbers)]

    def narrow(self, numbers: Int64Array) -> None:
        """Hold some of the rows, by their sorted numbers among all rows, for `update_narrowed`."""
        here = self._here(numbers)
        edges = np.cumsum([0, *self._sizes])
        sizes = np.diff(np.searchsorted(here, edges)).tolist()
        self._narrowed = KMeansPartition(self._rows[here], sizes, threads=self._threads)

    def update_narrowed(self, centroids: Float32Array, every: int) -> Change:
        if len(self._narrowed):
            return self._narrowed.update(centroids, every)
        return Change(np.zeros(centroids.shape), np.zeros(len(centroids), np.int64), 0, 0)

    def _here(self, numbers: Int64Array) -> Int64Array:
        low, high = np.searchsorted(numbers, [self._first, self._first + len(self._rows)])
        return numbers[low:high] - self._first


class _Narrowed:
    """A worker group of which `fit` sees the narrowed rows."""

    def __init__(self, group: WorkerGroup) -> None:
        self._group = group

    def call(self, method: str, *arguments: Any) -> list[Any]:
        return self._group.call(f"{method}_narrowed", *arguments)

    def total(self, method: str, *arguments: Any) -> Any:
        return self._group.total(f"{method}_narrowed", *arguments)


def _first_of_each(rows: Nearest, most: int) -> Nearest:
    """The most similar rows of each cluster, of equal ones those with the smaller numbers; in the order of numbers."""
    order = np.lexsort((rows.numbers, -rows.similarities, rows.clusters))
    sorted_ = rows.clusters[order]
    starts = np.flatnonzero(np.diff(sorted_, prepend=-1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    chosen = np.sort(order[rank < most])
    return Nearest(rows.numbers[chosen], rows.clusters[chosen], rows.similarities[chosen])


def resample(
    group: WorkerGroup, rows: int, centroids: Float32Array, rounds: Rounds, rng: np.random.Generator
) -> Float32Array:
    """One round: new centroids from the rows nearest to each of the old ones.

    Args:
        group: workers with the methods of `Points`, over so many rows in all.
        centroids: (K, D) float32, L2-normalised.

    Returns:
        As many centroids; the old ones where fewer rows than that were found, so that there is nothing to gain.
    """
    count = len(centroids)
    most = rounds.nearest or max(1, rows // (2 * count))
    answers = group.call("nearest", centroids, most)
    result = _first_of_each(Nearest(*map(np.concatenate, zip(*answers, strict=True))), most)
    if len(result.numbers) < count:
        return centroids
    group.call("narrow", result.numbers)
    first = result.numbers[np.sort(rng.choice(len(result.numbers), count, replace=False))]
    start = np.concatenate(group.call("take", first)).astype(np.float64)
    begun = Progress(unit(start, otherwise=start.astype(np.float32)))
    done = fit(_Narrowed(group), len(result.numbers), begun, rounds.iterations, growing=rounds.growing)
    return done.centroids


def grow(
    group: WorkerGroup,
    rows: int,
    growth: Growth,
    counts: tuple[int, ...],
    rounds: Rounds,
    rng_for: Callable[[int, int], np.random.Generator],
    *,
    threads: int = 1,
    save: Callable[[Growth], None] | None = None,
) -> Growth:
    """Make what is left of a hierarchy.

    Args:
        group: workers with the methods of `Points`, over so many rows in all: what the lowest level is made of.
        growth: with the centroids of k-means over all these rows, or what was saved.
        counts: clusters of each level, from the lowest, each fewer than before.
        rng_for: the randomness of a level and a round of it, both counted from 1; round 0 is the first k-means.
        save: called whenever there is something new.
    """

    def put_by(growth: Growth) -> Growth:
        logging.getLogger(__name__).info("level %d: %d rounds", len(growth.centroids), growth.resampled)
        if save is not None:
            save(growth)
        return growth

    while True:
        level = len(growth.centroids)
        assert len(growth.centroids[-1]) == counts[level - 1], f"level {level}: not {counts[level - 1]} clusters"
        if growth.resampled < rounds.count and level > 1:
            below = growth.centroids[-2].astype(np.float16)
            group, rows = LocalGroup([Points(below)], threads), len(below)
        while growth.resampled < rounds.count:
            number = growth.resampled + 1
            centroids = resample(group, rows, growth.centroids[-1], rounds, rng_for(level, number))
            growth = put_by(Growth((*growth.centroids[:-1], centroids), number))
        if level == len(counts):
            return growth
        first = kmeans(
            growth.centroids[-1],
            counts[level],
            rounds.iterations,
            rng_for(level + 1, 0),
            threads=threads,
            growing=rounds.growing,
        )
        growth = put_by(Growth((*growth.centroids, first.centroids)))


def parents(growth: Growth) -> list[Int32Array]:
    """For each level but the top: the cluster of the level above that each of its clusters is in."""
    result = []
    for lower, upper in zip(growth.centroids[:-1], growth.centroids[1:], strict=True):
        share = KMeansPartition(lower.astype(np.float16), bounds=False)
        share.update(upper)
        result.append(share.clusters)
    return result
