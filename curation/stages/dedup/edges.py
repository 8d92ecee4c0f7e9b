"""Links between images, from the files of `copy_knn` and `verify_copies`: which are copies, and how."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array
from curation.config import DedupConfig
from curation.drops import DropReason
from curation.engine.gather import Gathered
from curation.imaging.matching import reversed_transform
from curation.run.parts import Collection
from curation.search.copies import is_linked
from curation.stages.dedup.verify_copies import TRANSFORM

__all__ = ["Edges", "link_columns", "read_edges"]


@dataclass(frozen=True)
class Edges:
    """E links.

    Attributes:
        pairs: (E, 2) positions; of a reference and an image, the reference is first.
        similarity: (E,) cosine similarity.
        inliers: (E,) -1 where nobody looked.
        agreement: (E,) float32.
        mirrored: (E,) bool.
        transform: (E, 6) float32, from the first to the second; see `geometry.Match`.
        kind: what links of this run without a look are called, `sure` or `similar`.
    """

    pairs: Int64Array
    similarity: Float32Array
    inliers: Int32Array
    agreement: Float32Array
    mirrored: BoolArray
    transform: Float32Array
    kind: str = "similar"

    @classmethod
    def similar(cls, pairs: Int64Array, similarity: Float32Array, kind: str = "similar") -> "Edges":
        """Links by similarity alone."""
        count = len(pairs)
        zeros = np.zeros(count, np.float32)
        unseen = np.full(count, -1, np.int32)
        return cls(pairs, similarity, unseen, zeros, zeros > 0, np.zeros((count, 6), np.float32), kind)

    @classmethod
    def joined(cls, parts: "Sequence[Edges]") -> "Edges":
        """All of them, one after the other; at least one."""
        return cls(
            np.concatenate([part.pairs for part in parts]),
            np.concatenate([part.similarity for part in parts]),
            np.concatenate([part.inliers for part in parts]),
            np.concatenate([part.agreement for part in parts]),
            np.concatenate([part.mirrored for part in parts]),
            np.concatenate([part.transform for part in parts]),
            parts[0].kind,
        )

    def __len__(self) -> int:
        return len(self.pairs)

    def chosen(self, which: BoolArray | Int64Array) -> "Edges":
        """Some of them, by mask or number."""
        return Edges(
            self.pairs[which],
            self.similarity[which],
            self.inliers[which],
            self.agreement[which],
            self.mirrored[which],
            self.transform[which],
            self.kind,
        )


def read_edges(
    collection: Collection,
    pool: Gathered,
    references: Gathered | None,
    first: int,
    settings: DedupConfig,
    *,
    relative: bool = False,
    threshold: float | None = None,
) -> Edges:
    """Links of a collection's images to those of the pool.

    Args:
        pool: the pool's live images; positions are those in it.
        references: the collection's own live images where it is a reference set, counted from `first`.
        relative: by the thresholds of relative dedup, where nobody looks at pairs.
        threshold: in place of the one of the settings.
    """
    looked = settings.verify != "off"
    limit = settings.relative.threshold if relative else settings.self_.threshold
    limit = settings.accept_above if looked else limit if threshold is None else threshold
    kind = "sure" if looked else "similar"
    own = pool if references is None else references
    keys = _keys(pool.part, pool.row)
    result = [Edges.similar(np.empty((0, 2), np.int64), np.empty(0, np.float32), kind)]
    for part in sorted(own.masks):
        near = collection.read("copy_knn", part, ["neighbour_part", "neighbour_row", "neighbour_similarity"])
        lengths = np.array([len(items) for items in near["neighbour_row"].to_pylist() if items is not None], np.int64)
        numbers = np.arange(own.of_part(part).start, own.of_part(part).stop)
        source = np.repeat(numbers + (0 if references is None else first), lengths)
        others = _keys(_flat(near["neighbour_part"]), _flat(near["neighbour_row"]))
        similar = _flat(near["neighbour_similarity"]).astype(np.float32)
        columns = score = None
        if looked:
            columns = collection.read("verify_copies", part, ["inliers", "agreement", "score", "mirrored", "transform"])
            score = _flat(columns["score"])
        chosen = is_linked(similar, score, limit, settings)
        target = np.searchsorted(keys, others[chosen])
        edges = Edges.similar(np.stack([source[chosen], target], axis=1), similar[chosen], kind)
        result.append(edges if columns is None else _with_geometry(edges, columns, chosen))
    return Edges.joined(result)


def link_columns(component: Int64Array, edges: Edges, reason: Sequence[DropReason | None]) -> dict[str, pa.Array]:
    """For each image the link to the one that stands for it; `chain` where only others lead there."""
    count = len(component)
    width = int(max(component.max(initial=0), edges.pairs.max(initial=0))) + 1
    keys = np.concatenate(
        [edges.pairs[:, 0] * width + edges.pairs[:, 1], edges.pairs[:, 1] * width + edges.pairs[:, 0]]
    )
    order = np.argsort(keys, kind="stable")
    wanted = component * width + np.arange(count)
    at = np.minimum(np.searchsorted(keys[order], wanted), max(0, len(keys) - 1))
    direct = (keys[order][at] == wanted) if len(keys) else np.zeros(count, bool)
    which = order[at] if len(keys) else np.zeros(count, np.int64)
    row, backwards = which % max(1, len(edges)), which >= len(edges)
    links: list[str | None] = [None] * count
    looked = np.zeros(count, bool)
    transforms: list[list[float] | None] = [None] * count
    for image in np.flatnonzero(component != np.arange(count)).tolist():
        if reason[image] is DropReason.HASH_DUPLICATE:
            links[image] = "hash"
        elif not direct[image]:
            links[image] = "chain"
        else:
            looked[image] = edges.inliers[row[image]] >= 0
            links[image] = "verified" if looked[image] else edges.kind
            if looked[image]:
                forward = edges.transform[row[image]].astype(np.float64)
                mirrored = bool(edges.mirrored[row[image]])
                transforms[image] = (reversed_transform(forward, mirrored) if backwards[image] else forward).tolist()
    pick = row if len(edges) else np.zeros(count, np.int64)
    values = [edges.inliers, edges.agreement, edges.mirrored]
    picked = [value[pick] if len(edges) else np.zeros(count, value.dtype) for value in values]
    types = (pa.int32(), pa.float32(), pa.bool_())
    columns = {
        name: pa.array(value, kind, mask=~looked)
        for name, value, kind in zip(("inliers", "agreement", "mirrored"), picked, types, strict=True)
    }
    return {**columns, "link": pa.array(links, pa.string()), "transform": pa.array(transforms, TRANSFORM)}


def _with_geometry(edges: Edges, columns: pa.Table, chosen: BoolArray) -> Edges:
    take = pa.array(np.flatnonzero(chosen))
    inliers = columns["inliers"].combine_chunks().flatten().take(take).to_numpy(zero_copy_only=False)
    agreement = columns["agreement"].combine_chunks().flatten().take(take).fill_null(0).to_numpy(zero_copy_only=False)
    mirrored = columns["mirrored"].combine_chunks().flatten().take(take).fill_null(False)
    lists = columns["transform"].combine_chunks().flatten().take(take).to_pylist()
    transform = np.array([item or [0.0] * 6 for item in lists], np.float32).reshape(-1, 6)
    flags = mirrored.to_numpy(zero_copy_only=False).astype(bool)
    return Edges(edges.pairs, edges.similarity, inliers.astype(np.int32), agreement, flags, transform, edges.kind)


def _flat(column: pa.ChunkedArray) -> Float64Array:
    return np.asarray(column.combine_chunks().flatten().to_numpy(zero_copy_only=False))


def _keys(part: npt.NDArray[np.generic], row: npt.NDArray[np.generic]) -> Int64Array:
    return np.asarray(part.astype(np.int64) << 32 | row.astype(np.int64))
