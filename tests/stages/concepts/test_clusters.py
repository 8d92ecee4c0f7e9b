"""k-means over a pool's parts: the same centroids for any worker group, continued after a stop, and damage named."""

import sys

import numpy as np
import pyarrow as pa
import pytest

from curation.config import ClusterConfig, RunnerConfig
from curation.engine.contract import Output, Place, StageSpec, commit_output
from curation.engine.runner import open_runner
from curation.engine.work import FitWork
from curation.errors import ConfigError, RunError
from curation.run.parts import Collection
from curation.run.store import Store
from curation.stages.concepts.clusters import Clusters, FitCentroids
from tests.engine.running import run_fit


def commit(pool, part, vectors, live=None):
    """A part of embeddings, in which rows may be dropped."""
    vectors = np.asarray(vectors, np.float16)
    live = np.ones(len(vectors), bool) if live is None else np.asarray(live)
    kind = pa.list_(pa.float16(), vectors.shape[1])
    spec = StageSpec("embeddings", 1, None, {}, pa.schema([("vector", kind)]), {"model": "made"})
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors[live].ravel()), vectors.shape[1])
    commit_output(spec, pool, part, live, Output({"vector": column}), digest=f"part {part}")


def rows(count, dim=16, seed=0):
    rng = np.random.default_rng(seed)
    made = rng.normal(size=(5, dim))[rng.integers(0, 5, count)] + 0.5 * rng.normal(size=(count, dim))
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.fixture
def pool(tmp_path):
    pool = Collection(Store(str(tmp_path)), "pool")
    for part, size in enumerate((120, 80, 100, 1, 90)):
        commit(pool, part, rows(size, seed=part), np.arange(size) % 7 != 3)
    return pool


def centroids(pool, partitions=1, settings=ClusterConfig(count=12, iterations=6)):  # noqa: B008, as it never changes
    fit = run_fit(FitCentroids(pool, settings, 0), partitions)
    arrays = fit.artifact.need()
    pool.store.remove(fit.artifact.file)
    return {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("init", ["random", "k-means++"])
@pytest.mark.parametrize("sample", [256, 8])
def test_one_two_and_four_partitions_give_the_same_centroids(pool, init, sample):
    settings = ClusterConfig(count=12, iterations=6, init=init, sample_per_cluster=sample)
    one = centroids(pool, 1, settings)
    assert centroids(pool, 2, settings) == one
    assert centroids(pool, 4, settings) == one
    assert len(one["objectives"]) <= 6 * 8


class Stopped(Exception):  # noqa: N818, as it is no error
    pass


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_stop_after_any_iteration_is_continued_to_the_same_centroids(pool, monkeypatch, after):
    undisturbed = centroids(pool)
    settings = ClusterConfig(count=12, iterations=6)
    fit = FitCentroids(pool, settings, 0)
    keep = fit._save_progress

    def stop(progress):
        keep(progress)
        if len(progress.objectives) == after:
            raise Stopped

    monkeypatch.setattr(fit, "_save_progress", stop)
    with pytest.raises(Stopped):
        run_fit(fit, 2)
    assert pool.store.names("artifacts") == ["centroids_so_far.safetensors"]
    assert not FitWork(fit).is_current()
    reported = []
    again = FitCentroids(pool, settings, 0)
    monkeypatch.setattr(again, "_save_progress", lambda progress: reported.append(len(progress.objectives)))
    run_fit(again, 4)
    assert reported[0] == after + 1
    assert pool.store.names("artifacts") == ["centroids.safetensors"]
    assert {name: array.tobytes() for name, array in again.artifact.need().items()} == undisturbed


def test_what_was_begun_with_other_settings_is_not_continued(pool):
    other = FitCentroids(pool, ClusterConfig(count=3), 0)
    other._partial.save({"centroids": np.eye(3, 16, dtype=np.float32), "objectives": np.array([0.5])})
    assert FitCentroids(pool, ClusterConfig(count=12), 0)._stored() is None
    pool.store.write_bytes(other._partial.file, b"damaged")
    assert other._stored() is None


def test_every_image_is_given_its_nearest_centroid(pool):
    fit = run_fit(FitCentroids(pool, ClusterConfig(count=12, iterations=6), 0))
    stage = Clusters(fit.artifact)
    stage.setup()
    table = pool.read("embeddings", 0, ["vector", "live"])
    live = table.filter(table["live"]).select(["vector"])
    output = stage.process(live, Place(pool, 0, 0))
    vectors = np.array(live["vector"].to_pylist(), np.float64)
    scores = vectors @ fit.artifact.need()["centroids"].T.astype(np.float64)
    np.testing.assert_array_equal(output.columns["cluster"], scores.argmax(axis=1))
    np.testing.assert_allclose(output.columns["cluster_similarity"], scores.max(axis=1), atol=1e-5)


def damaged(pool, part, change):
    vectors = rows(50, seed=9)
    commit(pool, part, change(vectors))


def test_vectors_that_are_not_finite_are_named_with_their_file(pool):
    def spoil(vectors):
        vectors[7, 3] = np.nan
        vectors[9, 0] = np.inf
        return vectors

    damaged(pool, 2, spoil)
    fit = FitCentroids(pool, ClusterConfig(count=5), 0)
    with pytest.raises(
        RunError, match=r"part-00002\.parquet: 2 of 50 vectors hold NaN or infinity, the first at live im"
    ):
        run_fit(fit, 2)
    assert pool.store.names("artifacts") == []


def test_vectors_of_another_dimension_are_named_with_their_file(pool):
    fit = run_fit(FitCentroids(pool, ClusterConfig(count=5), 0))
    damaged(pool, 2, lambda vectors: vectors[:, :8])
    stage = Clusters(fit.artifact)
    stage.setup()
    with pytest.raises(RunError, match=r"part-00002\.parquet: vectors of 8 dimensions, the centroids have 16; "):
        stage.process(pool.read("embeddings", 2, ["vector"]), Place(pool, 2, 0))
    again = FitCentroids(pool, ClusterConfig(count=5), 0)
    with pytest.raises(RunError, match=r"part-00002\.parquet: vectors of 8 dimensions, those of other parts have 16; "):
        run_fit(again)


def test_more_clusters_than_images_is_one_line(pool):
    fit = FitCentroids(pool, ClusterConfig(count=1000), 0)
    with pytest.raises(
        ConfigError, match=r"clusters\.count: 1000 clusters cannot be made of 336 images; set it to 336 "
    ):
        fit.partitions(1)
    assert pool.store.names("artifacts") == []


@pytest.mark.slow
def test_a_worker_group_on_ray_gives_the_same_centroids_and_a_users_error_comes_through(pool, tmp_path):
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    one = centroids(pool)
    fit = FitCentroids(pool, ClusterConfig(count=12, iterations=6), 0)
    with open_runner(RunnerConfig(kind="ray", workers=3)) as runner:
        runner.run_group(FitWork(fit))
        assert {name: array.tobytes() for name, array in fit.artifact.need().items()} == one
        damaged(pool, 1, lambda vectors: vectors * np.nan)
        with pytest.raises(RunError, match="50 of 50 vectors hold NaN"):
            runner.run_group(FitWork(FitCentroids(pool, ClusterConfig(count=12), 0)))
