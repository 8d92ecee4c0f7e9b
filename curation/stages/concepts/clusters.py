"""Spherical k-means: centroids over the deduplicated pool, then each image's nearest centroid."""

import numpy as np
import pyarrow as pa

from curation.arrays import Float16Array, Float32Array, Int64Array
from curation.config import ClusterConfig
from curation.engine.contract import Output, Place, StageSpec
from curation.engine.graph import Site
from curation.errors import ConfigError, RunError
from curation.run.artifacts import Arrays, Artifact
from curation.run.parts import Collection, digest_of, random_for
from curation.search.kmeans import Progress, fit, unit
from curation.search.partition import Change, KMeansPartition
from curation.search.seeding import SAMPLE, plus_plus
from curation.search.worker_group import WorkerGroup, deal
from curation.stages.knn.vectors import VECTOR, halves_of, live_counts, read_vectors, vectors_state

__all__ = ["Clusters", "EmbeddingsPartition", "FitCentroids", "assigned", "read_vectors"]

MOST_CLUSTERS = 100_000
IMAGES_PER_CLUSTER = 100


class Clusters:
    """The stage `clusters`: spherical k-means; the nearest centroid of each image, and the similarity to it.

    Args:
        after: the stage whose live rows it takes.
    """

    def __init__(self, centroids: Artifact, after: str = "embeddings") -> None:
        self._centroids = centroids
        self.spec = StageSpec(
            name="clusters",
            version=2,
            after=after,
            reads={"embeddings": [VECTOR]},
            adds=pa.schema([("cluster", pa.int32()), ("cluster_similarity", pa.float32())]),
            settings={"centroids": centroids.digest},
        )

    @classmethod
    def at(cls, site: Site) -> "Clusters":
        return cls(site.fit(FitCentroids.at).artifact, site.after)

    def setup(self) -> None:
        self._base = self._centroids.need()["centroids"]

    def process(self, rows: pa.Table, place: Place) -> Output:
        """Raises RunError where the vectors are not of the centroids' dimension."""
        share = assigned(rows, place, self._base)
        columns = {
            "cluster": pa.array(share.clusters, pa.int32()),
            "cluster_similarity": pa.array(share.similarities, pa.float32()),
        }
        return Output(columns)


def assigned(rows: pa.Table, place: Place, centroids: Float32Array) -> KMeansPartition:
    """The embeddings of a part, each with its nearest centroid.

    Raises:
        RunError: the vectors are not of the centroids' dimension.
    """
    file = place.collection.store.url(place.collection.file("embeddings", place.part))
    vectors = halves_of(rows[VECTOR], file)
    if vectors.shape[1] != centroids.shape[1]:
        raise RunError(
            f"{file}: vectors of {vectors.shape[1]} dimensions, the centroids have {centroids.shape[1]}; "
            "they are of different models, so delete this file and run the same command again"
        )
    share = KMeansPartition(vectors.copy(), bounds=False)  # Arrow's memory is read-only, which torch does not take
    share.update(centroids)
    return share


class FitCentroids:
    """Trains k-means on a sample of the pool's embeddings, and stores the centroids after each iteration.

    Args:
        after: the stage whose live rows it takes.
        name: of the file of centroids.
    """

    def __init__(
        self, pool: Collection, settings: ClusterConfig, seed: int, after: str = "embeddings", name: str = "centroids"
    ) -> None:
        self._pool = pool
        self._after = after
        self._settings = settings
        self._seed = seed
        inputs = vectors_state(pool, "embeddings", after)
        digest = digest_of(["centroids", 2, settings.model_dump(), seed, inputs])
        self.artifact = Artifact(pool.store, name, digest)
        self._partial = Artifact(pool.store, f"{name}_so_far", digest)
        self.scratch = [self._partial]

    @classmethod
    def at(cls, site: Site) -> "FitCentroids":
        return cls(site.pool, site.config.clusters, site.config.seed, site.in_pool.after)

    def partitions(self, most: int) -> list["EmbeddingsPartition"]:
        """Partitions of the sample for a worker group, at most so many.

        Raises:
            ConfigError: more clusters are asked for than there are images.
        """
        chosen = self._chosen()
        dealt = deal(list(chosen), most)
        return [EmbeddingsPartition(self._pool, {part: chosen[part] for part in parts}, self._after) for parts in dealt]

    def process(self, group: WorkerGroup | None) -> Arrays:
        """Raises RunError where embeddings are damaged."""
        assert group is not None
        chosen = self._chosen()
        rows = sum(map(len, chosen.values()))
        progress = self._stored() or Progress(self._first(group, chosen))
        done = fit(
            group, rows, progress, self._settings.iterations, growing=self._settings.growing, save=self._save_progress
        )
        return {"centroids": done.centroids, "objectives": np.array(done.objectives)}

    def _count(self, images: int) -> int:
        count = self._settings.count or min(MOST_CLUSTERS, max(1, images // IMAGES_PER_CLUSTER))
        if count > images:
            raise ConfigError(
                f"clusters.count: {count} clusters cannot be made of {images} images; set it to {images} or less"
            )
        return count

    def _sizes(self) -> dict[int, int]:
        """Live images of each part that has any."""
        return live_counts(self._pool, self._after)

    def _chosen(self) -> dict[int, Int64Array]:
        """Of each part, the numbers among its live images of those that k-means is trained on."""
        sizes = self._sizes()
        images = sum(sizes.values())
        wanted = self._count(images) * self._settings.sample_per_cluster
        every = np.arange(images)
        if images > wanted:
            every = np.sort(random_for(self._seed, "clusters").choice(images, wanted, replace=False))
        return _by_part(sizes, every)

    def _first(self, group: WorkerGroup, chosen: dict[int, Int64Array]) -> Float32Array:
        """The first centroids: images of the sample."""
        sizes = {part: len(numbers) for part, numbers in chosen.items()}
        rows = sum(sizes.values())
        count = self._count(sum(self._sizes().values()))
        rng = random_for(self._seed, "first centroids")
        wanted = count if self._settings.init == "random" else min(rows, SAMPLE * count)
        places = _by_part(sizes, np.sort(rng.choice(rows, wanted, replace=False)))
        result = np.concatenate([vectors for vectors in group.call("take", places) if len(vectors)])
        first = result.astype(np.float32) if self._settings.init == "random" else plus_plus(result, count, rng)
        return unit(first.astype(np.float64), otherwise=first)

    def _save_progress(self, progress: Progress) -> None:
        self._partial.save({"centroids": progress.centroids, "objectives": np.array(progress.objectives)})

    def _stored(self) -> Progress | None:
        """What an interrupted command left of the same work."""
        try:
            arrays = self._partial.load()
        except RunError:
            return None  # written again with the first iteration
        return Progress(arrays["centroids"], arrays["objectives"].tolist()) if arrays else None


class EmbeddingsPartition:
    """What one worker of a group holds: embeddings of some parts, in memory once.

    Args:
        chosen: for each part, which of its live images.
        after: the stage that they are live after.

    Attributes:
        vectors, sizes: once set up, (N, D) fp16, and how many of them each part has.
    """

    def __init__(self, collection: Collection, chosen: dict[int, Int64Array], after: str = "embeddings") -> None:
        self._collection = collection
        self._chosen = chosen
        self._after = after

    def __len__(self) -> int:
        return sum(map(len, self._chosen.values()))

    def setup(self, threads: int) -> None:
        sizes = [len(numbers) for numbers in self._chosen.values()]
        vectors: Float16Array | None = None
        start = 0
        for part, numbers in self._chosen.items():
            result = read_vectors(self._collection, part, after=self._after)[numbers]
            if vectors is None:
                vectors = np.empty((sum(sizes), result.shape[1]), np.float16)
            if result.shape[1] != vectors.shape[1]:
                raise RunError(
                    f"{self._collection.store.url(self._collection.file('embeddings', part))}: vectors of "
                    f"{result.shape[1]} dimensions, those of other parts have {vectors.shape[1]}; "
                    "delete this file and run the same command again"
                )
            vectors[start : start + len(result)] = result
            start += len(result)
        assert vectors is not None, "a member without parts"
        self.vectors, self.sizes = vectors, sizes
        self._share = KMeansPartition(vectors, sizes, threads=threads)

    def update(self, centroids: Float32Array, every: int) -> Change:
        return self._share.update(centroids, every)

    def take(self, places: dict[int, Int64Array]) -> Float16Array:
        """Rows by part and number in its sample, in order, as far as they are here."""
        firsts = np.cumsum([0, *map(len, self._chosen.values())])
        numbers = [first + places[part] for part, first in zip(self._chosen, firsts, strict=False) if part in places]
        return self._share.take(np.concatenate([np.empty(0, np.int64), *numbers]))


def _by_part(sizes: dict[int, int], numbers: Int64Array) -> dict[int, Int64Array]:
    """Sorted positions in all parts together as positions in each."""
    edges = np.cumsum([0, *sizes.values()])
    cuts = np.searchsorted(numbers, edges)
    return {
        part: numbers[cuts[at] : cuts[at + 1]] - edges[at] for at, part in enumerate(sizes) if cuts[at + 1] > cuts[at]
    }
