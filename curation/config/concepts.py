"""Embeddings, and what is searched and clustered among them."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from curation.config.base import ModelConfig, Settings, Similarity

__all__ = [
    "LITE0_CONCEPT",
    "PRETRAIN",
    "ClusterConfig",
    "EmbedConfig",
    "HierarchyConfig",
    "RetrievalConfig",
    "SemanticDedupConfig",
]

LITE0_CONCEPT = "lvd/lite0-in1k"
"""EfficientNet-Lite0, supervised on ImageNet-1k: what an image shows."""
PRETRAIN = "lvd/pretrain"
"""The embedder that is a checkpoint of `lvd pretrain`."""


class EmbedConfig(ModelConfig):
    """The embedding that clusters and retrieval use."""

    model: str = LITE0_CONCEPT
    pool: Literal["class", "patches", "both"] | None = None
    """What of a transformer's tokens makes the vector: the class token, the mean of the patches, or the two side by
    side, each of length 1 before. None for what the model itself does: timm's own pooling, and of `lvd/pretrain` the
    class token."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """What a network computes in. `auto`: bf16 where the command finds a GPU that has it, else fp32. Vectors are made
    anew when it changes."""


class RetrievalConfig(Settings):
    """How neighbours are searched among the pool's embeddings."""

    exact_up_to: int = Field(200_000, ge=0)
    """Images up to which they are searched exactly. Larger pools get an inverted file, whose recall against exact
    search is measured on a sample of every part."""
    probes: int = Field(128, ge=1)
    """Lists of the inverted file that are searched for each image."""
    compressed_from: int = Field(20_000_000, ge=0)
    """Images from which on the inverted file holds product-quantised codes, and the best are ranked again exactly."""
    partition: int = Field(5_000_000, ge=1)
    """Images of the pool, of whole parts, that a worker searches among at a time: what bounds its memory. Each takes 2
    bytes a dimension, with an inverted file twice as many, or a quarter more where that holds codes (docs/dedup.md)."""


class SemanticDedupConfig(Settings):
    """Images that show the same thing: one of each component is kept. Off by default."""

    enabled: bool = False
    threshold: Similarity = 0.95
    """Cosine similarity of embeddings above which two images are linked. It belongs to the embedding."""
    neighbours: int = Field(64, ge=1, le=1024)
    """k of the kNN graph over embeddings."""
    min_similarity_to_kept: float | None = Field(None, ge=-1, le=1)
    """Ends chains: an image is dropped only if its similarity to the one that is kept is at least this. None for no
    limit."""


class ClusterConfig(Settings):
    """Spherical k-means over the deduplicated pool."""

    count: int | None = Field(None, ge=1)
    """Clusters; None means one per 100 images, at most 100,000 (the paper's number for 744 M images)."""
    iterations: int = Field(20, ge=1)
    init: Literal["random", "k-means++"] = "random"
    """First centroids: images at random, or images far from each other, chosen from 32 for each cluster. The latter
    takes a product of all those images with a vector for each cluster: seconds for 1,000 clusters, days for 100,000."""
    growing: bool = True
    """Look at an eighth of the images in the first fifth of the iterations, then at a quarter, then half, and at all
    of them in the second half: centroids that are far from settled need no more."""
    sample_per_cluster: int = Field(256, ge=1)
    """Images per cluster that k-means is trained on; all images are assigned afterwards."""


class HierarchyConfig(Settings):
    """Clusters of clusters, for balanced selection: k-means with resampling, level over level (Vo et al. 2024)."""

    levels: list[Annotated[int, Field(ge=1)]] | None = None
    """Clusters of each level, from the lowest, each fewer than before; None means `clusters.count` on the lowest, and a
    tenth on each one above it. DINOv3 has 200 M, 8 M, 800 k, 100 k and 25 k."""
    resamplings: int = Field(3, ge=0)
    """Times that k-means of a level is run again, on the images nearest to each of its centroids. More cost as much
    again and bring little: see docs/benchmarks.md."""
    nearest: int | None = Field(None, ge=1)
    """Images of each cluster that it is run again on; None for half of what a cluster has on average."""

    @field_validator("levels")
    @classmethod
    def _levels_shrink(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and (not value or sorted(set(value), reverse=True) != value):
            raise ValueError(f"hierarchy.levels: {value} must name at least one level, each with fewer clusters")
        return value
