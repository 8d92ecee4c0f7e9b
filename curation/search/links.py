"""Links between images: nearest neighbours by cosine similarity, and hashes within a Hamming radius."""

import numpy as np
import numpy.typing as npt

from curation.arrays import Float32Array, Int64Array, UInt8Array

__all__ = ["hash_links", "nearest"]


CROWDED = 64
"""Hashes of a bucket from which on an index searches it."""


def nearest(queries: Float32Array, base: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
    """The k most similar rows of `base` for each query, exactly.

    Args:
        queries: (Q, D) float32, L2-normalised.
        base: (N, D) float32, L2-normalised.

    Returns:
        Similarities in [-1, 1] and row numbers, both (Q, min(k, N)), the most similar first and equal ones in the
        order of their rows.
    """
    k = min(k, len(base))
    import faiss

    similarities, rows = faiss.knn(queries, base, k, metric=faiss.METRIC_INNER_PRODUCT)
    order = np.lexsort((rows, -similarities), axis=1)
    return np.take_along_axis(similarities, order, axis=1), np.take_along_axis(rows, order, axis=1)


def hash_links(hashes: UInt8Array, radius: int) -> Int64Array:
    """Pairs of rows whose hashes differ in at most `radius` bits.

    Equal hashes are linked in a chain to the first row that has them, so a crowd of equal images costs no quadratic
    number of pairs; distinct hashes are searched by multi-index hashing, which looks only into buckets that a hash
    within the radius must share.

    Args:
        hashes: (N, bytes) uint8, packed bits.

    Returns:
        (E, 2) row pairs.
    """
    distinct, first, group = np.unique(hashes, axis=0, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    rows = np.arange(len(hashes))
    repeats = rows != first[group]
    links = [np.stack([first[group][repeats], rows[repeats]], axis=1)]
    if radius > 0 and len(distinct) > 1:
        pairs = _within_radius(np.ascontiguousarray(distinct), radius)
        links.append(first[pairs])
    return np.concatenate(links).astype(np.int64)


def _within_radius(distinct: UInt8Array, radius: int) -> Int64Array:
    """Pairs of distinct hashes within a radius, smaller index first.

    Of `radius + 1` chunks of a hash, one must be equal (pigeonhole), so the buckets of equal chunks hold all pairs.
    """
    bits = distinct.shape[1] * 8
    chunks = np.array_split(np.arange(bits), radius + 1)
    unpacked = np.unpackbits(distinct, axis=1)
    words = np.zeros((len(distinct), -(-distinct.shape[1] // 8) * 8), np.uint8)
    words[:, : distinct.shape[1]] = distinct
    result: list[Int64Array] = []
    for chunk in chunks:
        keys = np.packbits(unpacked[:, chunk], axis=1)
        order = np.lexsort(keys.T[::-1]) if len(chunk) else np.arange(len(distinct))
        bounds = np.flatnonzero((keys[order][1:] != keys[order][:-1]).any(axis=1)) + 1
        starts = np.concatenate([[0], bounds])
        sizes = np.diff(np.concatenate([starts, [len(order)]]))
        result += [
            _pairs_in(distinct, order[start : start + size], radius)
            for start, size in zip(starts, sizes, strict=True)
            if size > CROWDED
        ]
        few = sizes <= CROWDED
        sparse = order[np.repeat(few, sizes)]
        result.append(_pairs_between(words.view(np.uint64), sparse, np.repeat(np.flatnonzero(few), sizes[few]), radius))
    return np.unique(np.concatenate(result), axis=0)


def _pairs_between(words: npt.NDArray[np.uint64], members: Int64Array, bucket: Int64Array, radius: int) -> Int64Array:
    """Pairs within a radius that share a bucket: all buckets at a time, each member with the one so many places on.

    Args:
        members: one bucket after the other.
        bucket: (M,) the bucket of each.
    """
    result = [np.empty((0, 2), np.int64)]
    first = np.arange(len(members))
    for step in range(1, CROWDED):
        first = first[first + step < len(members)]
        first = first[bucket[first] == bucket[first + step]]
        if not len(first):
            break
        one, other = members[first], members[first + step]
        near = np.bitwise_count(words[one] ^ words[other]).sum(axis=1) <= radius
        result.append(np.sort(np.stack([one[near], other[near]], axis=1), axis=1))
    return np.concatenate(result)


def _pairs_in(distinct: UInt8Array, bucket: Int64Array, radius: int) -> Int64Array:
    """Pairs within a radius in one large bucket."""
    import faiss

    index = faiss.IndexBinaryFlat(distinct.shape[1] * 8)
    members = np.ascontiguousarray(distinct[bucket])
    index.add(members)
    limits, _, hits = index.range_search(members, radius + 1)  # faiss's radius is exclusive
    source = np.repeat(np.arange(len(bucket)), np.diff(limits).astype(np.int64))
    pairs = np.stack([bucket[source], bucket[hits]], axis=1)
    return pairs[pairs[:, 0] < pairs[:, 1]]
