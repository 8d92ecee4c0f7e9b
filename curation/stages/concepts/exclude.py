"""The stage `exclude`: pool images that resemble an example of what is unwanted are dropped before any is chosen.

Each image is compared with every example of every set, exactly: what an index would miss would stay.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from curation.arrays import Float16Array, Float32Array, Int32Array, Int64Array
from curation.config import Config, ExcludeConfig
from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, Place, StageSpec
from curation.engine.graph import Site
from curation.errors import RunError
from curation.run.parts import Collection
from curation.search.knn import Searcher
from curation.stages.knn.vectors import VECTOR, gather_vectors, halves_of, vectors_state

__all__ = ["EXCLUDE_SCHEMA", "Exclude"]

EXCLUDE_SCHEMA = pa.schema(
    [("example_set", pa.string()), ("example", pa.binary(16)), ("example_similarity", pa.float32())]
)


class Exclude:
    """The stage `exclude`: pool images that resemble an example of what is unwanted are dropped.

    The columns name the example that an image resembles most; of a dropped image, the one among those that are near
    enough to drop it.

    Args:
        examples: the sets' collections, at least one, and their settings, in the same order.
    """

    def __init__(
        self, examples: Sequence[Collection], sets: Sequence[ExcludeConfig], *, after: str = "embeddings"
    ) -> None:
        self._examples = examples
        self._names = [item.name for item in sets]
        self._thresholds = np.array([item.threshold for item in sets], np.float32)
        states = [vectors_state(examples, "embeddings", "embeddings") for examples in self._examples]
        self.spec = StageSpec(
            name="exclude",
            version=2,
            after=after,
            reads={"embeddings": [VECTOR]},
            adds=EXCLUDE_SCHEMA,
            settings={"sets": [[item.name, item.threshold, state] for item, state in zip(sets, states, strict=True)]},
        )

    @classmethod
    def at(cls, site: Site) -> "Exclude":
        sets = site.config.exclude
        return cls([site.run.excludes(item.name) for item in sets], sets, after=site.after)

    @staticmethod
    def is_on(config: Config, path: str) -> bool:
        return bool(config.exclude)

    def setup(self) -> None:
        result = [gather_vectors(examples, "embeddings", "embeddings") for examples in self._examples]
        self._searchers = [Searcher(vectors.halves) for vectors in result]
        self._ids = [
            _ids(examples, vectors.part, vectors.row) for examples, vectors in zip(self._examples, result, strict=True)
        ]

    def process(self, rows: pa.Table, place: Place) -> Output:
        """Raises RunError where vectors are damaged, or of another dimension than an example's."""
        file = place.collection.store.url(place.collection.file("embeddings", place.part))
        vectors = halves_of(rows[VECTOR], file)
        return self._judge([self._nearest(which, vectors, file) for which in range(len(self._names))], len(vectors))

    def _nearest(self, which: int, vectors: Float16Array, file: str) -> tuple[Float32Array, Int64Array]:
        """Similarity to the nearest example of one set, and its position, both (N,)."""
        searcher = self._searchers[which]
        if len(vectors) and vectors.shape[1] != searcher.dim:
            raise RunError(
                f"{file}: vectors of "
                f"{vectors.shape[1]} dimensions, those of excludes/{self._names[which]} have {searcher.dim}; "
                "they are of different models, so delete this file and run the same command again"
            )
        similar, rows = searcher.search(vectors, 1)
        return similar[:, 0], rows[:, 0]

    def _judge(self, nearest: Sequence[tuple[Float32Array, Int64Array]], count: int) -> Output:
        similar = np.stack([result for result, _ in nearest])
        above = similar > self._thresholds[:, None]
        unwanted = above.any(axis=0)
        # Of equal ones the first set, so the order of the config decides.
        which = np.where(~unwanted | above, similar, -2).argmax(axis=0)
        best = similar[which, np.arange(count)]
        ids = [self._ids[at][nearest[at][1][image]] for image, at in enumerate(which.tolist())]
        drops = {
            image: Dropped(
                DropReason.UNWANTED,
                f"{self._names[which[image]]} {ids[image].hex()}, similarity {best[image]:.3f}",
            )
            for image in np.flatnonzero(unwanted).tolist()
        }
        columns = {
            "example_set": pa.array([self._names[at] for at in which.tolist()], pa.string()),
            "example": pa.array(ids, pa.binary(16)),
            "example_similarity": pa.array(best, pa.float32()),
        }
        return Output(columns, drops)


def _ids(collection: Collection, part: Int32Array, row: Int32Array) -> list[bytes]:
    """Ids of images by place; places are in the order of parts."""
    result: list[bytes] = []
    for number in np.unique(part).tolist():
        result += collection.read("fetch", number, ["id"])["id"].take(pa.array(row[part == number])).to_pylist()
    return result
