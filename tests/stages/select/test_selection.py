"""What seeds bring in: caps, priorities, and the paper's arithmetic at a small scale."""

import numpy as np
import pytest

from curation.config import SeedConfig
from curation.engine.work import GlobalWork
from curation.formats.row import ListedRow, tables_of
from curation.run.parts import Collection, random_for
from curation.run.store import Store
from curation.stages.ingest.list import List
from curation.stages.select.picks import picks_by_cluster


def pick(seeds, pool, similarities=None, **settings):
    config = SeedConfig(name="s", data="d", retrieve="cluster", **settings)
    rng = random_for(0, "selection", "s")
    near = np.zeros(len(pool)) if similarities is None else similarities
    return picks_by_cluster(
        np.array(seeds, np.int32), np.array(pool, np.int32), config, rng, np.array(near, np.float32)
    )


def test_only_clusters_with_more_seed_images_than_the_minimum_are_used():
    pool = [0, 1, 2, 0, 1, 2]
    positions, retrieved = pick([0, 0, 0, 0, 1, 1, 1, 5, 5, 5, 5], pool)
    assert (sorted(positions.tolist()), retrieved) == ([0, 3], 2)
    positions, retrieved = pick([0, 1], pool, min_seed_images=0)
    assert (sorted(positions.tolist()), retrieved) == ([0, 1, 3, 4], 4)


def test_a_cluster_gives_what_it_has_and_no_more_than_its_share():
    pool = [0] * 100 + [1] * 7
    positions, retrieved = pick([0] * 4 + [1] * 4, pool, per_cluster=10)
    clusters = np.array(pool)[positions]
    assert retrieved == 17
    assert np.bincount(clusters).tolist() == [10, 7]
    assert len(set(positions.tolist())) == 17


def test_the_cap_holds_over_all_clusters_and_counts_before_it_are_reported():
    pool = np.repeat(np.arange(5), 20)
    positions, retrieved = pick(np.repeat(np.arange(5), 4), pool, per_cluster=10, cap=12)
    assert (len(positions), retrieved) == (12, 50)
    again, _ = pick(np.repeat(np.arange(5), 4), pool, per_cluster=10, cap=12)
    np.testing.assert_array_equal(positions, again)


def test_the_nearest_images_of_each_cluster_are_taken_and_of_equal_ones_the_first():
    pool, near = [0, 1, 0, 1, 0, 1, 0], [0.1, 0.5, 0.9, 0.5, 0.3, 0.5, 0.9]
    positions, retrieved = pick([0] * 4 + [1] * 4, pool, near, per_cluster=2, picks="nearest")
    assert (positions.tolist(), retrieved) == ([2, 6, 1, 3], 4)


@pytest.mark.parametrize(("used", "cap", "kept"), [(101, 1000, 1000), (96, 1000, 960), (83, 1000, 830)])
def test_the_papers_arithmetic_holds(used, cap, kept):
    """Table 15 in thousandths: sets retrieve a multiple of the share per cluster, and are cut at the cap."""
    pool = np.repeat(np.arange(120), 15)
    positions, retrieved = pick(np.repeat(np.arange(used), 4), pool, per_cluster=10, cap=cap)
    assert (retrieved, len(positions)) == (used * 10, kept)


def test_no_seed_or_no_pool_picks_nothing():
    assert pick([], [0, 1])[1] == 0
    assert pick([0] * 4, [])[1] == 0


def rows(*names):
    return tables_of(ListedRow(key=name, source="d", path=name, tar=f"/d/{name}", offset=0, length=1) for name in names)


@pytest.fixture
def collection(tmp_path):
    return Collection(Store(str(tmp_path)), "pool")


def append_parts(collection, tables, most, seed):
    GlobalWork(collection, List(collection, tables, most, seed)).run()


def keys(collection, part):
    return collection.read("list", part, ["key"])["key"].to_pylist()


def test_parts_are_slices_of_a_shuffle_that_depends_on_seed_and_names_alone(collection, tmp_path):
    names = [f"{number}.jpg" for number in range(25)]
    append_parts(collection, rows(*names), 10, seed=0)
    assert [len(keys(collection, part)) for part in collection.parts("list")] == [10, 10, 5]
    shuffled = [key for part in range(3) for key in keys(collection, part)]
    assert sorted(shuffled) == sorted(names)
    assert shuffled != names
    other = Collection(Store(str(tmp_path / "other")), "pool")
    append_parts(other, rows(*reversed(names)), 10, seed=0)
    assert [key for part in range(3) for key in keys(other, part)] == shuffled
    third = Collection(Store(str(tmp_path / "third")), "pool")
    append_parts(third, rows(*names), 10, seed=1)
    assert [key for part in range(3) for key in keys(third, part)] != shuffled


def test_new_rows_come_behind_and_a_lost_part_is_made_again_in_its_place(collection):
    names = [f"{number}.jpg" for number in range(25)]
    append_parts(collection, rows(*names), 10, seed=0)
    lost = keys(collection, 1)
    collection.remove("list", 1)
    append_parts(collection, rows(*names), 10, seed=0)
    assert collection.parts("list") == [0, 1, 2]
    assert keys(collection, 1) == lost
    append_parts(collection, rows("x", "y"), 10, seed=0)
    assert collection.parts("list") == [0, 1, 2, 3]
    assert set(keys(collection, 3)) == {"x", "y"}
