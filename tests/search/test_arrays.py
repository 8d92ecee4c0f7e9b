"""Arrays of vectors without a run: neighbours, clusters, duplicates."""

import numpy as np
import pytest

from curation import dedup_vectors, kmeans, knn
from curation.errors import ConfigError


def directions(*degrees):
    """Vectors of the plane by their angles, each of another length."""
    turned = np.radians(degrees)
    lengths = 1 + np.arange(len(degrees), dtype=np.float64)
    return np.stack([np.cos(turned), np.sin(turned)], axis=1) * lengths[:, None]


def test_neighbours_are_by_cosine_similarity_the_most_similar_first():
    similarities, rows = knn(directions(0), directions(60, 10, 180, 0), 3)
    assert rows.tolist() == [[3, 1, 0]]
    assert (similarities.dtype, rows.dtype) == (np.float32, np.int64)
    np.testing.assert_allclose(similarities, [np.cos(np.radians([0, 10, 60]))], atol=1e-6)


def test_equal_neighbours_come_in_the_order_of_rows_and_no_more_than_there_are():
    similarities, rows = knn(np.array([[2.0, 0.0]]), np.array([[1, 0], [0, 1], [3, 0]]), 9)
    assert rows.tolist() == [[0, 2, 1]]
    assert similarities.tolist() == [[1, 1, 0]]


def test_kmeans_finds_clusters_that_lie_apart_whatever_the_order_of_rows_and_the_threads():
    vectors = directions(0, 90, 200, 4, 94, 204, 2, 92, 202)
    clusters = kmeans(vectors, 3, seed=1, init="k-means++")
    groups = [set(np.flatnonzero(clusters.assignments == number).tolist()) for number in range(3)]
    assert sorted(map(sorted, groups)) == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    np.testing.assert_allclose(np.linalg.norm(clusters.centroids, axis=1), 1, atol=1e-6)
    assert clusters.objective == pytest.approx((1 + 2 * np.cos(np.radians(2))) / 3, abs=1e-4)
    again = kmeans(vectors, 3, seed=1, init="k-means++", threads=2)
    assert again.centroids.tobytes() == clusters.centroids.tobytes()
    assert (again.assignments.tolist(), again.objective) == (clusters.assignments.tolist(), clusters.objective)


def test_of_duplicates_the_first_is_kept_and_links_are_followed_over_several():
    # 0, 10 and 20 degrees are a chain: its ends are less similar than the threshold.
    assert dedup_vectors(directions(0, 90, 10, 20, 180), np.cos(np.radians(11))).tolist() == [0, 1, 0, 0, 4]


def test_of_duplicates_the_one_with_the_smallest_rank_is_kept():
    kept = dedup_vectors(directions(0, 90, 10, 20, 180), np.cos(np.radians(11)), rank=[3, 0, 1, 2, 0])
    assert kept.tolist() == [2, 1, 2, 2, 4]


def test_more_equal_vectors_than_neighbours_are_one_group():
    kept = dedup_vectors(np.repeat(directions(0, 90), 100, axis=0), 0.99, neighbours=3)
    assert kept.tolist() == [0] * 100 + [100] * 100


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: knn([[1.0, 0.0]], [[1.0, 0.0, 0.0]], 1), "queries: have 2 dimensions, base has 3; give the same"),
        (lambda: knn([[1.0, 0.0]], [[1.0, 0.0]], 0), "k: 0 is too few; give at least 1"),
        (lambda: knn([1.0, 0.0], [[1.0, 0.0]], 1), "queries: is float64 of shape (2,); give (N, D) numbers"),
        (lambda: kmeans(np.eye(3), 4), "k: 4 clusters cannot be made of 3 vectors; ask for fewer"),
        (lambda: dedup_vectors(np.eye(3), 1.5), "threshold: 1.5 is no cosine similarity; give a number from -1 to 1"),
        (
            lambda: dedup_vectors([[0.0, 0.0], [1.0, 0.0]], 0.5),
            "vectors: row 0 holds NaN, infinity or zeros alone; leave such rows out",
        ),
        (
            lambda: dedup_vectors(np.eye(3), 0.5, rank=[1, 2]),
            "rank: is of shape (2,) for 3 vectors; give one number for each",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_the_argument(call, message):
    with pytest.raises(ConfigError) as raised:
        call()
    assert str(raised.value) == message
