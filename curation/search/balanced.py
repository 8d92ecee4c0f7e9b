"""Balanced sampling over a hierarchy of clusters (Vo et al. 2024, section 3.3 and algorithm 2).

A number of images is shared out from the top: clusters get equal shares, one that has fewer gives all it has, and what
it leaves goes to the others; so on down the levels.
"""

import numpy as np

from curation.arrays import Float32Array, Int32Array, Int64Array

__all__ = ["balanced", "water_fill"]


def water_fill(sizes: Int64Array, groups: Int64Array, totals: Int64Array, rng: np.random.Generator) -> Int64Array:
    """Share each group's total over its members, as equally as their sizes let it.

    Within a group all get min(size, n) for the largest whole n that the total allows; of those that have more, as many
    as there is a remainder of get one more, chosen at random.

    Args:
        sizes: (K,) what each member has.
        groups: (K,) the group of each member, numbers of `totals`.
        totals: (G,) what each group gives; one that has less gives all.

    Returns:
        (K,) what each member gives, no more than its size; over a group they add up to min(total, what it has).
    """
    count = len(totals)

    def poured(level: Int64Array) -> Int64Array:
        return np.bincount(groups, np.minimum(sizes, level[groups]), count).astype(np.int64)

    most = int(sizes.max(initial=0))
    low, high = np.zeros(count, np.int64), np.minimum(totals, most)
    while (low < high).any():  # bisecting all groups at once: low fits, above high nothing does
        middle = (low + high + 1) // 2
        fits = poured(middle) <= totals
        low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
    shares: Int64Array = np.minimum(sizes, low[groups])
    rest = totals - poured(low)
    more = np.flatnonzero(sizes > low[groups])
    order = more[np.lexsort((rng.random(len(more)), groups[more]))]
    shares[order[_ranks(groups[order]) < rest[groups[order]]]] += 1
    return shares


def balanced(
    paths: Int32Array,
    size: int,
    rng: np.random.Generator,
    similarities: Float32Array | None = None,
) -> Int64Array:
    """Choose images so that clusters of every level give equal numbers, as far as they have them.

    Args:
        paths: (N, levels) the clusters of each image, from the top level to the lowest.
        size: how many to choose; all, where there are fewer.
        similarities: (N,) to the lowest cluster's centroid. With them its nearest images are chosen, the first of equal
            ones; without, images at random.

    Returns:
        (min(size, N),) positions, in order.
    """
    above, shares = np.zeros(1, np.int64), np.array([size])
    over = np.zeros(len(paths), np.int64)
    for clusters in paths.T.astype(np.int64):
        result, first, sizes = np.unique(clusters, return_index=True, return_counts=True)
        shares = water_fill(sizes, np.searchsorted(above, over[first]), shares, rng)
        above, over = result, clusters
    lowest = np.searchsorted(above, over)
    order = np.lexsort((rng.random(len(paths)) if similarities is None else -similarities, lowest))
    return np.sort(order[_ranks(lowest[order]) < shares[lowest[order]]])


def _ranks(groups: Int64Array) -> Int64Array:
    """Of members sorted by group, the place of each in its group."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    return np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))
