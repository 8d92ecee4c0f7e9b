"""Pairs of images that were looked at or are alike, from the stages' files: which are links, and by what evidence."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.arrays import BoolArray, Float32Array, Int32Array, Int64Array, UInt8Array
from curation.engine.gather import Gathered
from curation.imaging.matching import reversed_transform
from curation.run.parts import Collection

__all__ = [
    "BYTES",
    "HASH",
    "LINKS",
    "SIMILAR",
    "VERIFIED",
    "Edges",
    "flat",
    "keys_of",
    "read_candidates",
    "read_checks",
]

LINKS = ("similar", "hash", "bytes", "verified")
"""What a link is by: similarity alone, equal or nearly equal hashes, equal bytes, or evidence."""
SIMILAR, HASH, BYTES, VERIFIED = range(4)


@dataclass(frozen=True)
class Edges:
    """E pairs.

    Attributes:
        pairs: (E, 2) positions; of a reference and an image, the reference is first.
        similarity: (E,) cosine similarity; NaN where it is not known.
        probability: (E,) that they are copies, by the evidence; NaN where nobody looked.
        original: (E,) probability that the first is the original of the two.
        inliers, agreement, mirrored, transform: of `Comparison`; (E,), and (E, 6).
        kind: (E,) position in `LINKS`.
    """

    pairs: Int64Array
    similarity: Float32Array
    probability: Float32Array
    original: Float32Array
    inliers: Int32Array
    agreement: Float32Array
    mirrored: BoolArray
    transform: Float32Array
    kind: UInt8Array

    @classmethod
    def plain(cls, pairs: Int64Array, similarity: Float32Array, kind: int = SIMILAR) -> "Edges":
        """Pairs that nobody looked at."""
        count = len(pairs)
        nothing = np.full(count, np.nan, np.float32)
        zeros = np.zeros(count, np.float32)
        inliers, transform = np.full(count, -1, np.int32), np.zeros((count, 6), np.float32)
        even, kinds = np.full(count, 0.5, np.float32), np.full(count, kind, np.uint8)
        return cls(pairs.reshape(-1, 2), similarity, nothing, even, inliers, zeros, zeros > 0, transform, kinds)

    @classmethod
    def joined(cls, parts: "Sequence[Edges]") -> "Edges":
        """All of them, one after the other; at least one."""
        columns = ([getattr(part, field.name) for part in parts] for field in fields(cls))
        return cls(*(np.concatenate(arrays) for arrays in columns))

    @classmethod
    def none(cls) -> "Edges":
        """No pair."""
        return cls.plain(np.empty((0, 2), np.int64), np.empty(0, np.float32))

    def __len__(self) -> int:
        return len(self.pairs)

    def chosen(self, which: BoolArray | Int64Array) -> "Edges":
        """Some of them, by mask or number."""
        return Edges(*(getattr(self, field.name)[which] for field in fields(self)))

    @property
    def looked(self) -> BoolArray:
        """(E,) which somebody looked at."""
        return np.asarray(self.inliers >= 0, dtype=bool)

    def between_images(self, count: int) -> "Edges":
        """Those of two images, of which there are `count`."""
        return self.chosen(np.asarray((self.pairs < count).all(axis=1)))

    def above(self, threshold: float) -> "Edges":
        """Those that are more similar than this."""
        return self.chosen(self.similarity > np.float32(threshold))

    def evident(self, probability: float) -> "Edges":
        """Those of equal bytes, and those that the evidence takes for copies."""
        likely = np.nan_to_num(self.probability, nan=0.0) >= np.float32(probability)
        return self.chosen(likely | (self.kind == BYTES))


def read_candidates(collection: Collection, pool: Gathered, own: Gathered, first: int, *, looked: bool) -> Edges:
    """All pairs of a collection's images and their neighbours in the pool, with what `verify_copies` says of them.

    Args:
        pool: the pool's live images; positions are those in it.
        own: the collection's own live images, counted from `first`.
        looked: whether `verify_copies` has looked; those that it left out are left out here too.
    """
    keys = keys_of(pool.part, pool.row)
    result = [Edges.none()]
    for part in sorted(own.masks):
        near = collection.read("copy_knn", part, ["neighbour_part", "neighbour_row", "neighbour_similarity"])
        lengths = np.array([len(items) for items in near["neighbour_row"].to_pylist() if items is not None], np.int64)
        numbers = np.arange(own.of_part(part).start, own.of_part(part).stop)
        others = keys_of(flat(near["neighbour_part"]), flat(near["neighbour_row"]))
        pairs = np.stack([np.repeat(numbers + first, lengths), np.searchsorted(keys, others)], axis=1)
        edges = Edges.plain(pairs, flat(near["neighbour_similarity"]).astype(np.float32))
        result.append(edges if not looked else with_evidence(edges, collection.read("verify_copies", part)))
    return Edges.joined(result)


def read_checks(collection: Collection, pool: Gathered, references: Sequence[Gathered]) -> Edges:
    """The pairs that `groups` asked for, with what `verify_kept` says of them; of a reference and an image, the
    reference is first, as everywhere."""
    firsts = np.cumsum([len(pool), *map(len, references)])
    result = [Edges.none()]
    for part in sorted(pool.masks):
        asked = collection.read("groups", part, ["check_set", "check_part", "check_row"])
        lengths = np.array([len(items) for items in asked["check_row"].to_pylist() if items is not None], np.int64)
        numbers = np.repeat(np.arange(pool.of_part(part).start, pool.of_part(part).stop), lengths)
        sets, places = flat(asked["check_set"]), keys_of(flat(asked["check_part"]), flat(asked["check_row"]))
        others = np.empty(len(numbers), np.int64)
        for at, (images, start) in enumerate(zip((pool, *references), (0, *firsts), strict=False)):
            mine = sets == at - 1
            others[mine] = np.searchsorted(keys_of(images.part, images.row), places[mine]) + start
        edges = Edges.plain(np.stack([numbers, others], axis=1), np.full(len(numbers), np.nan, np.float32))
        edges = with_evidence(edges, collection.read("verify_kept", part))
        result.append(_references_first(edges, len(pool)))
    return Edges.joined(result)


def with_evidence(edges: Edges, columns: pa.Table) -> Edges:
    """Those pairs that were looked at, with what was seen: of the columns of `COMPARISONS`, parallel to the pairs."""
    inliers = flat(columns["inliers"]).astype(np.int32)
    seen = inliers >= 0
    chosen = edges.chosen(seen)
    lists = columns["transform"].combine_chunks().flatten().filter(pa.array(seen)).to_pylist()
    return replace(
        chosen,
        probability=flat(columns["probability"])[seen].astype(np.float32),
        original=flat(columns["original"])[seen].astype(np.float32),
        inliers=inliers[seen],
        agreement=flat(columns["agreement"])[seen].astype(np.float32),
        mirrored=flat(columns["mirrored"])[seen].astype(bool),
        transform=np.array(lists, np.float32).reshape(-1, 6),
        kind=np.full(len(chosen), VERIFIED, np.uint8),
    )


def _references_first(edges: Edges, count: int) -> Edges:
    """Turn the pairs round whose second is a reference."""
    turn = edges.pairs[:, 1] >= count
    if not turn.any():
        return edges
    pairs = np.where(turn[:, None], edges.pairs[:, ::-1], edges.pairs)
    transform = edges.transform.copy()
    for at in np.flatnonzero(turn).tolist():
        transform[at] = reversed_transform(transform[at].astype(np.float64), bool(edges.mirrored[at]))
    original = np.where(turn, 1 - edges.original, edges.original).astype(np.float32)
    return replace(edges, pairs=pairs, transform=transform, original=original)


def flat(column: pa.ChunkedArray) -> npt.NDArray[np.generic]:
    """The values of a column of lists, one list after the other."""
    return np.asarray(column.combine_chunks().flatten().to_numpy(zero_copy_only=False))


def keys_of(part: npt.NDArray[np.generic], row: npt.NDArray[np.generic]) -> Int64Array:
    """One number for each place, in the order of places."""
    return np.asarray(part.astype(np.int64) << 32 | row.astype(np.int64))
