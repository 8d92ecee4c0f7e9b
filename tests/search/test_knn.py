"""The inverted file finds what exact search finds, and a pair is as similar whichever of them found it."""

import faiss
import numpy as np
import pytest

from curation.search import knn as index_module
from curation.search.knn import Searcher, build_index, similarities_of


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(200, 32))
    result = (centres[rng.integers(0, 200, 4000)] + 0.3 * rng.normal(size=(4000, 32))).astype(np.float32)
    return result / np.linalg.norm(result, axis=1, keepdims=True)


@pytest.mark.parametrize("compressed", [False, True])
def test_an_index_finds_nearly_all_true_neighbours_at_their_own_similarities(vectors, compressed):
    searcher = Searcher(vectors, build_index(vectors, compressed=compressed, seed=0), probes=16)
    similar, rows = searcher.search(vectors[:200], 10)
    truth = np.argsort(-(vectors[:200] @ vectors.T), axis=1, kind="stable")[:, :10]
    recall = np.mean([np.isin(true, result).mean() for true, result in zip(truth, rows, strict=True)])
    assert recall > 0.95
    np.testing.assert_allclose(similar, np.einsum("qd,qkd->qk", vectors[:200], vectors[rows]), atol=1e-6)
    assert (np.diff(similar, axis=1) <= 0).all()


def test_an_index_is_the_same_each_time_it_is_built(vectors):
    one, two = (Searcher(vectors, build_index(vectors, compressed=False, seed=3), probes=4) for _ in range(2))
    for first, second in zip(one.search(vectors, 5), two.search(vectors, 5), strict=True):
        np.testing.assert_array_equal(first, second)


def test_an_index_is_the_same_for_any_number_of_threads(vectors):
    for compressed in (False, True):
        one, two = (build_index(vectors, compressed=compressed, seed=3, threads=threads) for threads in (1, 3))
        assert faiss.serialize_index(one).tobytes() == faiss.serialize_index(two).tobytes()


def test_every_vector_is_in_the_list_of_its_nearest_centroid(vectors):
    index = build_index(vectors, compressed=False, seed=0)
    centroids = index.quantizer.reconstruct_n(0, index.nlist)
    nearest = (vectors.astype(np.float16).astype(np.float64) @ centroids.astype(np.float64).T).argmax(axis=1)
    lists = [faiss.rev_swig_ptr(index.invlists.get_ids(at), index.invlists.list_size(at)) for at in range(index.nlist)]
    for at, rows in enumerate(lists):
        np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(nearest == at))


@pytest.mark.parametrize("half", [False, True])
def test_exact_search_in_blocks_finds_what_a_plain_comparison_finds(vectors, monkeypatch, half):
    base = vectors.astype(np.float16) if half else vectors
    monkeypatch.setattr(index_module, "BLOCK", 700)
    similar, rows = Searcher(base).search(base[:50], 9)
    wide = base.astype(np.float64)
    scores = wide[:50] @ wide.T
    np.testing.assert_array_equal(rows, np.argsort(-scores, axis=1, kind="stable")[:, :9])
    np.testing.assert_allclose(similar, np.sort(scores, axis=1)[:, ::-1][:, :9], atol=1e-6)


@pytest.mark.parametrize("dim", [7, 48, 384])
def test_a_pair_is_as_similar_to_the_bit_whether_it_was_searched_or_compared(dim):
    rng = np.random.default_rng(dim)
    base = rng.normal(size=(300, dim)).astype(np.float16)
    for rows in (base, base.astype(np.float32)):
        similar, result = Searcher(rows).search(rows[:40], 9)
        at = np.repeat(np.arange(40), 9)
        np.testing.assert_array_equal(similar.ravel(), similarities_of(rows, rows, at, result.ravel()))


def test_an_index_finds_no_more_than_is_in_the_lists_that_it_looks_at(vectors):
    similar, rows = Searcher(vectors, build_index(vectors, compressed=False, seed=0), probes=1).search(
        vectors[:5], 3000
    )
    assert rows.shape == (5, 3000)
    np.testing.assert_array_equal(rows < 0, similar == -2)
    assert (rows[:, 0] == np.arange(5)).all()
    assert (rows[:, -1] == -1).all()


def test_a_base_in_half_precision_gives_the_similarities_of_its_values_as_single(vectors):
    halves = vectors.astype(np.float16)
    for one, two in zip(
        Searcher(halves).search(halves[:70], 5), Searcher(halves.astype(np.float32)).search(halves[:70], 5), strict=True
    ):
        np.testing.assert_array_equal(one, two)


def test_of_images_that_are_the_same_the_first_are_found_however_many_they_are_and_however_they_are_compared(
    vectors, monkeypatch
):
    """A matrix product need not give equal rows equal values: which are among the best must not hang on it."""
    base = vectors.copy()
    crowd = np.sort(np.random.default_rng(5).choice(4000, 900, replace=False))
    base[crowd] = base[7]
    crowd = np.union1d(crowd, [7])
    pairs = np.divmod(np.arange(40 * 4000), 4000)
    scores = similarities_of(vectors[:40], base, *pairs).reshape(40, 4000)
    for block in (131_072, 999, 64):
        monkeypatch.setattr(index_module, "BLOCK", block)
        similar, rows = Searcher(base).search(np.concatenate([base[crowd[:3]], vectors[:40]]), 20)
        for at in range(3):
            np.testing.assert_array_equal(rows[at], crowd[:20])
            assert len(set(similar[at].tolist())) == 1
        np.testing.assert_array_equal(rows[3:], np.argsort(-scores, axis=1, kind="stable")[:, :20])


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
