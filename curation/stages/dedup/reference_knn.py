"""The images of the pool that each reference image resembles most, however little: what a certificate shows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.arrays import Float32Array, Int32Array
from curation.engine.contract import Output, StageSpec, expected_digest
from curation.engine.graph import Site
from curation.run.parts import Collection, digest_of
from curation.search.links import nearest
from curation.stages.knn.bias import BIAS, Offsets
from curation.stages.knn.vectors import read_vectors

__all__ = ["MATCHES_SCHEMA", "NEAREST", "ReferenceKnn"]

NEAREST = 5
"""Dataset images that a certificate names for each reference image."""

MATCHES_SCHEMA = pa.schema(
    [
        ("neighbour_part", pa.list_(pa.int32())),
        ("neighbour_row", pa.list_(pa.int32())),
        ("neighbour_similarity", pa.list_(pa.float32())),
    ]
)


@dataclass
class _Best:
    """The best so far for R queries: similarity, part and row, each (R, k or fewer), the most similar first."""

    similarity: Float32Array
    part: Int32Array
    row: Int32Array

    def merge(self, similarity: Float32Array, part: int, row: Int32Array, k: int) -> "_Best":
        similarities = np.concatenate([self.similarity, similarity], axis=1)
        parts = np.concatenate([self.part, np.full(row.shape, part, np.int32)], axis=1)
        rows = np.concatenate([self.row, row], axis=1)
        order = np.lexsort((rows, parts, -similarities), axis=1)[:, :k]
        return _Best(*(np.take_along_axis(values, order, axis=1) for values in (similarities, parts, rows)))


class ReferenceKnn:
    """The stage `reference_knn` of a reference set: part, row and similarity of the nearest pool images, best first.

    The pool passes through memory part by part; only the reference vectors are held.

    Args:
        offsets: what is taken off similarities before the best are chosen.
    """

    def __init__(self, reference: Collection, pool: Collection, k: int, offsets: Offsets | None = None) -> None:
        self._reference = reference
        self._pool = pool
        self._k = k
        self._offsets = offsets
        self.spec = StageSpec(
            name="reference_knn",
            version=1,
            after="copy_descriptors",
            reads={"copy_descriptors": [], **({} if offsets is None else {BIAS: []})},
            adds=MATCHES_SCHEMA,
            settings={
                "k": k,
                "pool": digest_of(pool.state("copy_descriptors")),
                **({} if offsets is None else {"normalised": offsets.settings}),
            },
        )

    @classmethod
    def at(cls, site: Site) -> "ReferenceKnn":
        offsets = Offsets.of(site.pool, site.config.dedup.normalise)
        return cls(site.collection, site.pool, NEAREST, offsets)

    def setup(self) -> None:
        pass

    def expected(self) -> dict[int, str]:
        parts = self._reference.parts("copy_descriptors")
        return {part: str(expected_digest(self.spec, self._reference, part)) for part in parts}

    def process(self, stale: Sequence[int]) -> Iterator[tuple[int, Output]]:
        queries = [self._vectors(self._reference, part, asked=True) for part in stale]
        counts = [len(vectors) for vectors in queries]
        best = self._search(np.concatenate(queries))
        ends = np.cumsum(counts)
        for part, start, end in zip(stale, ends - counts, ends, strict=True):
            similarity = best.similarity[start:end]
            if self._offsets is not None:
                similarity = similarity - self._offsets.of_part(self._reference, part)[:, None]
            columns = {
                "neighbour_part": _lists(best.part[start:end], pa.int32()),
                "neighbour_row": _lists(best.row[start:end], pa.int32()),
                "neighbour_similarity": _lists(similarity, pa.float32()),
            }
            yield part, Output(columns)

    def _search(self, queries: Float32Array) -> _Best:
        empty = np.empty((len(queries), 0))
        best = _Best(empty.astype(np.float32), empty.astype(np.int32), empty.astype(np.int32))
        for part in self._pool.parts("copy_descriptors"):
            rows = np.flatnonzero(self._pool.live("copy_descriptors", part)).astype(np.int32)
            if len(rows) and len(queries):
                similarity, result = nearest(queries, self._vectors(self._pool, part), self._k)
                best = best.merge(similarity, part, rows[result], self._k)
        return best

    def _vectors(self, collection: Collection, part: int, *, asked: bool = False) -> Float32Array:
        """Vectors whose dot product is the similarity, but for the offset of the image that is asked for."""
        vectors = read_vectors(collection, part, "copy_descriptors").astype(np.float32)
        if self._offsets is None or not len(vectors):
            return vectors
        taken = np.ones(len(vectors), np.float32) if asked else -self._offsets.of_part(collection, part)
        return np.column_stack([vectors, taken])


def _lists(values: npt.NDArray[np.generic], kind: pa.DataType) -> pa.ListArray:
    rows, width = values.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel(), kind))
