"""An array of vectors, without a run: its nearest neighbours, its clusters, its duplicates.

Rows are compared by cosine similarity, so their lengths do not matter.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from curation.arrays import Float32Array, Int32Array, Int64Array
from curation.errors import ConfigError
from curation.run.parts import random_for
from curation.search.components import components_of, first_of_each
from curation.search.kmeans import kmeans as fit_kmeans
from curation.search.knn import Rows, Searcher
from curation.search.partition import KMeansPartition

__all__ = ["KMeans", "dedup_vectors", "kmeans", "knn", "nearest_others"]


@dataclass(frozen=True)
class KMeans:
    """Clusters of N vectors.

    Attributes:
        centroids: (K, D) float32, rows of length 1.
        assignments: (N,) int32, the nearest centroid of each vector, the first of equal ones.
        objective: mean cosine similarity of a vector to its centroid, in [-1, 1]; larger is better.
    """

    centroids: Float32Array
    assignments: Int32Array
    objective: float


def knn(queries: npt.ArrayLike, base: npt.ArrayLike, k: int) -> tuple[Float32Array, Int64Array]:
    """Find the k most similar rows of `base` for each query, exactly.

    Args:
        queries: (Q, D) floats.
        base: (N, D) floats.
        k: neighbours, at least 1.

    Returns:
        Cosine similarities in [-1, 1] and row numbers of `base`, both (Q, min(k, N)): float32 and int64, the most
        similar first, equal ones in the order of rows.

    Raises:
        ConfigError: an array is not 2-D, holds NaN, infinity or a row of zeros, or the dimensions differ.
    """
    _at_least_one(k, "k")
    asked, rows = _unit(queries, "queries"), _unit(base, "base")
    if asked.shape[1] != rows.shape[1]:
        raise ConfigError(f"queries: have {asked.shape[1]} dimensions, base has {rows.shape[1]}; give the same")
    return Searcher(rows).search(asked, k)


def kmeans(
    vectors: npt.ArrayLike,
    k: int,
    *,
    seed: int = 0,
    iterations: int = 20,
    init: Literal["random", "k-means++"] = "random",
    threads: int = 1,
) -> KMeans:
    """Cluster vectors by spherical k-means, as the stage `clusters` does (arXiv 2304.07193, section 3).

    The same bits for any number of threads; vectors are rounded to fp16.

    Args:
        vectors: (N, D) floats, N >= k.
        k: clusters.
        seed: of the first centroids.
        iterations: at most; it ends early where nothing moves.
        init: first centroids are vectors at random, or vectors far from each other.
        threads: cores used.

    Raises:
        ConfigError: there are fewer vectors than clusters, or as `knn`.
    """
    for name, value in (("k", k), ("iterations", iterations), ("threads", threads)):
        _at_least_one(value, name)
    halves = _unit(vectors, "vectors").astype(np.float16)
    if len(halves) < k:
        raise ConfigError(f"k: {k} clusters cannot be made of {len(halves)} vectors; ask for fewer")
    rng = random_for(seed, "clusters")
    fitted = fit_kmeans(halves, k, iterations, rng, threads=threads, growing=False, start=init)
    rows = KMeansPartition(halves, threads=threads, bounds=False)
    rows.update(fitted.centroids)
    return KMeans(fitted.centroids, rows.clusters, float(rows.similarities.mean(dtype=np.float64)))


def dedup_vectors(
    vectors: npt.ArrayLike, threshold: float, *, neighbours: int = 64, rank: npt.ArrayLike | None = None
) -> Int64Array:
    """Find duplicates: rows that are linked, over any number of links, and which of them to keep.

    The rule of self-dedup (arXiv 2304.07193, appendix A): of each row's nearest neighbours those more similar than the
    threshold are links, and of each connected component one row is kept.

    Args:
        vectors: (N, D) floats.
        threshold: cosine similarity above which two rows are linked, in [-1, 1].
        neighbours: nearest neighbours of each row that may be links.
        rank: (N,) numbers; of each component the row with the smallest is kept. By default the first row is.

    Returns:
        (N,) int64, the row that stands for each; a row is kept where this is its own number.

    Raises:
        ConfigError: the threshold is out of range, the rank is of another length, or as `knn`.
    """
    if not -1 <= threshold <= 1:
        raise ConfigError(f"threshold: {threshold:g} is no cosine similarity; give a number from -1 to 1")
    _at_least_one(neighbours, "neighbours")
    rows = _unit(vectors, "vectors")
    order = np.arange(len(rows)) if rank is None else np.asarray(rank)
    if order.shape != (len(rows),):
        raise ConfigError(f"rank: is of shape {order.shape} for {len(rows)} vectors; give one number for each")
    source, other, _, similar = nearest_others(rows, neighbours)
    links = np.stack([source, other], axis=1)[similar > threshold]
    return first_of_each(components_of(len(rows), links), order.argsort(kind="stable").argsort())


def nearest_others(vectors: Rows, k: int) -> tuple[Int64Array, Int64Array, Int64Array, Float32Array]:
    """The k most similar other rows of each row, as a list of pairs: row, other, place in its list from 0, similarity.

    Args:
        vectors: (N, D) fp16 or float32, rows of length 1.
    """
    similar, other = Searcher(vectors).search(vectors, k + 1)
    source = np.broadcast_to(np.arange(len(vectors))[:, None], other.shape)
    kept = other != source
    place = np.cumsum(kept, axis=1) - 1
    kept &= place < k
    return source[kept], other[kept], place[kept], similar[kept]


def _unit(array: npt.ArrayLike, name: str) -> Float32Array:
    """Rows of length 1 in float32."""
    values: npt.NDArray[Any] = np.asarray(array)
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise ConfigError(f"{name}: is {values.dtype} of shape {values.shape}; give (N, D) numbers")
    rows = np.array(values, dtype=np.float32, order="C")
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if len(bad := np.flatnonzero(~(np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)))):
        raise ConfigError(f"{name}: row {bad[0]} holds NaN, infinity or zeros alone; leave such rows out")
    rows /= norms
    return rows


def _at_least_one(value: int, name: str) -> None:
    if value < 1:
        raise ConfigError(f"{name}: {value} is too few; give at least 1")
