"""Which image is kept, and for which each other is dropped: every one for an image that it is itself a copy of.

Links are not followed further: an image that is a copy of a copy, and not to be recognised in the image that is kept,
is kept too. An image that is linked to many which are no copies of each other shows something that they have in common,
a frame, a logo, a blank page: a *hub*, and no link of it counts.
"""

from dataclasses import dataclass

import numpy as np

from curation.arrays import Int64Array
from curation.stages.dedup.edges import Edges
from curation.stages.dedup.originals import keep_order_by

__all__ = ["CROWD", "Stars", "keep_first", "stars_of"]

CROWD = 4
"""Images that one stands for, from which on it may be a hub."""
FEWEST_LOOKS = 3
"""Pairs among them that were looked at, for it to be one."""
IN_COMMON = 0.25
"""Share of these that are links, below which it is one."""
MOST_ROUNDS = 8


@dataclass(frozen=True)
class Stars:
    """What became of N images and R references after them.

    Attributes:
        representative: (N,) the image or reference that each is dropped for; itself where it is kept.
        hubs: positions of images and references whose links do not count, in order.
    """

    representative: Int64Array
    hubs: Int64Array


def stars_of(looked: Edges, linked: Edges, sizes: Int64Array, rank: Int64Array, *, self_dedup: bool = True) -> Stars:
    """Decide over N images.

    Args:
        looked: all pairs that were looked at, between images and of references (first, from N on) and images.
        linked: those of them that are links.
        sizes: (N, 2) width and height in pixels.
        self_dedup: whether images are dropped for images too, or for references alone.
        rank: (N,) which to keep where evidence says nothing else: the one with the smallest.
    """
    count, hubs = len(rank), np.empty(0, np.int64)
    for _ in range(MOST_ROUNDS):
        used = linked.chosen(np.asarray(~np.isin(linked.pairs, hubs).any(axis=1)))
        representative = _leaks(count, used)
        kept = representative == np.arange(count)
        own = used.between_images(count)
        own = own.chosen(np.asarray(kept[own.pairs].all(axis=1)) & self_dedup)
        found = keep_first(count, own.pairs, keep_order_by(own, sizes, rank))
        representative = np.where(kept, found, representative)
        more = _hubs(representative, looked, linked)
        if not len(more):
            break
        hubs = np.union1d(hubs, more)
    return Stars(representative, hubs)


def keep_first(count: int, pairs: Int64Array, place: Int64Array) -> Int64Array:
    """(N,) for each image the one that is kept for it: images are kept in the order of `place`, each unless it is
    linked to one that was kept before; it is dropped for the first of these.

    Args:
        pairs: (E, 2) links.
    """
    last = np.iinfo(np.int64).max
    ends = np.concatenate([pairs, pairs[:, ::-1]]) if len(pairs) else np.empty((0, 2), np.int64)
    kept, undecided, left = np.ones(count, bool), np.ones(count, bool), ends
    while len(left):
        earliest = np.full(count, last)
        np.minimum.at(earliest, left[:, 0], place[left[:, 1]])
        keeps = undecided & (place < earliest)
        gone = np.zeros(count, bool)
        gone[left[keeps[left[:, 1]], 0]] = True
        kept &= ~gone
        undecided &= ~(keeps | gone)
        left = left[undecided[left].all(axis=1)]
    ends = ends[~kept[ends[:, 0]] & kept[ends[:, 1]]]
    first = np.full(count, last)
    np.minimum.at(first, ends[:, 0], place[ends[:, 1]])
    return np.where(kept, np.arange(count), np.argsort(place)[np.where(kept, 0, first)])


def _leaks(count: int, linked: Edges) -> Int64Array:
    """(N,) the reference that each image is a copy of, the likeliest; itself where it is none's."""
    representative = np.arange(count)
    edges = linked.chosen(linked.pairs[:, 0] >= count)
    certainty = np.nan_to_num(edges.probability, nan=1.0)  # equal bytes were not looked at
    order = np.lexsort((-edges.pairs[:, 0], certainty))
    representative[edges.pairs[order, 1]] = edges.pairs[order, 0]  # written last, and so kept: the likeliest
    return representative


def _hubs(representative: Int64Array, looked: Edges, linked: Edges) -> Int64Array:
    """Those that stand for a crowd of images which are no copies of each other."""
    count = len(representative)
    stands, crowd = np.unique(representative[representative != np.arange(count)], return_counts=True)
    stands = stands[crowd >= CROWD]
    if not len(stands):
        return stands
    seen, agree = (_among(edges, representative, stands) for edges in (looked, linked))
    return np.asarray(stands[(seen >= FEWEST_LOOKS) & (agree < IN_COMMON * seen)], dtype=np.int64)


def _among(edges: Edges, representative: Int64Array, stands: Int64Array) -> Int64Array:
    """For each image or reference how many pairs there are of two images that it stands for."""
    pairs = np.unique(np.sort(edges.between_images(len(representative)).pairs, axis=1), axis=0)
    one, other = representative[pairs].T
    same = one[(one == other) & (one != pairs[:, 0]) & (one != pairs[:, 1])]
    at = np.minimum(np.searchsorted(stands, same), len(stands) - 1)
    return np.bincount(at[stands[at] == same], minlength=len(stands))
