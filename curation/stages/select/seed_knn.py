"""The stage `seed_knn`: the nearest pool images of each image of a seed set in sample mode, by embedding."""

from curation.config import Config
from curation.engine.graph import Site
from curation.errors import ConfigError
from curation.stages.knn.knn import SEED_KNN, Knn
from curation.stages.knn.pool_index import PoolIndex
from curation.stages.knn.vectors import live_counts

__all__ = ["is_sampled", "seed_knn"]


def is_sampled(config: Config, path: str) -> bool:
    """Whether a seed set chooses the nearest images of each of its own."""
    sampled = [f"seeds/{seed.name}" for seed in config.seeds if seed.retrieve == "sample"]
    return config.selection.retrieves and path in sampled


def seed_knn(site: Site) -> Knn:
    """The stage `seed_knn`: the nearest pool images of each image of a seed set in sample mode, by embedding.

    Raises:
        ConfigError: more neighbours are asked for than the pool has images.
    """
    index = site.shared("index", lambda: _index(site.in_pool))
    images = sum(live_counts(site.pool, index.after).values())
    if site.seed.neighbours > images:
        raise ConfigError(
            f"{site.path}: {site.seed.neighbours} neighbours cannot be found in a pool of {images} images; "
            f"set its neighbours to {images} or less"
        )
    return Knn(SEED_KNN, site.collection, index, after=site.after, neighbours=site.seed.neighbours)


def _index(pool: Site) -> PoolIndex:
    config, folder = pool.config, "artifacts/seed_knn"
    return PoolIndex(pool.collection, "embeddings", config.retrieval, config.seed, after=pool.after, folder=folder)
