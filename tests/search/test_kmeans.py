"""k-means: exact, and the same to the bit for any number of partitions, threads, and interruptions."""

import itertools

import faiss
import numpy as np
import pytest
from sklearn.cluster import KMeans

from curation.search import partition as partition_module
from curation.search.kmeans import Held, Progress, fit, kmeans, one_in, unit
from curation.search.partition import KMeansPartition
from curation.search.seeding import plus_plus
from curation.search.worker_group import LocalGroup, deal


def mixture(rows, dim=24, components=12, spread=0.35, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(components, dim))
    vectors = centres[rng.integers(0, components, rows)] + spread * rng.normal(size=(rows, dim)) * dim**0.5 / 4
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def directions(count, dim=24, seed=1):
    rows = np.random.default_rng(seed).normal(size=(count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def nearest(rows, centroids):
    """The first of the nearest, in float64."""
    return np.round(rows.astype(np.float64) @ centroids.astype(np.float64).T, 12).argmax(axis=1)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks and widths small enough that a small test goes through all of them."""
    monkeypatch.setattr(partition_module, "BLOCK", 64)
    monkeypatch.setattr(partition_module, "WIDTHS", (2, 4, 8))


@pytest.mark.parametrize("step", [0.0, 0.003, 0.03, 0.3])
@pytest.mark.parametrize("moving", [1.0, 0.1])
def test_bounds_leave_out_products_and_nothing_else(small_blocks, step, moving):
    rows, centroids = mixture(1000), directions(40)
    share = KMeansPartition(rows)
    sums, counts = np.zeros(centroids.shape), np.zeros(40, int)
    rng = np.random.default_rng(2)
    multiplied = 0
    for _ in range(8):
        change = share.update(centroids)
        sums, counts, multiplied = sums + change.sums, counts + change.counts, multiplied + change.multiplied
        expected = nearest(rows, centroids)
        np.testing.assert_array_equal(share.clusters, expected)
        known = np.einsum("nd,nd->n", rows.astype(np.float64), centroids[expected].astype(np.float64))
        assert (share.similarities <= known + 1e-5).all()  # a lower bound, where it was not looked at
        np.testing.assert_array_equal(counts, np.bincount(expected, minlength=40))
        for cluster in range(40):  # exact: equal, not close
            np.testing.assert_array_equal(sums[cluster], rows[expected == cluster].astype(np.float64).sum(axis=0))
        moves = step * rng.normal(size=centroids.shape) * (rng.random((40, 1)) < moving)
        centroids = unit(centroids + moves, otherwise=centroids)
    if step <= 0.003:
        assert multiplied < 0.5 * 8 * 1000 * 40


def test_of_equal_centroids_the_first_is_taken_whatever_is_left_out(small_blocks):
    rows, centroids = mixture(500), directions(10)
    doubled = np.concatenate([centroids, centroids])
    share = KMeansPartition(rows)
    for _ in range(3):
        share.update(doubled)
        assert share.clusters.max() < 10
    np.testing.assert_array_equal(share.clusters, nearest(rows, centroids))


@pytest.mark.parametrize("partitions", [1, 2, 4])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("growing", [True, False])
def test_partitions_and_threads_change_no_bit(small_blocks, partitions, threads, growing):
    rows = mixture(1600)
    sizes = [400, 200, 280, 400, 120, 200]

    def centroids(partitions, threads):
        edges = np.cumsum([0, *sizes])
        held = [
            Held(rows[edges[parts[0]] : edges[parts[-1] + 1]], [sizes[part] for part in parts])
            for parts in deal(range(len(sizes)), partitions)
        ]
        return fit(LocalGroup(held, threads), len(rows), Progress(directions(16)), 6, growing=growing)

    one, other = centroids(1, 1), centroids(partitions, threads)
    assert other.centroids.tobytes() == one.centroids.tobytes()
    assert other.objectives == one.objectives


@pytest.mark.parametrize("growing", [True, False])
def test_an_interruption_at_any_iteration_changes_no_bit(small_blocks, growing):
    rows, saved = mixture(1500), []
    whole = fit(LocalGroup([Held(rows)], 1), 1500, Progress(directions(11)), 7, growing=growing, save=saved.append)
    assert [len(progress.objectives) for progress in saved] == list(range(1, len(saved) + 1))
    for progress in saved:
        again = Progress(progress.centroids, progress.objectives)
        again = fit(LocalGroup([Held(rows)], 1), 1500, again, 7, growing=growing)
        assert again.centroids.tobytes() == whole.centroids.tobytes()
        assert again.objectives == whole.objectives


def test_the_objective_never_falls_and_is_the_mean_similarity():
    rows = mixture(2000, spread=0.8)
    done = kmeans(rows, 30, 12, np.random.default_rng(0), growing=False)
    assert (np.diff(done.objectives) >= -1e-7).all()
    before = kmeans(rows, 30, 11, np.random.default_rng(0), growing=False).centroids
    similarity = (rows.astype(np.float64) @ before.T.astype(np.float64)).max(axis=1).mean()
    assert done.objectives[11] == pytest.approx(similarity, abs=1e-9)
    np.testing.assert_allclose(np.linalg.norm(done.centroids, axis=1), 1, atol=1e-6)


def test_it_is_no_worse_than_faiss_from_the_same_start_and_no_worse_than_scikit_learn():
    rows = mixture(1500)
    exact = rows.astype(np.float32)
    start = exact[:12] / np.linalg.norm(exact[:12], axis=1, keepdims=True)
    ours = fit(LocalGroup([Held(rows)], 1), 1500, Progress(start), 10, growing=False)
    theirs = faiss.Kmeans(24, 12, niter=10, spherical=True, min_points_per_centroid=1)
    theirs.train(exact, init_centroids=start)
    assert ours.objectives[-1] == pytest.approx(theirs.obj[-1] / 1500, rel=1e-3)
    sklearn = KMeans(12, n_init=1, init="random", max_iter=30, random_state=0).fit(exact).cluster_centers_
    sklearn /= np.linalg.norm(sklearn, axis=1, keepdims=True)
    result = kmeans(rows, 12, 30, np.random.default_rng(0)).centroids
    assert (exact @ result.T).max(axis=1).mean() >= 0.99 * (exact @ sklearn.T).max(axis=1).mean()


def test_empty_clusters_take_half_of_the_largest():
    rows = mixture(600, components=3, spread=0.2)
    far = -unit(rows.astype(np.float64).sum(axis=0, keepdims=True), otherwise=directions(1))
    start = np.concatenate([directions(3), far, far, far])
    share = KMeansPartition(rows)
    done = fit(LocalGroup([Held(rows)], 1), 600, Progress(start), 15, growing=False)
    share.update(done.centroids)
    assert np.bincount(share.clusters, minlength=6).min() > 0


@pytest.mark.parametrize("start", ["random", "k-means++"])
def test_as_many_clusters_as_rows_and_one_row_and_equal_rows(start):
    rng = np.random.default_rng
    rows = mixture(50)
    assert kmeans(rows, 50, 3, rng(0), start=start).objectives[-1] == pytest.approx(1, abs=1e-3)
    assert kmeans(rows[:1], 1, 2, rng(0), start=start).centroids.shape == (1, 24)
    same = kmeans(np.repeat(rows[:1], 30, axis=0), 4, 5, rng(0), start=start)
    assert np.isfinite(same.centroids).all()
    zeros = kmeans(np.zeros((10, 24), np.float16), 2, 3, rng(0), start=start)
    assert (zeros.objectives[-1], bool(np.isfinite(zeros.centroids).all())) == (0, True)


def test_far_first_centroids_find_every_component():
    rows = mixture(2000, components=15, spread=0.1)
    for seed in range(3):
        chosen = plus_plus(rows, 40, np.random.default_rng(seed))
        assert len(np.unique(chosen, axis=0)) == 40
        assert (rows.astype(np.float32) @ chosen.T).max(axis=1).min() > 0.9  # of one component; others are below 0.8


@pytest.mark.parametrize("iterations", [1, 2, 3, 5, 10, 20, 33])
def test_early_iterations_see_a_growing_share_of_the_rows(iterations):
    shares = [one_in(at, iterations, 10**9, 1000) for at in range(iterations)]
    assert all(before % after == 0 for before, after in itertools.pairwise(shares))
    assert shares[(iterations + 1) // 2 :] == [1] * (iterations // 2)
    assert {one_in(at, iterations, 1000, 100) for at in range(iterations)} == {1}
    assert {one_in(at, iterations, 10**9, 10, growing=False) for at in range(iterations)} == {1}


@pytest.mark.parametrize(("parts", "partitions"), [(0, 3), (1, 4), (5, 2), (7, 7), (10, 3)])
def test_parts_are_dealt_once_each_in_order(parts, partitions):
    dealt = deal(range(parts), partitions)
    assert [part for one in dealt for part in one] == list(range(parts))
    assert len(dealt) == max(1, min(partitions, parts))
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
