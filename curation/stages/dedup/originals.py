"""Which image of a group the others were made from.

Three things say of two linked images which is likelier the original, and none of them always:

- the judge of the evidence: cut from, laid over, blurred, in a frame;
- the extent: what shows more of the scene was not cut from what shows less; and a little, which has more pixels;
- all others: what was done to a copy sets it off from the original *and from all other copies*, so of two images of a
  group the one that others are closer to is the original. That tells even of a mirrored or stretched image, of which
  two images alone can never tell.
"""

import numpy as np

from curation.arrays import BoolArray, Float64Array, Int64Array
from curation.stages.dedup.edges import BYTES, Edges

__all__ = ["closeness_of", "keep_order_by"]

JUDGED, EXTENT, OTHERS, PIXELS = 1.0, 0.5, 1.0, 0.25
"""Weights. Of 25 photos of judging classes and 18 edits of each, which were looked at for the first weight, the
original is kept in 24 of 28 groups; with half that weight in 21."""
SURE = 0.03
"""The judge is so sure of a picture in a frame, of which extent says the opposite."""
DIFFERENCE = 0.05
"""Of the logarithm of closeness: about what saving a JPEG again makes."""
LEAST = 0.01
"""Distance below which two images are one."""
FEW_VOICES = 2
"""So many count half: one other image may be the twin of a copy."""
MOST_VOICES = 128
"""Images with more links than so many are not asked: a sum over pairs of them would take too long."""
MIRRORED, STRETCHED, TURNED = 2.0, 3.0, 2.0
"""What a mirrored image is further away, one that is stretched e-fold, and one that is turned by a radian."""


def keep_order_by(linked: Edges, sizes: Int64Array, rank: Int64Array) -> Int64Array:
    """(N,) places in the order in which images are kept: first those that others were most likely made from, by all the
    pairs that they are in; then by rank.

    Args:
        linked: links between the N images.
        sizes: (N, 2) width and height in pixels.
        rank: (N,) which to keep where evidence says nothing: the one with the smallest.
    """
    score: Float64Array = np.zeros(len(rank))
    linked = linked.chosen(linked.kind != BYTES)  # twins would vote for each other
    if len(linked):
        judged = 2 * linked.original.astype(np.float64) - 1
        pixels = np.log(np.maximum(sizes.prod(axis=1), 1))[linked.pairs]
        shown = EXTENT * _extent(linked) + PIXELS * np.tanh(pixels[:, 0] - pixels[:, 1])
        shown = np.where(np.abs(judged) > 1 - 2 * SURE, 0, shown)
        balance = JUDGED * judged + shown + OTHERS * _by_others(linked, closeness_of(linked, sizes))
        np.add.at(score, linked.pairs[:, 0], balance)
        np.add.at(score, linked.pairs[:, 1], -balance)
    order = np.lexsort((rank, -np.round(score, 3)))
    place = np.empty(len(rank), np.int64)
    place[order] = np.arange(len(rank))
    return place


def closeness_of(edges: Edges, sizes: Int64Array) -> Float64Array:
    """(E,) in [0, 1], how little the one image of a pair is changed against the other; 1 where nobody looked."""
    first, second = (sizes[edges.pairs[:, at]].astype(np.float64) for at in (0, 1))
    linear, looked = _linear(edges)
    linear = linear * second[:, :, None] / first[:, None, :]  # from shares of the sides to pixels
    linear = np.where(looked[:, None, None], linear, np.eye(2))
    stretch = np.linalg.svd(linear, compute_uv=False)
    turn = np.abs(np.arctan2(linear[:, 1, 0] - linear[:, 0, 1], linear[:, 0, 0] + linear[:, 1, 1]))
    away = MIRRORED * edges.mirrored + STRETCHED * np.log(stretch[:, 0] / stretch[:, 1]) + TURNED * turn
    return np.where(looked, np.clip(edges.agreement, 0, 1) * np.exp(-away), 1.0)


def _extent(edges: Edges) -> Float64Array:
    """(E,) in [-1, 1], how much more of the scene the first of a pair shows."""
    linear, looked = _linear(edges)
    return np.where(looked, np.tanh(np.log(np.abs(np.linalg.det(linear)))), 0.0)


def _linear(edges: Edges) -> tuple[Float64Array, BoolArray]:
    """(E, 2, 2) the linear part of each transform, and of which there is one; unity elsewhere."""
    linear = edges.transform.reshape(-1, 2, 3)[:, :, :2].astype(np.float64)
    looked = np.asarray(edges.looked & (np.abs(np.linalg.det(linear)) > 1e-9))
    return np.where(looked[:, None, None], linear, np.eye(2)), looked


def _by_others(edges: Edges, closeness: Float64Array) -> Float64Array:
    """(E,) in [-1, 1], how much closer to the first than to the second those images are that are linked to both."""
    from scipy.sparse import coo_array

    nodes, ends = np.unique(edges.pairs, return_inverse=True)
    one, other = ends.reshape(-1, 2).T
    near = -np.log(1 + LEAST - closeness)
    rows, columns = np.concatenate([one, other]), np.concatenate([other, one])
    asked = np.bincount(rows, minlength=len(nodes))[columns] <= MOST_VOICES
    shape = (len(nodes), len(nodes))
    count, total = (
        coo_array((values[asked], (rows[asked], columns[asked])), shape=shape).tocsr()
        for values in (np.ones(len(rows)), np.concatenate([near, near]))
    )  # of a pair that is there twice both are added up, and divided below
    total.data /= count.data
    count.data[:] = 1
    sums, voices = (total @ count.T).tocsr(), (count @ count.T).tocsr()
    difference = np.asarray(sums[one, other] - sums[other, one]).ravel()
    asked_of = np.asarray(voices[one, other]).ravel()
    heard = asked_of / (asked_of + FEW_VOICES)
    return np.asarray(heard * np.tanh(difference / np.maximum(asked_of, 1) / DIFFERENCE), dtype=np.float64)
