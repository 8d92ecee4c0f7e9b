"""Which image of a group the others were made from: the one that is least changed against all others.

Evidence says of two images which is likelier the original (cut from, laid over, blurred); of a mirrored, stretched or
turned image against one that is not, it cannot say. But of a group the original is mirrored, stretched or turned only
against those that were, and each of these against all others. So both count: who is likelier the original of a pair,
and how close an image is to the others.
"""

import numpy as np

from curation.arrays import Float64Array, Int64Array
from curation.stages.dedup.edges import Edges

__all__ = ["closeness_of", "keep_order_by"]

MIRRORED = 2.0
STRETCHED = 3.0
TURNED = 2.0
"""What a mirrored image is further away, one that is stretched e-fold, and one that is turned by a radian."""
CLOSE = 1.0
"""Weight of closeness beside the probability of being the original."""


def keep_order_by(linked: Edges, sizes: Int64Array, rank: Int64Array) -> Int64Array:
    """(N,) places in the order in which images are kept: first those that others were most likely made from, by all the
    pairs that they are in; then by rank.

    Args:
        linked: links between the N images.
        sizes: (N, 2) width and height in pixels.
        rank: (N,) which to keep where evidence says nothing: the one with the smallest.
    """
    score: Float64Array = np.zeros(len(rank))
    balance = linked.original.astype(np.float64) - 0.5
    close = CLOSE * closeness_of(linked, sizes)
    np.add.at(score, linked.pairs[:, 0], close + balance)
    np.add.at(score, linked.pairs[:, 1], close - balance)
    order = np.lexsort((rank, -np.round(score, 3)))
    place = np.empty(len(rank), np.int64)
    place[order] = np.arange(len(rank))
    return place


def closeness_of(edges: Edges, sizes: Int64Array) -> Float64Array:
    """(E,) in [0, 1], how little the one image of a pair is changed against the other; 1 where nobody looked."""
    first, second = (sizes[edges.pairs[:, at]].astype(np.float64) for at in (0, 1))
    linear = edges.transform.reshape(-1, 2, 3)[:, :, :2].astype(np.float64)
    linear = linear * second[:, :, None] / first[:, None, :]  # from shares of the sides to pixels
    looked = edges.looked & (np.abs(np.linalg.det(linear)) > 1e-9)
    linear = np.where(looked[:, None, None], linear, np.eye(2))
    stretch = np.linalg.svd(linear, compute_uv=False)
    turn = np.abs(np.arctan2(linear[:, 1, 0] - linear[:, 0, 1], linear[:, 0, 0] + linear[:, 1, 1]))
    away = MIRRORED * edges.mirrored + STRETCHED * np.log(stretch[:, 0] / stretch[:, 1]) + TURNED * turn
    return np.where(looked, np.clip(edges.agreement, 0, 1) * np.exp(-away), 1.0)
