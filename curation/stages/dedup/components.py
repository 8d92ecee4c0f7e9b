"""The paper's rule (Oquab et al. 2023, arXiv 2304.07193, section 3 and appendix A): links are followed to their ends.

Three steps, in this order:

1. equal or nearly equal perceptual hashes: one image of each group is kept;
2. relative dedup: images linked to a reference image, over any number of links, are all dropped;
3. self-dedup: of each component of linked images, one is kept.

The relative step looks at every image that its own copies could stand for, so it comes before self-dedup. The decision
looks at all parts as one graph, so borders between parts do not matter.
"""

from dataclasses import dataclass

import numpy as np

from curation.arrays import Float32Array, Int64Array, UInt8Array
from curation.config import DedupConfig
from curation.drops import DropReason
from curation.search.components import components_of, first_of_each
from curation.search.knn import Rows, similarities_of
from curation.search.links import hash_links
from curation.stages.dedup.edges import Edges

__all__ = ["Verdicts", "decide", "similar"]


@dataclass(frozen=True)
class Verdicts:
    """What became of N images.

    Attributes:
        representative: (N,) the image that stands for each: itself, the one that is kept instead of it, or, from N on,
            the reference that it is a copy of or leads to.
        similarity: (N,) to that image: of vectors, less the offsets of both.
        reason: (N,) why it is dropped, or None.
        hubs: images and references whose links were not used.
    """

    representative: Int64Array
    similarity: Float32Array
    reason: list[DropReason | None]
    hubs: Int64Array


def decide(
    hashes: UInt8Array | None,
    vectors: Rows,
    links: Edges,
    relative: Edges,
    rank: Int64Array,
    settings: DedupConfig,
    radius: int,
    offsets: Float32Array | None = None,
) -> Verdicts:
    """Decide over N images by the links between them.

    Args:
        hashes: (N, bytes) uint8, packed perceptual hashes; None to leave them out.
        vectors: (N + R, D) fp16 or float32, copy descriptors of the images and then of the references, L2-normalised.
        links: between images.
        relative: those that lead to references: between images, and of images and references.
        rank: (N,) which image of a component to keep: the one with the smallest.
        radius: Hamming distance up to which two hashes are one image.
        offsets: (N + R,) float32, what is taken off the similarities of each; by default nothing.
    """
    count = len(rank)
    offsets = np.zeros(len(vectors), np.float32) if offsets is None else offsets
    representative = np.arange(count)
    reason: list[DropReason | None] = [None] * count
    standing = np.arange(len(vectors))
    if hashes is not None:
        standing[:count] = first_of_each(components_of(count, hash_links(hashes, radius)), rank)
        _drop(
            np.flatnonzero(standing[:count] != representative),
            standing,
            DropReason.HASH_DUPLICATE,
            representative,
            reason,
        )

    # What is linked to a dropped image is linked to the one that stands for it.
    if len(vectors) > count:
        leaking, leads_to = _leaks(vectors, offsets, count, standing[relative.pairs])
        live = np.array([reason[row] is None for row in leaking.tolist()], dtype=bool)
        instead = np.arange(count)
        instead[leaking] = leads_to
        _drop(leaking[live], instead, DropReason.REFERENCE_LEAK, representative, reason)

    if settings.self_.enabled:
        live = np.array([why is None for why in reason])
        pairs = standing[links.pairs]
        pairs = pairs[live[pairs].all(axis=1)]
        kept_instead = first_of_each(
            components_of(count, pairs), np.where(live, rank, rank + count).argsort().argsort()
        )
        dropped = np.flatnonzero(live & (kept_instead != np.arange(count)))
        if settings.min_similarity_to_kept is not None:
            dropped = dropped[
                similar(vectors, offsets, dropped, kept_instead[dropped]) >= settings.min_similarity_to_kept
            ]
        _drop(dropped, kept_instead, DropReason.COPY, representative, reason)

    similarity = similar(vectors, offsets, np.arange(count), representative)
    return Verdicts(representative, similarity, reason, np.empty(0, np.int64))


def similar(vectors: Rows, offsets: Float32Array, rows: Int64Array, others: Int64Array) -> Float32Array:
    """Similarities of pairs, (E,), an image's to itself included: that is 1 whatever else it resembles."""
    lowered = np.where(rows == others, np.float32(0), offsets[rows] + offsets[others])
    return np.asarray(similarities_of(vectors, vectors, rows, others) - lowered)


def _leaks(vectors: Rows, offsets: Float32Array, count: int, pairs: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Images in a component that holds a reference, and for each the reference in it that it resembles most."""
    components = components_of(len(vectors), pairs)
    members = np.argsort(components[count:], kind="stable") + count
    roots = components[members]
    start = np.searchsorted(roots, components[:count], "left")
    stop = np.searchsorted(roots, components[:count], "right")
    leaking = np.flatnonzero(stop > start)
    leads_to = np.empty(len(leaking), dtype=np.int64)
    for at, row in enumerate(leaking.tolist()):
        candidates = members[start[row] : stop[row]]
        similar = vectors[candidates].astype(np.float32) @ vectors[row].astype(np.float32)
        leads_to[at] = candidates[np.argmax(similar - offsets[candidates])]
    return leaking, leads_to


def _drop(
    rows: Int64Array, instead: Int64Array, why: DropReason, representative: Int64Array, reason: list[DropReason | None]
) -> None:
    representative[rows] = instead[rows]
    for row in rows.tolist():
        reason[row] = why
