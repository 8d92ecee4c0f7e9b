"""Cluster mode's reason for each pick: the nearest of the set's seed images that fell into the same cluster."""

from collections.abc import Mapping

import numpy as np
from threadpoolctl import threadpool_limits

from curation.arrays import Float16Array, Float32Array, Int32Array, Int64Array
from curation.engine.gather import Gathered
from curation.run.parts import Collection
from curation.search.knn import similarities_of
from curation.search.partition import single
from curation.stages.knn.vectors import read_vectors

__all__ = ["members_of", "nearest_in_cluster", "nearest_seeds"]


def nearest_seeds(
    pool: Collection, images: Gathered, positions: Int64Array, seeds: Collection, seed_images: Gathered
) -> tuple[Int64Array, Float32Array]:
    """For each pick the position of the nearest seed image in its cluster, the first of equal ones, and the similarity.

    Args:
        images: the pool's, with their `cluster`.
        positions: (P,) of the picks among them, each in a cluster that holds a seed image.
        seed_images: the seed set's, with their `cluster`.
    """
    clusters = images.table["cluster"].to_numpy()[positions]
    members = members_of(seed_images.table["cluster"].to_numpy())
    vectors = np.concatenate([read_vectors(seeds, part, after="clusters") for part in seed_images.masks])
    nearest, similar = np.empty(len(positions), np.int64), np.empty(len(positions), np.float32)
    parts = images.part[positions]
    for part in np.unique(parts).tolist():
        chosen = np.flatnonzero(parts == part)
        numbers = positions[chosen] - images.of_part(part).start
        halves = read_vectors(pool, part, after="clusters")[numbers]
        nearest[chosen] = nearest_in_cluster(halves, clusters[chosen], vectors, members)
        similar[chosen] = similarities_of(halves, vectors, np.arange(len(chosen)), nearest[chosen])
    return nearest, similar


def members_of(clusters: Int32Array) -> dict[int, Int64Array]:
    """Positions of the images of each cluster."""
    order = np.argsort(clusters, kind="stable")
    result, first = np.unique(clusters[order], return_index=True)
    return dict(zip(result.tolist(), np.split(order, first[1:]), strict=True))


def nearest_in_cluster(
    halves: Float16Array, clusters: Int32Array, vectors: Float16Array, members: Mapping[int, Int64Array]
) -> Int64Array:
    """For each pick the position of the most similar seed image in its cluster, the first of equal ones.

    Args:
        halves: (P, D) fp16, the picks.
        clusters: (P,) theirs.
        vectors: (S, D) fp16, the seed images.
        members: `members_of` their clusters.
    """
    nearest = np.empty(len(halves), np.int64)
    with threadpool_limits(1):  # so that sums are added in the same order on any machine
        for cluster, rows in members_of(clusters).items():
            seeds = members[cluster]
            nearest[rows] = seeds[(single(halves[rows]) @ single(vectors[seeds]).T).argmax(axis=1)]
    return nearest
