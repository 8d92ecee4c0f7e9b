"""Sample mode: the pool images nearest to each seed image."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.parts import Collection, digest_of
from curation.stages.contract import Output, StageSpec, commit_output, is_current
from curation.stages.describe import VECTOR
from curation.stages.gather import gather, vectors_of
from curation.stages.neighbours import nearest

__all__ = ["NEIGHBOURS_SCHEMA", "Retrieve"]

NEIGHBOURS_SCHEMA = pa.schema(
    [
        ("pool_part", pa.list_(pa.int32())),
        ("pool_row", pa.list_(pa.int32())),
        ("pool_similarity", pa.list_(pa.float32())),
    ]
)


class Retrieve:
    """The stage `neighbours`: for each live seed image its nearest pool images, the most similar first."""

    def __init__(self, seeds: Collection, pool: Collection, neighbours: int) -> None:
        self._seeds = seeds
        self._pool = pool
        self._neighbours = neighbours
        self._spec = StageSpec(
            name="neighbours",
            version=1,
            after="clusters",
            reads={"embeddings": [VECTOR]},
            schema=NEIGHBOURS_SCHEMA,
            settings={"neighbours": neighbours, "pool": digest_of(pool.state("embeddings"))},
        )

    def is_current(self) -> bool:
        return not self._stale()

    def run(self) -> None:
        images = gather(self._pool, "embeddings", {"embeddings": [VECTOR]})
        vectors = vectors_of(images.table[VECTOR])
        for part in self._stale():
            live = self._seeds.live("clusters", part)
            queries = vectors_of(self._seeds.read("embeddings", part, [VECTOR])[VECTOR].filter(pa.array(live)))
            similarities, rows = nearest(queries, vectors, self._neighbours)
            columns = {
                "pool_part": _lists(images.part[rows], pa.int32()),
                "pool_row": _lists(images.row[rows], pa.int32()),
                "pool_similarity": _lists(similarities, pa.float32()),
            }
            commit_output(self._spec, self._seeds, part, live, Output(columns))

    def _stale(self) -> list[int]:
        return [part for part in self._seeds.parts("clusters") if not is_current(self._spec, self._seeds, part)]


def _lists(values: npt.NDArray[np.generic], kind: pa.DataType) -> pa.ListArray:
    rows, width = values.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel(), kind))
