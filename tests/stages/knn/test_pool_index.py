"""A pool that is searched partition by partition: the answer of one searched whole, whenever it is stopped."""

import numpy as np
import pytest

from curation.config import RetrievalConfig
from curation.engine.runner.contract import Task
from curation.engine.runner.worker import Worker, with_retries
from curation.errors import PartsFailed, RunError
from curation.stages.knn import knn as knn_module
from curation.stages.knn import pool_index as pool_index_module
from curation.stages.knn.knn import COPY_KNN, EMBEDDING_KNN, SEED_KNN, Knn
from curation.stages.knn.pool_index import BuildPartition, PoolIndex
from tests.engine.running import searched, searches

SIZES = (70, 40, 3, 60, 25)
K = 6
ABOVE = 0.8


@pytest.fixture
def vectors(clustered):
    """Five parts. Images of one crowd are in all of them, the same to the bit, far more than k."""
    made = [clustered(size, dim=24, centres=30, seed=part) for part, size in enumerate(SIZES)]
    for each in made:
        each[1 : 1 + len(each) // 3] = made[0][0]
    return made


@pytest.fixture
def pool(embedded, vectors):
    live = [np.arange(size) % 7 != 3 for size in SIZES]
    live[2][:] = False
    return embedded("pool", vectors, live)


@pytest.fixture
def references(embedded, vectors, clustered):
    """Of which the first is in the crowd, and others resemble some of the pool."""
    queries = clustered(12, dim=24, centres=30, seed=70)
    queries[0] = vectors[0][0]
    return embedded("references/r", [queries, vectors[3][5:9]])


def settings(**values):
    return RetrievalConfig(**{"probes": 4, **values})


def stages_of(index, pool, references):
    return [
        Knn(EMBEDDING_KNN, pool, index, after="embeddings", neighbours=K),
        Knn(COPY_KNN, references, index, after="embeddings", neighbours=K, copies_above=ABOVE),
    ]


def done(stage):
    searched(stage).forget_lanes()
    return tables(stage)


def tables(stage):
    name, collection = stage.spec.name, stage.collection
    return [(collection.footer(name, part).digest, collection.read(name, part)) for part in collection.parts(name)]


def brute(base, places, queries, own, above=None):
    """Neighbours by a plain comparison in float64, equal ones in the order of places."""
    result = []
    for query, mine in zip(queries.astype(np.float64), own, strict=True):
        scores = (base.astype(np.float64) @ query).round(9)
        order = [at for at in np.argsort(-scores, kind="stable") if places[at] != mine]
        copies = int((scores > above).sum()) if above is not None else 0
        longest = K if copies < K else K + copies
        result.append([places[at] for at in order[:longest]])
    return result


def live_of(collection):
    result, places = [], []
    for part in collection.parts("embeddings"):
        table = collection.read("embeddings", part).to_pylist()
        result += [row["vector"] for row in table if row["live"]]
        places += [(part, at) for at, row in enumerate(table) if row["live"]]
    return np.array(result, np.float16), places


def lists(collection, stage):
    rows = [row for part in collection.parts(stage) for row in collection.read(stage, part).to_pylist() if row["live"]]
    return [list(zip(row["neighbour_part"], row["neighbour_row"], strict=True)) for row in rows]


@pytest.mark.parametrize(
    ("most", "at_once"),
    [(30, 1), (30, 10), (75, 256), (100, 1)],
    ids=["one lane", "two lanes and more", "a lane for each partition", "two partitions"],
)
def test_exact_search_finds_the_same_to_the_bit_however_the_pool_is_cut(pool, references, monkeypatch, most, at_once):
    monkeypatch.setattr(knn_module, "AT_ONCE", at_once)
    whole, cut = (
        PoolIndex(pool, "embeddings", settings(), 0),
        PoolIndex(pool, "embeddings", settings(partition=most), 0),
    )
    assert (len(whole.partitions), len(cut.partitions)) == (1, {30: 4, 75: 3, 100: 2}[most])
    expected = [done(stage) for stage in stages_of(whole, pool, references)]
    for collection, name in ((pool, "embedding_knn"), (references, "copy_knn")):
        for part in collection.parts(name):
            collection.remove(name, part)
    stages = [searched(stage) for stage in stages_of(cut, pool, references)]
    assert [tables(stage) for stage in stages] == expected
    assert pool.store.folders("pool/embedding_knn"), "what was found in each partition was kept in lanes"
    for stage in stages:
        stage.forget_lanes()
    assert [tables(stage) for stage in stages] == expected
    assert pool.store.folders("pool/embedding_knn") == references.store.folders("references/r/copy_knn") == []


@pytest.mark.parametrize("most", [30, 5_000_000])
def test_neighbours_are_those_of_a_plain_comparison_and_of_references_all_copies(pool, references, most):
    for stage in stages_of(PoolIndex(pool, "embeddings", settings(partition=most), 0), pool, references):
        done(stage)
    base, places = live_of(pool)
    queries, _ = live_of(references)
    assert lists(pool, "embedding_knn") == brute(base, places, base, places)
    result = lists(references, "copy_knn")
    assert result == brute(base, places, queries, [None] * len(queries), ABOVE)
    assert len(result[0]) > 50, "the crowd"
    assert min(map(len, result)) == K


@pytest.mark.parametrize("compressed_from", [20_000_000, 100], ids=["lists", "codes"])
def test_indexes_of_partitions_find_nearly_all_and_report_their_recall_unchanged(
    embedded, clustered, monkeypatch, compressed_from
):
    pool = embedded("pool", [clustered(400, dim=32, centres=3, spread=1.0, seed=part) for part in range(3)])
    limits = settings(exact_up_to=10, compressed_from=compressed_from, partition=800, probes=3)
    index = PoolIndex(pool, "embeddings", limits, 0)
    assert [len(partition) for partition in index.partitions] == [800, 400]
    done(Knn(EMBEDDING_KNN, pool, index, after="embeddings", neighbours=K))
    base, places = live_of(pool)
    truth, result = brute(base, places, base, places), lists(pool, "embedding_knn")
    hits = [len(set(true) & set(near)) / K for true, near in zip(truth, result, strict=True)]
    reported = [
        row
        for part in range(3)
        for row in pool.read("embedding_knn", part, ["neighbour_recall"])["neighbour_recall"].to_pylist()
    ]
    checked = [at for at, value in enumerate(reported) if value is not None]
    assert len(checked) == 3 * 32
    assert [reported[at] for at in checked] == pytest.approx([hits[at] for at in checked])
    assert 0.5 < np.mean(hits) < 1.0


def test_an_index_is_built_for_each_partition_by_any_worker_and_stays_for_a_part_that_is_added(
    embedded, clustered, store
):
    parts = [clustered(100, seed=part) for part in range(4)]
    pool = embedded("pool", parts[:3])
    limits = settings(exact_up_to=10, partition=200)
    index = PoolIndex(pool, "embeddings", limits, 0)
    work = BuildPartition(index)
    assert [work.is_current(number) for number in (0, 1)] == [False, False]
    assert len(list(with_retries([Task(work, 0), Task(work, 1)], attempts))) == 2
    assert index.is_current()
    before = {name: store.read_bytes(f"artifacts/copy_knn/{name}") for name in store.names("artifacts/copy_knn")}
    assert len(before) == 2
    done(Knn(EMBEDDING_KNN, pool, index, after="embeddings", neighbours=K))

    pool = embedded("pool", parts)
    grown = PoolIndex(pool, "embeddings", limits, 0)
    assert [grown.is_built(number) for number in (0, 1)] == [True, False]
    stayed = grown.file(0).rsplit("/", 1)[1]
    assert index.file(0) == grown.file(0)
    assert index.file(1) != grown.file(1)
    after = done(Knn(EMBEDDING_KNN, pool, grown, after="embeddings", neighbours=K))
    assert store.read_bytes(grown.file(0)) == before[stayed]
    assert len(store.names("artifacts/copy_knn")) == 2, "the index of what is no partition any more is gone"

    for name in store.names("artifacts/copy_knn"):
        store.remove(f"artifacts/copy_knn/{name}")
    for part in range(4):
        pool.remove("embedding_knn", part)
    anew = Knn(EMBEDDING_KNN, pool, PoolIndex(pool, "embeddings", limits, 0), after="embeddings", neighbours=K)
    assert done(anew) == after


def attempts(works, todo):
    worker = Worker(works, 1)
    return ((key, worker.attempt(*key)) for key in todo)


def test_a_partition_that_cannot_be_built_is_named_by_its_file(embedded, clustered, monkeypatch):
    index = PoolIndex(
        embedded("pool", [clustered(100), clustered(90)]), "embeddings", settings(exact_up_to=10, partition=100), 0
    )
    real = pool_index_module.build_index

    def build(halves, **options):
        if len(halves) == 90:
            raise MemoryError
        return real(halves, **options)

    monkeypatch.setattr(pool_index_module, "build_index", build)
    with pytest.raises(PartsFailed, match=index.file(1)):
        list(with_retries([Task(BuildPartition(index), number) for number in (0, 1)], attempts))
    assert (index.is_built(0), index.is_built(1)) == (True, False)


@pytest.mark.parametrize("at_once", [1, 256])
def test_a_search_that_is_stopped_goes_on_with_the_partition_and_part_that_it_was_at(
    pool, references, monkeypatch, at_once
):
    monkeypatch.setattr(knn_module, "AT_ONCE", at_once)
    limits = settings(partition=75)
    expected = done(stages_of(PoolIndex(pool, "embeddings", limits, 0), pool, references)[1])
    todo = len(searches(stages_of(PoolIndex(pool, "embeddings", limits, 0), pool, references)[1]))
    assert todo == (3 + 1) * 2
    for stop in range(todo):
        for part in references.parts("copy_knn"):
            references.remove("copy_knn", part)
        stage = stages_of(PoolIndex(pool, "embeddings", limits, 0), pool, references)[1]
        for work, part in searches(stage)[:stop]:
            work.run(part)
        again = stages_of(PoolIndex(pool, "embeddings", limits, 0), pool, references)[1]
        assert [work.is_current(part) for work, part in searches(again)[:stop]] == [True] * stop
        assert not any(work.is_current(part) for work, part in searches(again)[stop:])
        assert done(again) == expected
        assert references.store.folders("references/r/copy_knn") == []


def test_what_a_stopped_search_found_is_not_used_for_another(pool, references):
    limits = settings(partition=75)
    for work, part in searches(stages_of(PoolIndex(pool, "embeddings", limits, 0), pool, references)[1])[:6]:
        work.run(part)
    index = PoolIndex(pool, "embeddings", limits, 0)
    other = Knn(COPY_KNN, references, index, after="embeddings", neighbours=K + 1, copies_above=ABOVE)
    assert not any(work.is_current(part) for work, part in searches(other))
    whole = Knn(
        COPY_KNN, references, PoolIndex(pool, "embeddings", settings(), 0), after="embeddings", neighbours=K + 1,
        copies_above=ABOVE,
    )  # fmt: skip
    result = done(other)
    for part in references.parts("copy_knn"):
        references.remove("copy_knn", part)
    assert done(whole) == result


def test_a_worker_holds_one_partition_at_a_time_and_no_more_than_it_may(pool, references):
    index = PoolIndex(pool, "embeddings", settings(partition=75), 0)
    for stage in stages_of(index, pool, references):
        for work, part in searches(stage):
            work.setup()
            work.run(part)
            number, opened = index._opened
            assert len(opened.vectors) == len(index.partitions[number]) <= 75
    assert sum(map(len, index.partitions)) == len(live_of(pool)[0])


def test_a_part_larger_than_a_partition_is_one(embedded, clustered):
    pool = embedded("pool", [clustered(size, seed=size) for size in (5, 30, 5, 5)])
    index = PoolIndex(pool, "embeddings", settings(partition=10), 0)
    assert [list(partition.counts) for partition in index.partitions] == [[0], [1], [2, 3]]


def test_partitions_of_different_dimensions_are_named(embedded, clustered):
    pool = embedded("pool", [clustered(20), clustered(20, dim=8)])
    index = PoolIndex(pool, "embeddings", settings(partition=20), 0)
    seeds = embedded("seeds/s", [clustered(5, seed=9)], also=["clusters"])
    with pytest.raises(RunError, match=r"vectors of 16 dimensions, those of pool have 8; they are of different models"):
        done(Knn(SEED_KNN, seeds, index, after="clusters", neighbours=2))
    assert seeds.parts("seed_knn") == []
