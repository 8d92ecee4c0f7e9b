"""The stage `embedding_knn`: the nearest pool images of each pool image, by embedding."""

from curation.config import Config
from curation.engine.graph import Site
from curation.stages.knn.knn import EMBEDDING_KNN, Knn
from curation.stages.knn.pool_index import PoolIndex

__all__ = ["embedding_knn", "is_semantic"]


def is_semantic(config: Config, path: str) -> bool:
    """Whether images that show the same thing are looked for."""
    return config.semantic_dedup.enabled


def embedding_knn(site: Site) -> Knn:
    """The stage `embedding_knn`: the nearest pool images of each pool image, by embedding."""
    config, after = site.config, site.after
    folder = "artifacts/embedding_knn"
    index = PoolIndex(site.collection, "embeddings", config.retrieval, config.seed, after=after, folder=folder)
    return Knn(EMBEDDING_KNN, site.collection, index, after=after, neighbours=config.semantic_dedup.neighbours)
