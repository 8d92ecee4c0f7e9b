"""The hierarchy over a pool's parts: the same for any worker group, continued after a stop, paths that follow it."""

import numpy as np
import pyarrow as pa
import pytest

from curation.config import ClusterConfig, Config, HierarchyConfig, parse_config
from curation.engine.contract import Output, Place, StageSpec, commit_output
from curation.engine.work import FitWork
from curation.errors import ConfigError, RunError
from curation.run.parts import Collection
from curation.run.store import Store
from curation.stages.concepts import hierarchy as hierarchy_module
from curation.stages.concepts.hierarchy import FitHierarchy, Hierarchy
from tests.engine.running import run_fit

CLUSTERS = ClusterConfig(count=24, iterations=4)


def commit(pool, part, vectors):
    vectors = np.asarray(vectors, np.float16)
    live = np.arange(len(vectors)) % 7 != 3
    spec = StageSpec("embeddings", 1, None, {}, pa.schema([("vector", pa.list_(pa.float16(), 16))]), {"model": "made"})
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors[live].ravel()), 16)
    commit_output(spec, pool, part, live, Output({"vector": column}), digest=f"part {part}")


def rows(count, seed):
    rng = np.random.default_rng(seed)
    made = np.random.default_rng(9).normal(size=(9, 16))[rng.integers(0, 9, count)] + 0.4 * rng.normal(size=(count, 16))
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.fixture
def pool(tmp_path):
    pool = Collection(Store(str(tmp_path)), "pool")
    for part, size in enumerate((120, 80, 100, 1, 90)):
        commit(pool, part, rows(size, seed=part))
    return pool


def artifact(pool, partitions=1, settings=HierarchyConfig(levels=[24, 6, 2], resamplings=2), clusters=CLUSTERS):  # noqa: B008
    return run_fit(FitHierarchy(pool, settings, clusters, 0), partitions)


def as_bytes(fit):
    return {name: array.tobytes() for name, array in fit.artifact.need().items()}


@pytest.mark.parametrize("sample", [256, 8])
def test_one_two_and_four_partitions_give_the_same_hierarchy(pool, sample):
    clusters = CLUSTERS.model_copy(update={"sample_per_cluster": sample})
    result = []
    for partitions in (1, 2, 4):
        result.append(as_bytes(artifact(pool, partitions, clusters=clusters)))
        for name in pool.store.names("artifacts"):
            pool.store.remove(f"artifacts/{name}")
    assert result[0] == result[1] == result[2]
    assert result[0].keys() == {"centroids_1", "centroids_2", "centroids_3", "parents_1", "parents_2"}


def test_levels_that_are_not_named_have_a_tenth_of_those_below_down_to_the_last_that_has_two(pool):
    arrays = artifact(pool, settings=HierarchyConfig(resamplings=0), clusters=ClusterConfig(count=120)).artifact.need()
    assert [len(arrays[f"centroids_{level}"]) for level in (1, 2)] == [120, 12]
    assert "centroids_3" not in arrays


def test_the_lowest_level_begins_with_the_centroids_of_the_clusters_where_it_is_the_same(pool):
    artifact(pool)
    assert pool.store.names("artifacts") == ["centroids.safetensors", "hierarchy.safetensors"]
    pool.store.remove("artifacts/centroids.safetensors")
    artifact(pool, settings=HierarchyConfig(levels=[30, 5], resamplings=1))
    assert pool.store.names("artifacts") == ["hierarchy.safetensors"]  # and what it began with instead is gone again


def test_the_path_of_an_image_is_its_nearest_cluster_and_what_that_is_in(pool):
    fit = artifact(pool)
    arrays = fit.artifact.need()
    stage = Hierarchy(fit.artifact)
    stage.setup()
    for part in (0, 3):
        table = pool.read("embeddings", part, ["vector", "live"])
        output = stage.process(table.filter(table["live"]).select(["vector"]), Place(pool, part, 0))
        vectors = np.array(table.filter(table["live"])["vector"].to_pylist(), np.float64)
        scores = vectors @ arrays["centroids_1"].astype(np.float64).T
        for path, similarity, row in zip(
            *(column.to_pylist() for column in output.columns.values()), scores, strict=True
        ):
            lowest = int(np.round(row, 12).argmax())
            middle = int(arrays["parents_1"][lowest])
            assert path == [int(arrays["parents_2"][middle]), middle, lowest]
            assert similarity == pytest.approx(row[lowest], abs=1e-5)


class Stopped(Exception):  # noqa: N818, as it is no error
    pass


@pytest.mark.parametrize("after", [1, 3, 6])
def test_a_stop_is_continued_from_the_last_round_to_the_same_hierarchy(pool, monkeypatch, after):
    undisturbed = as_bytes(artifact(pool))
    pool.store.remove("artifacts/hierarchy.safetensors")
    save, saved = FitHierarchy._save, []

    def stopping(self, growth):
        save(self, growth)
        saved.append(growth)
        if len(saved) == after:
            raise Stopped

    monkeypatch.setattr(FitHierarchy, "_save", stopping)
    with pytest.raises(Stopped):
        artifact(pool)
    begun = []
    grow = hierarchy_module.grow
    monkeypatch.setattr(
        hierarchy_module,
        "grow",
        lambda group, rows, growth, *a, **b: grow(group, rows, begun.append(growth) or growth, *a, **b),
    )
    assert as_bytes(artifact(pool, partitions=2)) == undisturbed
    assert len(begun[0].centroids) == len(saved[after - 1].centroids)
    assert begun[0].resampled == saved[after - 1].resampled
    for old, new in zip(saved[after - 1].centroids, begun[0].centroids, strict=True):
        np.testing.assert_array_equal(old, new)
    assert len(saved) == 8  # 3 levels of 2 rounds and 2 first k-means: none was made twice
    assert "hierarchy_so_far.safetensors" not in pool.store.names("artifacts")


def test_a_damaged_record_of_progress_is_made_again(pool):
    undisturbed = as_bytes(artifact(pool))
    pool.store.remove("artifacts/hierarchy.safetensors")
    pool.store.write_bytes("artifacts/hierarchy_so_far.safetensors", b"\xff" * 100)
    assert as_bytes(artifact(pool)) == undisturbed


def test_a_changed_setting_makes_another_hierarchy(pool):
    fit = artifact(pool)
    assert FitWork(fit).is_current()
    for settings in (HierarchyConfig(levels=[24, 6]), HierarchyConfig(levels=[24, 6, 2], resamplings=3)):
        assert not FitWork(FitHierarchy(pool, settings, CLUSTERS, 0)).is_current()
    assert not FitWork(FitHierarchy(pool, HierarchyConfig(levels=[24, 6, 2], resamplings=2), CLUSTERS, 1)).is_current()


def test_more_clusters_than_images_is_one_line(pool):
    fit = FitHierarchy(pool, HierarchyConfig(levels=[1000, 10]), CLUSTERS, 0)
    with pytest.raises(
        ConfigError, match=r"^hierarchy\.levels: 1000 clusters cannot be made of 336 images; begin with 336 or less$"
    ):
        fit.partitions(1)
    assert pool.store.names("artifacts") == []


def test_vectors_of_another_dimension_are_named_with_their_file(pool):
    fit = artifact(pool)
    stage = Hierarchy(fit.artifact)
    stage.setup()
    column = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(8, np.float16)), 8)
    with pytest.raises(
        RunError, match=r"embeddings/part-00001\.parquet: vectors of 8 dimensions, the centroids have 16; "
    ):
        stage.process(pa.table({"vector": pa.chunked_array([column])}), Place(pool, 1, 0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hierarchy": {"levels": [10, 10]}}, "hierarchy.levels: [10, 10] must name at least one level, each with"),
        ({"hierarchy": {"levels": [5, 10]}}, "hierarchy.levels: [5, 10] must name at least one level, each with"),
        ({"hierarchy": {"levels": []}}, "hierarchy.levels: [] must name at least one level"),
        ({"selection": {"mode": "both"}}, "selection.size: missing; say how many images selection.mode: both is to"),
        ({"selection": {"mode": "even"}}, "selection.mode: input should be 'retrieval', 'hierarchical' or 'both'"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_one_line(values, message):
    with pytest.raises(ConfigError) as caught:
        parse_config({"pool": ["p"], "seeds": [], **values})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_default_is_retrieval_alone():
    config = parse_config({"pool": ["p"], "seeds": []})
    assert isinstance(config, Config)
    assert (config.selection.mode, config.selection.retrieves, config.selection.balances) == ("retrieval", True, False)
