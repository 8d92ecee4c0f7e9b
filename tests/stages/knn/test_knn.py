"""Neighbours by part: those of a plain comparison of all with all, with and without an index, and damage named."""

import pickle

import numpy as np
import pyarrow as pa
import pytest

from curation.config import RetrievalConfig
from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, StageSpec, commit_output
from curation.errors import RunError
from curation.stages.knn.knn import EMBEDDING_KNN, SEED_KNN, Knn
from curation.stages.knn.pool_index import PoolIndex
from tests.engine.running import run_parts, searched

EXACT = RetrievalConfig()
INDEXED = RetrievalConfig(exact_up_to=100, probes=8)
CODES = RetrievalConfig(exact_up_to=100, probes=8, compressed_from=100)


@pytest.fixture
def pool(embedded, clustered):
    """Four parts, one of them of no live image."""
    sizes = (120, 90, 7, 110)
    live = [np.arange(size) % 7 != 3 for size in sizes]
    live[2][:] = False
    return embedded("pool", [clustered(size, seed=part) for part, size in enumerate(sizes)], live)


@pytest.fixture
def seeds(embedded, clustered):
    return embedded("seeds/s", [clustered(30, seed=50), clustered(9, seed=51)], also=["clusters"])


def everything(collection):
    """(part, row) and vector of every live image, by plain reading."""
    places, vectors = [], []
    for part in collection.parts("embeddings"):
        table = collection.read("embeddings", part).to_pylist()
        for row, fields in enumerate(table):
            if fields["live"]:
                places.append((part, row))
                vectors.append(fields["vector"])
    return places, np.array(vectors, np.float64)


def lists(collection, stage):
    """Of every live image its neighbours' places and similarities."""
    result = []
    for part in collection.parts(stage):
        for fields in collection.read(stage, part).to_pylist():
            if fields["live"]:
                places = list(zip(fields["neighbour_part"], fields["neighbour_row"], strict=True))
                result.append((places, fields["neighbour_similarity"]))
    return result


def test_the_neighbours_of_seeds_are_the_nearest_live_images_of_the_pool(pool, seeds):
    index = PoolIndex(pool, "embeddings", EXACT, 0)
    assert not index.is_needed
    searched(Knn(SEED_KNN, seeds, index, after="clusters", neighbours=4))
    places, base = everything(pool)
    _, queries = everything(seeds)
    scores = queries @ base.T
    for own, (near, similar) in zip(scores, lists(seeds, "seed_knn"), strict=True):
        assert near == [places[at] for at in np.argsort(-own, kind="stable")[:4]]
        np.testing.assert_allclose(similar, np.sort(own)[::-1][:4], atol=1e-6)
    recall = seeds.read("seed_knn", 0, ["neighbour_recall"])["neighbour_recall"].to_pylist()
    assert recall == [None] * 30


def test_an_image_of_the_pool_is_no_neighbour_of_itself_even_where_it_has_a_twin(embedded, clustered):
    vectors = clustered(40, seed=3)
    pool = embedded("pool", [vectors, vectors[::-1]])
    index = PoolIndex(pool, "embeddings", EXACT, 0)
    searched(Knn(EMBEDDING_KNN, pool, index, after="embeddings", neighbours=2))
    result = lists(pool, "embedding_knn")
    for at, (near, similar) in enumerate(result):
        part, row = divmod(at, 40)
        assert near[0] == (1 - part, 39 - row)
        assert similar[0] == pytest.approx(1.0, abs=2e-3)
        assert (part, row) not in near


@pytest.mark.parametrize(("settings", "least"), [(INDEXED, 0.95), (CODES, 0.85)], ids=["lists", "codes"])
def test_an_index_finds_nearly_all_and_says_how_many(pool, seeds, settings, least):
    exact = PoolIndex(pool, "embeddings", EXACT, 0)
    searched(Knn(SEED_KNN, seeds, exact, after="clusters", neighbours=4))
    truth = lists(seeds, "seed_knn")
    index = PoolIndex(pool, "embeddings", settings, 0, folder="artifacts/seed_knn")
    assert index.is_needed
    searched(Knn(SEED_KNN, seeds, index, after="clusters", neighbours=4))
    result = lists(seeds, "seed_knn")
    hits = [len(set(near) & set(true)) / 4 for (near, _), (true, _) in zip(result, truth, strict=True)]
    assert np.mean(hits) >= least
    recall = [
        value
        for part in (0, 1)
        for value in seeds.read("seed_knn", part, ["neighbour_recall"])["neighbour_recall"].to_pylist()
        if value is not None
    ]
    assert len(recall) == 30 + 9  # up to 32 of each part are looked at
    assert np.mean(recall) == pytest.approx(np.mean(hits), abs=1e-6)


def test_a_recall_under_one_is_reported_unchanged(embedded, clustered):
    """One probe of many lists misses neighbours: the stored recall is that of a plain comparison."""
    pool = embedded("pool", [clustered(900, dim=32, centres=1, spread=1.0)])
    index = PoolIndex(pool, "embeddings", RetrievalConfig(exact_up_to=10, probes=1), 0)
    searched(Knn(EMBEDDING_KNN, pool, index, after="embeddings", neighbours=10))
    places, base = everything(pool)
    scores = base @ base.T
    np.fill_diagonal(scores, -2)
    stored = pool.read("embedding_knn", 0, ["neighbour_recall"])["neighbour_recall"].to_pylist()
    checked = [at for at, value in enumerate(stored) if value is not None]
    assert len(checked) == 32
    result = lists(pool, "embedding_knn")
    for at in checked:
        true = {places[other] for other in np.argsort(-scores[at], kind="stable")[:10]}
        assert stored[at] == pytest.approx(len(true & set(result[at][0])) / 10)
    assert np.mean([stored[at] for at in checked]) < 0.9


def test_only_images_that_are_live_after_the_last_filter_are_found(embedded, clustered, seeds, store):
    vectors = [clustered(60, seed=7)]
    pool = embedded("pool", vectors, also=["exclude"])
    whole = PoolIndex(pool, "embeddings", EXACT, 0, after="exclude")
    assert whole.state == PoolIndex(pool, "embeddings", EXACT, 0).state, "nothing was dropped, so nothing is redone"
    spec = StageSpec("exclude", 1, "embeddings", {}, pa.schema([]), {})
    drops = {row: Dropped(DropReason.UNWANTED) for row in range(30)}
    commit_output(spec, pool, 0, np.ones(60, bool), Output({}, drops))
    index = PoolIndex(pool, "embeddings", EXACT, 0, after="exclude")
    assert index.state != whole.state
    searched(Knn(SEED_KNN, seeds, index, after="clusters", neighbours=30))
    assert {place for near, _ in lists(seeds, "seed_knn") for place in near} == {(0, row) for row in range(30, 60)}


def test_stages_that_share_an_index_open_it_once_and_send_nothing_of_it(pool, seeds, embedded, clustered):
    other = embedded("seeds/t", [clustered(5, seed=60)], also=["clusters"])
    index = PoolIndex(pool, "embeddings", INDEXED, 0, folder="artifacts/seed_knn")
    index.run()
    stages = [Knn(SEED_KNN, each, index, after="clusters", neighbours=4) for each in (seeds, other)]
    before = len(pickle.dumps(stages))
    for stage in stages:
        stage.setup()
    assert stages[0].index.open() is stages[1].index.open()
    one, two = pickle.loads(pickle.dumps([stage.index for stage in stages]))
    assert one is two
    assert one._opened is None
    assert before < 20_000


def test_an_index_of_other_vectors_is_named_and_nothing_is_written(pool, seeds, embedded, clustered):
    index = PoolIndex(pool, "embeddings", INDEXED, 0, folder="artifacts/seed_knn")
    other = PoolIndex(
        embedded("references/r", [clustered(300, dim=8)]), "embeddings", INDEXED, 0, folder="artifacts/other"
    )
    other.run()
    pool.store.write_bytes(index.file(0), pool.store.read_bytes(other.file(0)))
    stage = Knn(SEED_KNN, seeds, index, after="clusters", neighbours=4)
    message = r"\.faiss: is an index of 300 vectors of 8 dimensions, this part of pool has 274 of 16; delete this file"
    with pytest.raises(RunError, match=message):
        stage.setup()
    assert seeds.parts("seed_knn") == []


def test_seeds_of_another_dimension_than_the_pool_are_named(pool, embedded, clustered):
    seeds = embedded("seeds/s", [clustered(5, dim=8)], also=["clusters"])
    index = PoolIndex(pool, "embeddings", EXACT, 0)
    stage = Knn(SEED_KNN, seeds, index, after="clusters", neighbours=4)
    message = (
        r"seeds/s/embeddings/part-00000\.parquet: vectors of 8 dimensions, those of pool have 16; they are of diff"
    )
    with pytest.raises(RunError, match=message):
        run_parts(seeds, stage)
    assert seeds.parts("seed_knn") == []


@pytest.mark.parametrize("where", ["pool", "seeds"])
def test_vectors_that_are_not_finite_are_named(embedded, clustered, where):
    good, bad = clustered(50, seed=1), clustered(50, seed=2)
    bad[7, 3] = np.nan
    pool = embedded("pool", [bad if where == "pool" else good])
    seeds = embedded("seeds/s", [bad if where == "seeds" else good], also=["clusters"])
    index = PoolIndex(pool, "embeddings", EXACT, 0)
    message = rf"{where}.*part-00000\.parquet: 1 of 50 vectors hold NaN or infinity, the first at live image 7; delete"
    with pytest.raises(RunError, match=message):
        searched(Knn(SEED_KNN, seeds, index, after="clusters", neighbours=4))
    assert seeds.parts("seed_knn") == []


def test_a_damaged_index_is_named(pool, seeds):
    index = PoolIndex(pool, "embeddings", INDEXED, 0, folder="artifacts/seed_knn")
    index.run()
    data = bytearray(pool.store.read_bytes(index.file(0)))
    data[-5] ^= 1
    pool.store.write_bytes(index.file(0), bytes(data))
    with pytest.raises(RunError, match=r"\.faiss: is damaged; delete this file and run the same command again"):
        Knn(SEED_KNN, seeds, index, after="clusters", neighbours=4).setup()
