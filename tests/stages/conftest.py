"""Collections of vectors alone, for the stages that work on embeddings."""

import numpy as np
import pyarrow as pa
import pytest

from curation.engine.contract import Output, StageSpec, commit_output
from curation.run.parts import Collection
from curation.run.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


@pytest.fixture
def embedded(store):
    """Makes a collection whose parts hold these vectors, all live or as a list of masks says, and what goes with them:
    ids, sizes, and the stages after `embeddings` that pass everything on."""

    def make(path, parts, live=None, also=()):
        collection = Collection(store, path)
        for part, vectors in enumerate(parts):
            mask = np.ones(len(vectors), bool) if live is None else np.asarray(live[part])
            commit_vectors(collection, part, np.asarray(vectors, np.float16), mask)
            for stage in also:
                spec = StageSpec(stage, 1, "embeddings", {}, pa.schema([]), {})
                commit_output(spec, collection, part, mask, Output({}))
        return collection

    return make


def commit_vectors(collection, part, vectors, live):
    rows = len(vectors)
    ids = [f"{collection.path}/{part}/{row}".encode().ljust(16, b".")[-16:] for row in range(rows)]
    columns = {
        "id": pa.array(ids, pa.binary(16)),
        "width": pa.array([100 + row for row in range(rows)], pa.int64()),
        "height": pa.array([100] * rows, pa.int64()),
        "length": pa.array([1000] * rows, pa.int64()),
    }
    every = np.ones(rows, bool)
    schema = pa.schema([(name, array.type) for name, array in columns.items()])
    commit_output(
        StageSpec("fetch", 1, None, {}, schema, {}), collection, part, every, Output(columns), digest=f"s {part}"
    )
    kind = pa.list_(pa.float16(), vectors.shape[1])
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors[live].ravel()), vectors.shape[1])
    spec = StageSpec("embeddings", 1, None, {}, pa.schema([("vector", kind)]), {})
    digest = f"vectors {part} {vectors.tobytes().hex()[:40]}"
    commit_output(spec, collection, part, live, Output({"vector": column}), digest=digest)
