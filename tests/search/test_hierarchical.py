"""Hierarchical k-means with resampling: what is resampled, the same for any partitions, and continued after a stop."""

import numpy as np
import pytest

from curation.search import partition as partition_module
from curation.search.hierarchical import Growth, Points, Rounds, grow, parents, resample
from curation.search.kmeans import kmeans
from curation.search.worker_group import LocalGroup, deal

SIZES = [400, 200, 280, 0, 400, 120, 200]


def mixture(rows=1600, dim=16, seed=0):
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, 31)
    centres = rng.normal(size=(30, dim))
    vectors = centres[rng.choice(30, rows, p=weights / weights.sum())] + 0.5 * rng.normal(size=(rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def group_of(rows, partitions, threads=1):
    edges = np.cumsum([0, *SIZES]).tolist()
    dealt = deal(range(len(SIZES)), partitions)
    points = [
        Points(rows[edges[parts[0]] : edges[parts[-1] + 1]], [SIZES[part] for part in parts], edges[parts[0]])
        for parts in dealt
    ]
    return LocalGroup(points, threads)


def made(rows, partitions=1, growth=None, counts=(40, 12, 3), save=None, threads=1, rounds=2):
    first = kmeans(rows, counts[0], 5, np.random.default_rng(1)).centroids
    settings = Rounds(rounds, iterations=5)
    return grow(
        group_of(rows, partitions, threads),
        len(rows),
        growth or Growth((first,)),
        counts,
        settings,
        lambda *at: np.random.default_rng(at),
        save=save,
    )


def as_bytes(growth):
    return [result.tobytes() for result in growth.centroids]


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(partition_module, "BLOCK", 64)
    monkeypatch.setattr(partition_module, "WIDTHS", (2, 4, 8))


@pytest.mark.parametrize("partitions", [2, 4, 7])
def test_any_number_of_partitions_and_threads_gives_the_same_bits(small_blocks, partitions):
    rows = mixture()
    one = made(rows)
    assert [len(result) for result in one.centroids] == [40, 12, 3]
    assert as_bytes(made(rows, partitions, threads=2)) == as_bytes(one)


def test_the_nearest_rows_of_each_cluster_are_those_of_a_plain_sort(small_blocks):
    rows = mixture()
    rows[5] = rows[3]  # equally near, so that the order tells
    centroids = kmeans(rows, 40, 5, np.random.default_rng(1)).centroids
    scores = rows.astype(np.float64) @ centroids.astype(np.float64).T
    clusters = np.round(scores, 12).argmax(axis=1)
    own = np.round(scores[np.arange(len(rows)), clusters], 10)
    for most in (1, 7, 10_000):
        expected = [
            sorted(np.flatnonzero(clusters == cluster).tolist(), key=lambda row: (-own[row], row))[:most]
            for cluster in range(40)
        ]
        result = [
            answer.numbers.tolist() for answer in group_of(rows, 1).call("nearest", centroids, most)
        ]  # of one partition
        assert result == [sorted(row for rows_ in expected for row in rows_)]


def test_resampling_takes_half_of_an_average_cluster_and_makes_new_centroids_of_those_alone():
    rows = mixture()
    centroids = kmeans(rows, 40, 5, np.random.default_rng(1)).centroids
    asked = {}

    class Asked(LocalGroup):
        def call(self, method, *arguments):
            asked[method] = arguments
            return super().call(method, *arguments)

    group = Asked([Points(rows)], 1)
    result = resample(group, len(rows), centroids, Rounds(1, iterations=4), np.random.default_rng(0))
    assert asked["nearest"][1] == 20  # 1,600 rows of 40 clusters: 40 each, and half of it
    narrowed = asked["narrow"][0]
    assert len(narrowed) <= 800
    expected = kmeans(rows[narrowed], 40, 4, np.random.default_rng(0)).centroids  # the same rows, start and iterations
    np.testing.assert_array_equal(result, expected)


def test_clusters_that_hold_single_rows_leave_nothing_to_resample():
    rows = mixture(60)
    centroids = kmeans(rows, 50, 3, np.random.default_rng(1)).centroids
    again = resample(LocalGroup([Points(rows)], 1), 60, centroids, Rounds(1, nearest=1), np.random.default_rng(0))
    assert len(again) == 50
    doubled = np.concatenate([centroids[:25], centroids[:25]])  # half of them hold no row
    assert (
        resample(LocalGroup([Points(rows)], 1), 60, doubled, Rounds(1, nearest=1), np.random.default_rng(0)) is doubled
    )


class Stopped(Exception):  # noqa: N818, as it is no error
    pass


@pytest.mark.parametrize("after", [1, 2, 3, 5, 8])
def test_a_stop_after_any_round_is_continued_to_the_same_hierarchy_and_repeats_none(after):
    rows, saved = mixture(), []
    undisturbed = made(rows)

    def stop(growth):
        saved.append(growth)
        if len(saved) == after:
            raise Stopped

    with pytest.raises(Stopped):
        made(rows, save=stop)
    rest = []
    assert as_bytes(made(rows, growth=saved[-1], save=rest.append)) == as_bytes(undisturbed)
    assert len(saved) + len(rest) == 8  # 3 levels of 2 rounds, and 2 first k-means
    for growth in rest:
        for old, new in zip(saved[-1].centroids[:-1], growth.centroids, strict=False):
            assert new is old


def test_each_cluster_is_in_the_nearest_cluster_of_the_level_above():
    growth = made(mixture())
    result = parents(growth)
    assert [len(level) for level in result] == [40, 12]
    for lower, upper, level in zip(growth.centroids, growth.centroids[1:], result, strict=False):
        scores = lower.astype(np.float16).astype(np.float64) @ upper.astype(np.float64).T
        np.testing.assert_array_equal(level, np.round(scores, 12).argmax(axis=1))
