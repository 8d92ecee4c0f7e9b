"""Datasets beside the pool: seeds, references, unwanted examples; and what a plan is given of them."""

from typing import Annotated, Literal

from pydantic import Field

from curation.config.base import Name, Settings, Similarity

__all__ = ["ExcludeConfig", "PlanConfig", "ReferenceConfig", "SeedConfig"]


class SeedConfig(Settings):
    """A curated set, and how the pool is searched with it."""

    name: Name
    data: str
    """A dataset: a folder, WebDataset tars, a Parquet file, a list of URLs, or crawl files."""
    as_is: bool = False
    """Take the seed images themselves too."""
    retrieve: Literal["sample", "cluster"] | None = "sample"
    """`sample`: the nearest pool images of each seed image, for large sets; `cluster`: images from the clusters that
    seed images fall into, for small sets; None: nothing."""
    neighbours: int = Field(4, ge=1, le=1024)
    """Sample mode: images per seed image (the paper: 4, and 32 for ImageNet-1k)."""
    min_seed_images: int = Field(3, ge=0)
    """Cluster mode: only clusters with more seed images than this are used (the paper's 3)."""
    per_cluster: int = Field(10_000, ge=1)
    """Cluster mode: images picked from each such cluster (the paper's 10,000)."""
    picks: Literal["random", "nearest"] = "random"
    """Cluster mode: images of a cluster at random, as in the paper, or those nearest to its centroid."""
    cap: int = Field(1_000_000, ge=1)
    """Cluster mode: most images retrieved for the set (the paper's 1 M)."""


class ReferenceConfig(Settings):
    """Images that must not leak into the dataset, such as a benchmark's test set."""

    name: Name
    data: str
    neighbours: int | None = Field(None, ge=1, le=1024)
    """Nearest pool images of each reference image; None for `dedup.neighbours`."""
    threshold: Similarity | None = None
    """`dedup.verify: off`: cosine similarity above which a pool image is linked to one of these; None for
    `dedup.relative.threshold`."""


class ExcludeConfig(Settings):
    """Examples of what is unwanted."""

    name: Name
    data: str
    threshold: Similarity = 0.6
    """Cosine similarity of embeddings to the nearest example above which a pool image is dropped. It belongs to the
    embedding: 0.6 is for the default one, by which 0.006 % of unrelated photos are so similar to one of 10
    examples."""


class PlanConfig(Settings):
    """What `lvd plan` is given of datasets that are not at hand; a run itself never looks at it."""

    images: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    """Images of seed sets, by name; the others are counted where they lie."""
    clusters: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    """Cluster mode: clusters that have enough seed images of a set, each with `per_cluster` images or more. A set that
    is not named here is taken to have as many as its images allow."""
    kept: float = Field(1.0, gt=0, le=1)
    """Share of the pool that dedup leaves."""
