"""The stage `copy_knn`: the pool images whose copy descriptors are nearest to each image."""

from curation.engine.graph import Site
from curation.stages.knn.bias import Offsets
from curation.stages.knn.knn import COPY_KNN, Knn
from curation.stages.knn.pool_index import PoolIndex

__all__ = ["copy_knn"]


def copy_knn(site: Site) -> Knn:
    """The stage `copy_knn`: the nearest pool images of each image, by copy descriptor; more of a reference image where
    all of them may be copies."""
    settings, pool = site.config.dedup, site.in_pool
    index = site.shared("index", lambda: _index(pool))
    offsets = site.shared("offsets", lambda: Offsets.of(pool.collection, settings.normalise))
    k, above = settings.neighbours, None
    if site.path != pool.path:
        item = site.reference
        k = settings.neighbours if item.neighbours is None else item.neighbours
        above = settings.relative.all_above
        if settings.verify == "off":
            above = settings.relative_threshold if item.threshold is None else item.threshold
    return Knn(COPY_KNN, site.collection, index, after=site.after, neighbours=k, copies_above=above, offsets=offsets)


def _index(pool: Site) -> PoolIndex:
    return PoolIndex(pool.collection, "copy_descriptors", pool.config.dedup, pool.config.seed, after=pool.after)
