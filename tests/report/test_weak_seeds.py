"""A seed image whose picks are what chance would bring is reported; one that has images like it is not."""

import numpy as np
import pyarrow as pa
import pytest

from curation.config import parse_config
from curation.engine.contract import Output, StageSpec, commit_output
from curation.report.weak_seeds import weak_seeds
from curation.run.directory import Run

DIM, POOL = 64, 1500


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def commit(collection, stage, columns):
    schema = pa.schema([(name, column.type) for name, column in columns.items()])
    rows = len(next(iter(columns.values())))
    commit_output(
        StageSpec(stage, 1, None, {}, schema, {}), collection, 0, np.ones(rows, bool), Output(columns), digest="d"
    )


def vectors_column(vectors):
    flat = pa.array(vectors.astype(np.float16).ravel())
    return {"vector": pa.FixedSizeListArray.from_arrays(flat, DIM)}


@pytest.fixture
def run(tmp_path):
    """A pool of random directions, and four seeds of which the first two are like 50 of the pool's images."""
    rng = np.random.default_rng(0)
    run = Run(str(tmp_path / "run"), parse_config({"pool": ["p"], "seeds": [{"name": "birds", "data": "b"}]}))
    run.begin()
    seeds = unit(rng.normal(size=(4, DIM)))
    pool = unit(rng.normal(size=(POOL, DIM)))
    pool[:50] = unit(seeds[np.arange(50) % 2] + 0.05 * rng.normal(size=(50, DIM)))
    commit(run.pool, "embeddings", vectors_column(pool))
    birds = run.collection("seeds/birds")
    commit(birds, "embeddings", vectors_column(seeds))
    similar = -np.sort(-(seeds @ pool.T), axis=1)[:, :4]
    commit(birds, "seed_knn", {"neighbour_similarity": pa.array(similar.tolist(), pa.list_(pa.float32()))})
    return run


def test_seeds_with_nothing_like_them_are_counted(run):
    (item,) = weak_seeds(run)
    assert (item.set, item.images) == ("seeds/birds", 4)
    assert 1 <= item.weak <= 2  # of two that are random, the best pick is about as good as chance has it


def test_a_run_without_picks_has_none(tmp_path):
    run = Run(str(tmp_path / "run"), parse_config({"pool": ["p"], "seeds": [{"name": "birds", "data": "b"}]}))
    run.begin()
    assert weak_seeds(run) == []
