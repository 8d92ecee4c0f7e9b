"""Each pick of cluster mode names the nearest seed image in its own cluster."""

import numpy as np
import pyarrow as pa

from curation.engine.contract import Output, StageSpec, commit_output
from curation.engine.gather import gather
from curation.stages.select.nearest_seed import nearest_seeds


def with_clusters(collection, clusters, live):
    """The stage `clusters` with these numbers, by part."""
    spec = StageSpec("clusters", 1, "embeddings", {}, pa.schema([("cluster", pa.int32())]), {})
    for part, numbers in enumerate(clusters):
        mask = np.asarray(live[part])
        output = Output({"cluster": pa.array(np.asarray(numbers)[mask], pa.int32())})
        commit_output(spec, collection, part, mask, output)
    return gather(collection, "clusters", {"clusters": ["cluster"]})


def test_the_nearest_seed_image_of_the_same_cluster_is_named(embedded, clustered):
    rng = np.random.default_rng(0)
    sizes = (70, 5, 60)
    live = [np.arange(size) % 4 != 1 for size in sizes]
    live[1][:] = False
    vectors = [clustered(size, seed=part) for part, size in enumerate(sizes)]
    pool = embedded("pool", vectors, live)
    images = with_clusters(pool, [rng.integers(0, 3, size) for size in sizes], live)
    seed_vectors = [clustered(12, seed=7), clustered(9, seed=8)]
    every = [[True] * 12, [True] * 9]
    seeds = embedded("seeds/s", seed_vectors)
    seed_images = with_clusters(seeds, [np.arange(12) % 3, np.arange(9) % 3], every)
    positions = np.sort(rng.choice(len(images), 50, replace=False))
    nearest, similar = nearest_seeds(pool, images, positions, seeds, seed_images)
    base = np.concatenate([each[mask] for each, mask in zip(vectors, live, strict=True)]).astype(np.float64)
    queries = np.concatenate(seed_vectors).astype(np.float64)
    own, others = images.table["cluster"].to_numpy()[positions], seed_images.table["cluster"].to_numpy()
    scores = base[positions] @ queries.T
    scores[own[:, None] != others] = -2
    np.testing.assert_array_equal(nearest, scores.argmax(axis=1))
    np.testing.assert_allclose(similar, scores.max(axis=1), atol=1e-6)


def test_of_equal_seed_images_the_first_is_named_and_no_pick_needs_none(embedded):
    pool, seeds = embedded("pool", [[[1.0, 0.0]]]), embedded("seeds/s", [[[0.6, 0.8], [0.6, 0.8]]])
    images = with_clusters(pool, [[0]], [[True]])
    seed_images = with_clusters(seeds, [[0, 0]], [[True, True]])
    nearest, _ = nearest_seeds(pool, images, np.array([0]), seeds, seed_images)
    assert nearest.tolist() == [0]
    nearest, similar = nearest_seeds(pool, images, np.array([], np.int64), seeds, seed_images)
    assert (len(nearest), len(similar)) == (0, 0)
