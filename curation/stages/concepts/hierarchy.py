"""The hierarchy of clusters that balanced selection draws from: k-means with resampling, level over level.

The lowest level is made over a worker group that holds the embeddings, as the centroids of `clusters` are; the levels
above are k-means of centroids, few enough for one process.
"""

import os

import numpy as np
import pyarrow as pa

from curation.arrays import Float16Array, Float32Array, Int64Array
from curation.config import ClusterConfig, Config, HierarchyConfig
from curation.engine.contract import Output, Place, StageSpec
from curation.engine.graph import Site
from curation.engine.work import FitWork
from curation.errors import ConfigError, RunError
from curation.run.artifacts import Arrays, Artifact
from curation.run.parts import Collection, digest_of, random_for
from curation.search.hierarchical import Growth, Nearest, Points, Rounds, grow, parents
from curation.search.partition import Change
from curation.search.worker_group import WorkerGroup
from curation.stages.concepts.clusters import EmbeddingsPartition, FitCentroids, assigned
from curation.stages.knn.vectors import VECTOR, live_counts

__all__ = ["PATH", "FitHierarchy", "Hierarchy", "HierarchyPartition", "level_counts"]

PATH = "cluster_path"
"""The column: an image's cluster on each level, from the top to the lowest."""
FEWER = 10
"""How many times fewer clusters than the level below a level has, where the config does not say."""


class Hierarchy:
    """The stage `hierarchy`: clusters of clusters; the path of each pool image through them, and its similarity to the
    centroid of its lowest cluster."""

    def __init__(self, tree: Artifact) -> None:
        self._tree = tree
        self.spec = StageSpec(
            name="hierarchy",
            version=1,
            after="clusters",
            reads={"embeddings": [VECTOR]},
            adds=pa.schema([(PATH, pa.list_(pa.int32())), ("leaf_similarity", pa.float32())]),
            settings={"hierarchy": tree.digest},
        )

    @classmethod
    def at(cls, site: Site) -> "Hierarchy":
        return cls(site.fit(FitHierarchy.at).artifact)

    @staticmethod
    def is_on(config: Config, path: str) -> bool:
        return config.selection.balances

    def setup(self) -> None:
        arrays = self._tree.need()
        self._centroids = arrays["centroids_1"]
        self._parents = [arrays[f"parents_{level}"] for level in range(1, len(arrays)) if f"parents_{level}" in arrays]

    def process(self, rows: pa.Table, place: Place) -> Output:
        """Raises RunError where the vectors are not of the centroids' dimension."""
        share = assigned(rows, place, self._centroids)
        path = [share.clusters]
        for level in self._parents:
            path.insert(0, level[path[0]])
        paths = np.stack(path, axis=1).astype(np.int32)
        offsets = np.arange(len(paths) + 1, dtype=np.int32) * paths.shape[1]
        columns = {
            PATH: pa.ListArray.from_arrays(pa.array(offsets), pa.array(paths.ravel())),
            "leaf_similarity": pa.array(share.similarities, pa.float32()),
        }
        return Output(columns)


class FitHierarchy:
    """Makes the hierarchy from the sample that `FitCentroids` would take, and stores it after each round.

    Args:
        clusters: settings of each k-means; its `count` is that of the lowest level where `settings` has no levels.
        after: the stage whose live rows it takes.
    """

    def __init__(
        self, pool: Collection, settings: HierarchyConfig, clusters: ClusterConfig, seed: int, after: str = "embeddings"
    ) -> None:
        lowest = clusters.model_copy(update={"count": settings.levels[0]}) if settings.levels else clusters
        # Where they are the same, the centroids of `clusters` are what the lowest level begins with.
        self._begun = lowest != clusters
        self._first = FitCentroids(pool, lowest, seed, after, "hierarchy_begun" if self._begun else "centroids")
        self._pool = pool
        self._settings = settings
        self._clusters = clusters
        self._seed = seed
        self._after = after
        digest = digest_of(["hierarchy", 1, settings.model_dump(), self._first.artifact.digest])
        self.artifact = Artifact(pool.store, "hierarchy", digest)
        self._partial = Artifact(pool.store, "hierarchy_so_far", digest)

    @classmethod
    def at(cls, site: Site) -> "FitHierarchy":
        config = site.config
        return cls(site.pool, config.hierarchy, config.clusters, config.seed, site.after)

    @property
    def scratch(self) -> list[Artifact]:
        return [self._partial, *([self._first.artifact] if self._begun else [])]

    def partitions(self, most: int) -> list["HierarchyPartition"]:
        """Partitions of the sample for a worker group, at most so many.

        Raises:
            ConfigError: the lowest level is to have more clusters than there are images.
        """
        images = sum(live_counts(self._pool, self._after).values())
        if self._settings.levels and self._settings.levels[0] > images:
            raise ConfigError(
                f"hierarchy.levels: {self._settings.levels[0]} clusters cannot be made of {images} images; "
                f"begin with {images} or less"
            )
        partitions = self._first.partitions(most)
        firsts = np.cumsum([0, *map(len, partitions)]).tolist()
        return [HierarchyPartition(partition, first) for partition, first in zip(partitions, firsts, strict=False)]

    def process(self, group: WorkerGroup | None) -> Arrays:
        """Raises RunError where embeddings are damaged."""
        assert group is not None
        lowest = FitWork(self._first)
        if not lowest.is_current():
            lowest.run(group)
        rounds = Rounds(
            self._settings.resamplings, self._settings.nearest, self._clusters.iterations, self._clusters.growing
        )
        first: Float32Array = self._first.artifact.need()["centroids"]
        growth = grow(
            group,
            sum(group.call("size")),
            self._stored() or Growth((first,)),
            tuple(self._settings.levels or level_counts(len(first))),
            rounds,
            lambda level, number: random_for(self._seed, "tree", level, number),
            threads=os.cpu_count() or 1,
            save=self._save,
        )
        arrays = {f"centroids_{level}": result for level, result in enumerate(growth.centroids, 1)}
        over = {f"parents_{level}": result for level, result in enumerate(parents(growth), 1)}
        return {**arrays, **over}

    def _save(self, growth: Growth) -> None:
        arrays = {f"centroids_{level}": result for level, result in enumerate(growth.centroids, 1)}
        self._partial.save({**arrays, "resampled": np.array([growth.resampled])})

    def _stored(self) -> Growth | None:
        """What an interrupted command left of the same work."""
        try:
            arrays = self._partial.load()
        except RunError:
            return None  # written again with the next round
        if arrays is None:
            return None
        levels = range(1, len(arrays))
        return Growth(tuple(arrays[f"centroids_{level}"] for level in levels), int(arrays["resampled"][0]))


def level_counts(lowest: int) -> list[int]:
    """Clusters of each level, from the lowest, where the config does not say: down to the last that has two or more."""
    counts = [lowest]
    while counts[-1] // FEWER > 1:
        counts.append(counts[-1] // FEWER)
    return counts


class HierarchyPartition:
    """What one worker of a group holds: the vectors of some parts, and what resampling asks of them.

    Args:
        first: the number of the first of them among those of all members.
    """

    def __init__(self, vectors: EmbeddingsPartition, first: int) -> None:
        self._vectors = vectors
        self._first = first

    def setup(self, threads: int) -> None:
        self._vectors.setup(threads)
        self._points = Points(self._vectors.vectors, self._vectors.sizes, self._first)
        self._points.setup(threads)

    def size(self) -> int:
        return len(self._vectors)

    def update(self, centroids: Float32Array, every: int) -> Change:
        return self._vectors.update(centroids, every)

    def take(self, places: dict[int, Int64Array] | Int64Array) -> Float16Array:
        """Rows by part and number in its sample, or by their number among all."""
        return self._vectors.take(places) if isinstance(places, dict) else self._points.take(places)

    def nearest(self, centroids: Float32Array, most: int) -> Nearest:
        return self._points.nearest(centroids, most)

    def narrow(self, numbers: Int64Array) -> None:
        self._points.narrow(numbers)

    def update_narrowed(self, centroids: Float32Array, every: int) -> Change:
        return self._points.update_narrowed(centroids, every)
