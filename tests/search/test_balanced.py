"""Balanced sampling: shares against a one-by-one independent implementation, and long tails made even."""

import numpy as np
import pytest

from curation.search.balanced import balanced, water_fill
from curation.search.hierarchical import Growth, Points, Rounds, grow, parents
from curation.search.kmeans import kmeans
from curation.search.partition import KMeansPartition
from curation.search.worker_group import LocalGroup


def one_by_one(sizes, total):
    """How many members hold each number, when every image in turn goes to one that has fewest and can take more."""
    given = [0] * len(sizes)
    for _ in range(min(total, sum(sizes))):
        open_ = [at for at, size in enumerate(sizes) if given[at] < size]
        given[min(open_, key=lambda at: given[at])] += 1
    return given


@pytest.mark.parametrize("seed", range(60))
def test_shares_are_those_of_giving_images_out_one_by_one(seed):
    rng = np.random.default_rng(seed)
    count, groups = int(rng.integers(1, 40)), int(rng.integers(1, 5))
    sizes = rng.choice([0, 1, 2, 7, 30, 200], count)
    of = rng.integers(0, groups, count)
    totals = rng.integers(0, 300, groups)
    shares = water_fill(sizes, of, totals, rng)
    assert (shares <= sizes).all()
    for group in range(groups):
        here = np.flatnonzero(of == group)
        expected = one_by_one(sizes[here].tolist(), int(totals[group]))
        assert sorted(shares[here].tolist()) == sorted(expected)  # who gets the remainder is left to chance
        level = max(expected, default=0) - 1
        small = sizes[here] <= level
        np.testing.assert_array_equal(shares[here][small], sizes[here][small])


def test_a_remainder_goes_to_different_clusters_for_different_seeds_and_to_all_of_them_in_the_end():
    sizes, groups, totals = np.full(10, 50), np.zeros(10, int), np.array([23])
    got = [water_fill(sizes, groups, totals, np.random.default_rng(seed)) for seed in range(60)]
    assert {tuple(sorted(shares.tolist())) for shares in got} == {(2,) * 7 + (3,) * 3}
    assert (sum(shares > 2 for shares in got) > 0).all()


def test_numbers_far_beyond_an_images_count_are_shared_without_loss():
    sizes = np.array([10**10, 3, 10**9, 0])
    shares = water_fill(sizes, np.zeros(4, int), np.array([10**9 * 3]), np.random.default_rng(0))
    assert shares.tolist() == [10**9 * 2 - 3, 3, 10**9, 0]


def test_a_hierarchy_shares_among_tops_first_then_among_what_is_in_them():
    # Top 0 holds the clusters 0 (100 images) and 1 (100), top 1 holds cluster 2 (100), top 2 holds cluster 3 (5).
    paths = np.array([[0, 0]] * 100 + [[0, 1]] * 100 + [[1, 2]] * 100 + [[2, 3]] * 5, np.int32)
    chosen = balanced(paths, 65, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == 65
    assert np.bincount(paths[chosen, 1]).tolist() == [15, 15, 30, 5]
    assert np.bincount(paths[chosen, 0]).tolist() == [30, 30, 5]


def test_the_nearest_images_are_chosen_where_similarities_are_given_and_of_equal_ones_the_first():
    paths = np.zeros((6, 1), np.int32)
    near = np.array([0.2, 0.9, 0.5, 0.9, 0.5, 0.1], np.float32)
    assert balanced(paths, 3, np.random.default_rng(0), near).tolist() == [1, 2, 3]


def test_more_than_there_are_is_all_and_none_is_none():
    paths = np.array([[1], [4], [4]], np.int32)
    assert balanced(paths, 10, np.random.default_rng(0)).tolist() == [0, 1, 2]
    assert balanced(paths[:0], 10, np.random.default_rng(0)).tolist() == []


def evenness(concepts, chosen, count):
    """Entropy of the true concepts among chosen images, as a share of the highest there can be."""
    shares = np.bincount(concepts[chosen], minlength=count) / len(chosen)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum() / np.log(count))


def test_concepts_of_very_uneven_sizes_are_evened_out_more_by_each_part_of_the_method():
    rng = np.random.default_rng(0)
    concepts_count = 100
    sizes = 1 / np.arange(1, concepts_count + 1) ** 1.2
    concepts = rng.choice(concepts_count, 6000, p=sizes / sizes.sum())
    rows = rng.normal(size=(concepts_count, 24))[concepts] + 0.4 * rng.normal(size=(6000, 24))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    flat = kmeans(rows, 200, 10, np.random.default_rng(1)).centroids

    def chosen(counts, rounds):
        group = LocalGroup([Points(rows)], 1)
        settings = Rounds(rounds, iterations=10)
        growth = grow(group, len(rows), Growth((flat,)), counts, settings, lambda *at: np.random.default_rng(at))
        share = KMeansPartition(rows, bounds=False)
        share.update(growth.centroids[0])
        path = [share.clusters]
        for level in parents(growth):
            path.insert(0, level[path[0]])
        return balanced(np.stack(path, axis=1), 600, np.random.default_rng(2))

    result = {
        "random": evenness(concepts, rng.choice(6000, 600, replace=False), concepts_count),
        "flat": evenness(concepts, chosen((200,), 0), concepts_count),
        "levels": evenness(concepts, chosen((200, 40), 0), concepts_count),
        "levels, resampled": evenness(concepts, chosen((200, 40), 3), concepts_count),
    }
    assert result["random"] + 0.1 < result["flat"]
    assert result["flat"] + 0.03 < result["levels"]
    assert result["levels"] + 0.01 < result["levels, resampled"], result
