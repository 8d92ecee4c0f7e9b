"""The inverted file finds what exact search finds, and a pair is as similar whichever of them found it."""

import numpy as np
import pytest

from curation.stages.index import Searcher, build_index, similarities_of


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(200, 32))
    found = (centres[rng.integers(0, 200, 4000)] + 0.3 * rng.normal(size=(4000, 32))).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("compressed", [False, True])
def test_an_index_finds_nearly_all_true_neighbours_at_their_own_similarities(vectors, compressed):
    searcher = Searcher(vectors, build_index(vectors, compressed=compressed, seed=0), probes=16)
    similar, rows = searcher.search(vectors[:200], 10)
    truth = np.argsort(-(vectors[:200] @ vectors.T), axis=1, kind="stable")[:, :10]
    recall = np.mean([np.isin(true, found).mean() for true, found in zip(truth, rows, strict=True)])
    assert recall > (0.85 if compressed else 0.95)
    np.testing.assert_allclose(similar, np.einsum("qd,qkd->qk", vectors[:200], vectors[rows]), atol=1e-6)
    assert (np.diff(similar, axis=1) <= 0).all()


def test_an_index_is_the_same_each_time_it_is_built(vectors):
    one, two = (Searcher(vectors, build_index(vectors, compressed=False, seed=3), probes=4) for _ in range(2))
    for first, second in zip(one.search(vectors, 5), two.search(vectors, 5), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_search_for_more_than_there_is_gives_all(vectors):
    similar, rows = Searcher(vectors[:3]).search(vectors[:2], 10)
    assert rows.shape == similar.shape == (2, 3)
    assert sorted(rows[0].tolist()) == [0, 1, 2]


def test_a_pair_is_as_similar_in_either_order(vectors):
    rng = np.random.default_rng(1)
    one, two = rng.integers(0, 4000, (2, 500))
    np.testing.assert_array_equal(
        similarities_of(vectors, vectors, one, two), similarities_of(vectors, vectors, two, one, step=7)
    )
