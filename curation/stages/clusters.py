"""Spherical k-means: centroids over the deduplicated pool, then each image's nearest centroid."""

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.config import ClusterConfig
from curation.errors import ConfigError
from curation.fitted import Fitted
from curation.parts import Collection, digest_of, random_for
from curation.stages.contract import Output, Place, StageSpec
from curation.stages.describe import VECTOR
from curation.stages.gather import gather, vectors_of
from curation.stages.neighbours import nearest

__all__ = ["Clusters", "FitCentroids", "kmeans"]

MOST_CLUSTERS = 100_000
IMAGES_PER_CLUSTER = 100

Floats = npt.NDArray[np.float32]


class Clusters:
    """The stage `clusters`: the nearest centroid of each image, and the similarity to it."""

    def __init__(self, centroids: Fitted) -> None:
        self._centroids = centroids
        self.spec = StageSpec(
            name="clusters",
            version=1,
            after="embeddings",
            reads={"embeddings": [VECTOR]},
            schema=pa.schema([("cluster", pa.int32()), ("cluster_similarity", pa.float32())]),
            settings={"centroids": centroids.digest},
        )

    def setup(self) -> None:
        self._base = self._centroids.need()["centroids"]

    def process(self, rows: pa.Table, place: Place) -> Output:
        similarities, clusters = nearest(vectors_of(rows[VECTOR]), self._base, 1)
        return Output(
            {
                "cluster": pa.array(clusters[:, 0], pa.int32()),
                "cluster_similarity": pa.array(similarities[:, 0], pa.float32()),
            }
        )


class FitCentroids:
    """Trains k-means on a sample of the pool's embeddings, and stores the centroids."""

    def __init__(self, pool: Collection, settings: ClusterConfig, seed: int) -> None:
        self._pool = pool
        self._settings = settings
        self._seed = seed
        inputs = pool.state("embeddings")
        digest = digest_of(["centroids", 1, settings.model_dump(), seed, inputs])
        self.fitted = Fitted(pool.store, "centroids", digest)

    def is_current(self) -> bool:
        return self.fitted.load() is not None

    def run(self) -> None:
        """Raises ConfigError where more clusters are asked for than there are images."""
        vectors = vectors_of(gather(self._pool, "embeddings", {"embeddings": [VECTOR]}).table[VECTOR])
        count = self._settings.count or min(MOST_CLUSTERS, max(1, len(vectors) // IMAGES_PER_CLUSTER))
        if count > len(vectors):
            raise ConfigError(
                f"clusters.count: {count} clusters cannot be made of {len(vectors)} images; "
                f"set it to {len(vectors)} or less"
            )
        wanted = count * self._settings.sample_per_cluster
        if len(vectors) > wanted:
            chosen = random_for(self._seed, "clusters").choice(len(vectors), wanted, replace=False)
            vectors = vectors[np.sort(chosen)]
        self.fitted.save({"centroids": kmeans(vectors, count, self._settings.iterations, self._seed)})


def kmeans(vectors: Floats, count: int, iterations: int, seed: int) -> Floats:
    """Spherical k-means by faiss.

    Args:
        vectors: (N, D) float32, L2-normalised, N >= count.

    Returns:
        (count, D) float32 centroids, L2-normalised.
    """
    trainer = faiss.Kmeans(
        vectors.shape[1],
        count,
        niter=iterations,
        spherical=True,
        seed=seed + 1,
        min_points_per_centroid=1,
        max_points_per_centroid=len(vectors),
    )
    trainer.train(vectors)
    centroids: Floats = np.array(trainer.centroids, dtype=np.float32)
    return centroids
