"""The stage `semantic_dedup`: of images that show the same thing, one is kept (SemDeDup, Abbas et al. 2023, arXiv
2303.09540).

The paper compares the images of each cluster of k-means with each other. Here links come from each image's nearest
neighbours among all, whatever cluster they are in, and the images that links join, over any number of them, are one
group; as in dedup, the largest of a group is kept.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curation.arrays import Float32Array, Int64Array
from curation.config import SemanticDedupConfig
from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, StageSpec, global_digest
from curation.engine.gather import Gathered, gather, ids_of
from curation.engine.graph import Site
from curation.run.parts import Collection
from curation.search.components import components_of, first_of_each, keep_order
from curation.search.knn import similarities_of
from curation.stages.knn.knn import EMBEDDING_KNN
from curation.stages.knn.vectors import gather_vectors

__all__ = ["SEMANTIC_SCHEMA", "SemanticDedup", "kept_instead"]

SEMANTIC_SCHEMA = pa.schema([("representative", pa.binary(16)), ("similarity", pa.float32())])


class SemanticDedup:
    """The stage `semantic_dedup`: of images that show the same thing one is kept.

    Args:
        after: the stage whose live rows it takes, those that `embedding_knn` was made for.
    """

    def __init__(self, pool: Collection, settings: SemanticDedupConfig, after: str) -> None:
        self._pool = pool
        self._settings = settings
        self._after = after
        self.spec = StageSpec(
            name="semantic_dedup",
            version=1,
            after=after,
            reads={EMBEDDING_KNN.name: []},
            adds=SEMANTIC_SCHEMA,
            settings=settings.model_dump(exclude={"enabled", "neighbours"}),
        )

    @classmethod
    def at(cls, site: Site) -> "SemanticDedup":
        return cls(site.pool, site.config.semantic_dedup, site.after)

    def setup(self) -> None:
        pass

    def expected(self) -> dict[int, str]:
        stages = ("embeddings", self._after, EMBEDDING_KNN.name)
        digest = global_digest(self.spec, [(self._pool, stage) for stage in stages])
        return dict.fromkeys(self._pool.parts(self._after), digest)

    def process(self, stale: Sequence[int]) -> Iterator[tuple[int, Output]]:
        """Decide over all images."""
        images = gather(self._pool, self._after, {"fetch": ["id", "width", "height", "length"]})
        pixels = images.table["width"].to_numpy().astype(np.int64) * images.table["height"].to_numpy()
        rank = keep_order(pixels, images.table["length"].to_numpy(), ids_of(images.table["id"]))
        instead = kept_instead(self._links(images), rank)
        vectors = gather_vectors(self._pool, "embeddings", self._after).halves
        similarity = similarities_of(vectors, vectors, np.arange(len(images)), instead)
        if (least := self._settings.min_similarity_to_kept) is not None:
            own = np.arange(len(images))
            instead = np.where(similarity >= least, instead, own)
            similarity = similarities_of(vectors, vectors, own, instead)
        for part in stale:
            yield part, self._output(images, instead, similarity, images.of_part(part))

    def _output(self, images: Gathered, instead: Int64Array, similarity: Float32Array, chosen: slice) -> Output:
        representative = images.table["id"].take(pa.array(instead[chosen])).combine_chunks().cast(pa.binary(16))
        dropped = np.flatnonzero(instead[chosen] != np.arange(chosen.start, chosen.stop))
        drops = {
            at: Dropped(
                DropReason.SEMANTIC_DUPLICATE,
                f"{representative[at].as_py().hex()}, similarity {similarity[chosen.start + at]:.3f}",
            )
            for at in dropped.tolist()
        }
        columns = {"representative": representative, "similarity": pa.array(similarity[chosen], pa.float32())}
        return Output(columns, drops)

    def _links(self, images: Gathered) -> Int64Array:
        """(E, 2) positions of images that are more similar than the threshold."""
        keys = _keys(images.part, images.row)
        result = [np.empty((0, 2), np.int64)]
        for part in images.masks:
            table = self._pool.read(
                EMBEDDING_KNN.name, part, ["neighbour_part", "neighbour_row", "neighbour_similarity"]
            )
            lengths = pc.list_value_length(table["neighbour_row"]).drop_null().to_numpy()
            chosen = images.of_part(part)
            source = np.repeat(np.arange(chosen.start, chosen.stop), lengths)
            others = _keys(_flat(table["neighbour_part"]), _flat(table["neighbour_row"]))
            linked = _flat(table["neighbour_similarity"]) > np.float32(self._settings.threshold)
            target = np.searchsorted(keys, others[linked])
            result.append(np.stack([source[linked], target], axis=1))
        return np.concatenate(result)


def kept_instead(pairs: Int64Array, rank: Int64Array) -> Int64Array:
    """For each of N images the one that is kept instead: itself, or the best of those that links join it to.

    Args:
        pairs: (E, 2) positions.
        rank: (N,) which image of a component to keep: the one with the smallest.
    """
    return first_of_each(components_of(len(rank), pairs), rank)


def _flat(column: pa.ChunkedArray) -> npt.NDArray[np.generic]:
    return np.asarray(column.combine_chunks().flatten().to_numpy(zero_copy_only=False))


def _keys(part: npt.NDArray[np.generic], row: npt.NDArray[np.generic]) -> Int64Array:
    return np.asarray(part.astype(np.int64) << 32 | row.astype(np.int64))
