"""Of images that links join one is kept, whichever parts and clusters they are in."""

import numpy as np
import pytest

from curation.config import RetrievalConfig, SemanticDedupConfig
from curation.engine.work import GlobalWork
from curation.stages.concepts.semantic_dedup import SemanticDedup
from curation.stages.knn.knn import EMBEDDING_KNN, Knn
from curation.stages.knn.pool_index import PoolIndex
from tests.engine.running import searched


def work_of(pool, config):
    return GlobalWork(pool, SemanticDedup(pool, config, "embeddings"))


def done(pool, neighbours=64, retrieval=None, **settings):
    """The rows of `semantic_dedup`, of live images."""
    config = SemanticDedupConfig(enabled=True, neighbours=neighbours, **settings)
    index = PoolIndex(pool, "embeddings", retrieval or RetrievalConfig(), 0, folder="artifacts/embedding_knn")
    searched(Knn(EMBEDDING_KNN, pool, index, after="embeddings", neighbours=config.neighbours))
    work = work_of(pool, config)
    work.run()
    assert work.is_current()
    rows = []
    for part in pool.parts("semantic_dedup"):
        ids = pool.read("fetch", part, ["id"])["id"].to_pylist()
        for key, row in zip(ids, pool.read("semantic_dedup", part).to_pylist(), strict=True):
            if row["representative"] is not None:
                rows.append(row | {"id": key})
    return rows


def groups(vectors, threshold):
    """Components of the graph of all pairs above a threshold, by walking it."""
    scores = vectors @ vectors.T > threshold
    left, result = set(range(len(vectors))), []
    while left:
        ahead, group = [left.pop()], set()
        while ahead:
            at = ahead.pop()
            group.add(at)
            near = {other for other in np.flatnonzero(scores[at]).tolist() if other in left}
            left -= near
            ahead += near
        result.append(group)
    return result


def test_one_of_each_component_is_kept_across_parts_and_it_is_the_largest(embedded, clustered):
    sizes, threshold = (60, 50, 5, 40), 0.93
    live = [np.arange(size) % 6 != 1 for size in sizes]
    live[2][:] = False
    vectors = [clustered(size, centres=40, spread=0.2, seed=part) for part, size in enumerate(sizes)]
    pool = embedded("pool", vectors, live)
    rows = done(pool, threshold=threshold)
    known = np.concatenate([each[mask] for each, mask in zip(vectors, live, strict=True)]).astype(np.float64)
    place = [(part, row) for part, mask in enumerate(live) for row in np.flatnonzero(mask).tolist()]
    expected = groups(known, threshold)
    assert len(rows) == len(known)
    assert sum(len(group) > 1 for group in expected) > 10
    assert any(len({place[at][0] for at in group}) > 1 for group in expected)
    for group in expected:
        # Images are the larger the higher their row number in these collections; of equal ones the smallest id counts.
        best = min(group, key=lambda at: (-place[at][1], rows[at]["id"]))
        for at in group:
            assert rows[at]["representative"] == rows[best]["id"]
            similarity = float(known[at] @ known[best])
            assert rows[at]["similarity"] == pytest.approx(similarity, abs=1e-6)
            assert rows[at]["live"] == (at == best)
            if at != best:
                assert rows[at]["drop_reason"] == "semantic_duplicate"
                assert rows[at]["drop_detail"] == f"{rows[best]['id'].hex()}, similarity {similarity:.3f}"


def test_an_index_gives_the_same_verdicts_where_its_recall_is_full(embedded, clustered):
    vectors = [clustered(150, centres=40, spread=0.2, seed=part) for part in range(2)]
    exact = done(embedded("pool", vectors), threshold=0.93)
    result = done(embedded("pool", vectors), threshold=0.93, retrieval=RetrievalConfig(exact_up_to=10, probes=10_000))
    assert [row["representative"] for row in result] == [row["representative"] for row in exact]


CHAIN = [[np.cos(angle), np.sin(angle)] for angle in (0.0, 0.3, 0.6, 0.9)]
"""Each is similar to the next (0.955), and the first to the last hardly (0.62)."""


def test_a_chain_is_one_component_unless_it_is_ended(embedded):
    rows = done(embedded("pool", [CHAIN]), threshold=0.95)
    assert [row["live"] for row in rows] == [False, False, False, True]
    rows = done(embedded("pool", [CHAIN]), threshold=0.95, min_similarity_to_kept=0.8)
    assert [row["live"] for row in rows] == [True, False, False, True]
    assert rows[0]["representative"] == rows[0]["id"]
    assert rows[0]["similarity"] == pytest.approx(1.0, abs=1e-3)


def test_nothing_above_the_threshold_drops_nothing(embedded, clustered):
    rows = done(embedded("pool", [clustered(30)]), threshold=1.0)
    assert all(row["live"] and row["representative"] == row["id"] for row in rows)


def test_a_changed_threshold_leaves_the_neighbours_alone(embedded, clustered):
    pool = embedded("pool", [clustered(30)])
    done(pool, threshold=0.95)
    before = pool.footer("embedding_knn", 0)
    assert not work_of(pool, SemanticDedupConfig(enabled=True, threshold=0.9)).is_current()
    done(pool, threshold=0.9)
    assert pool.footer("embedding_knn", 0) == before
