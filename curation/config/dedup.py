"""Duplicates: hashes, copy descriptors, and when two images are linked."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from curation.config.base import ModelConfig, Settings, Similarity

__all__ = [
    "DEDUP_OF",
    "LITE0_COPY",
    "CopyConfig",
    "DedupConfig",
    "HashConfig",
    "NormaliseConfig",
    "RelativeDedupConfig",
    "SelfDedupConfig",
]

LITE0_COPY = "lvd/lite0-copy"
"""EfficientNet-Lite0's last features: alike for a picture and its copies."""


class HashConfig(Settings):
    """Perceptual hash, the cheap first look for duplicates."""

    method: Literal["pca", "phash"] = "pca"
    """`pca`: signs of PCA components of a 32x32 thumbnail; `phash`: imagededup's DCT hash."""
    bits: int = Field(64, ge=8, le=256, multiple_of=8)
    """Length of the PCA hash; `phash` always has 64."""
    radius: int = Field(0, ge=0, le=16)
    """Hamming distance up to which two hashes are one image; 0 for equal hashes only."""


class CopyConfig(ModelConfig):
    """The copy descriptor."""

    model: str = LITE0_COPY
    whiten: bool = False
    """PCA-whiten its vectors, fitted on a sample of the run. Similarities are then others, so thresholds must be chosen
    anew (`lvd thresholds`). A classical descriptor is whitened as it is."""


class NormaliseConfig(Settings):
    """Similarity normalisation, as in SSCD (arXiv 2202.10261). Off by default.

    A sample of the pool's descriptors is the background. An image's *bias* is its mean similarity to those of the
    background that are most similar to it; images that resemble everything have a large one. From the similarity of two
    images `weight` x the mean of their biases is taken off.
    """

    weight: float = Field(0.0, ge=0, le=2)
    """0 for none; 1 is usual. Similarities are then lower, so thresholds must be chosen anew (`lvd thresholds`)."""
    first: int = Field(5, ge=1, le=1024)
    """Rank of the first image of the background that counts; those before it may be copies."""
    last: int = Field(20, ge=1, le=1024)
    """Rank of the last one. The pool must have more images."""

    @model_validator(mode="after")
    def _ranks_are_in_order(self) -> Self:
        if self.first > self.last:
            raise ValueError(f"dedup.normalise: first is {self.first} and last {self.last}; last should be no smaller")
        return self


class SelfDedupConfig(Settings):
    """Duplicates within the pool: of images that are copies of each other one is kept."""

    enabled: bool = True
    threshold: Similarity | None = None
    """`dedup.verify: off`: cosine similarity above which two images are linked. None for the descriptor's own: the
    paper's 0.6 for SSCD, 0.65 for the classical one; others have none, and it must be given."""


class RelativeDedupConfig(Settings):
    """Copies of reference images: none is kept."""

    threshold: Similarity | None = None
    """`dedup.verify: off`: cosine similarity above which an image is linked to a reference image. None for the
    descriptor's own: 0.45 for SSCD (the paper's) and the classical one; others have none, and it must be given."""
    all_above: Similarity = 0.6
    """`dedup.verify: geometry`: where all `neighbours` of a reference image are more similar than this, all other
    images that are follow: half a pool may be copies of one."""


class DedupConfig(Settings):
    """Copy detection: nearest neighbours by copy descriptor, a look at those that may be copies, one of each is kept.

    Similarities belong to the descriptor, so what a config does not set is taken from `DEDUP_OF` by the descriptor's
    family; the defaults below are for the others.
    """

    neighbours: int = Field(64, ge=1, le=1024)
    """k of the kNN graph (the paper's 64)."""
    exact_up_to: int = Field(200_000, ge=0)
    """Images up to which neighbours are searched exactly. Larger pools get an inverted file, whose recall against exact
    search is measured on a sample of every part."""
    probes: int = Field(32, ge=1)
    """Lists of the inverted file that are searched for each image."""
    compressed_from: int = Field(20_000_000, ge=0)
    """Images from which on the inverted file holds product-quantised codes, and the best are ranked again exactly."""
    partition: int = Field(5_000_000, ge=1)
    """Images of the pool, of whole parts, that a worker searches among at a time: what bounds its memory. Each takes 2
    bytes a dimension, with an inverted file twice as many, or a quarter more where that holds codes (docs/dedup.md)."""
    verify: Literal["geometry", "off"] = "geometry"
    """`geometry`: two images are linked when points, and pixels laid upon each other, say that one is a copy of the
    other; `off`: when they are more similar than a threshold, the paper's rule."""
    grouping: Literal["star", "components"] = "star"
    """`star`: an image is dropped for one that is kept and that it is linked to itself; `components`: for one that it
    is linked to over any number of images, the paper's rule."""
    candidate_above: Annotated[float, Field(ge=-1, le=1)] = 0.0
    """Cosine similarity below which no pair is looked at."""
    max_candidates: int = Field(8, ge=1, le=1024)
    """Neighbours of each image, the most similar, that are looked at."""
    probability: float = Field(0.9, gt=0, le=1)
    """Probability, by the evidence, from which on a pair is taken for copies."""
    min_similarity_to_kept: float | None = Field(None, ge=-1, le=1)
    """`grouping: components`: ends chains of merges: a copy is dropped only if its similarity to the image that stands
    for it is at least this. None for no limit."""
    max_share: float = Field(0.5, ge=0, le=1)
    """The brake: a run that would drop more than this share of the pool as copies stops before it drops anything. 1 for
    no limit."""
    max_group: float = Field(0.05, ge=0, le=1)
    """The brake: so does one in which a single image would stand for more than this share of a pool of 200 images or
    more."""
    normalise: NormaliseConfig = NormaliseConfig()
    """What similarities are lowered by before they are compared with any of these thresholds."""
    self_: SelfDedupConfig = Field(default_factory=SelfDedupConfig, alias="self")
    relative: RelativeDedupConfig = Field(default_factory=RelativeDedupConfig)

    @field_validator("verify", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: object) -> object:
        return "off" if value is False else value

    @property
    def self_threshold(self) -> float:
        """Of the plain rule; there, as the config is checked, unless pairs are looked at."""
        assert self.self_.threshold is not None
        return self.self_.threshold

    @property
    def relative_threshold(self) -> float:
        """The same, for reference images."""
        assert self.relative.threshold is not None
        return self.relative.threshold


DEDUP_OF: Mapping[str, Mapping[str, Any]] = {
    "lvd": {"neighbours": 16, "candidate_above": 0.25},
    "sscd": {"candidate_above": 0.2, "self": {"threshold": 0.6}, "relative": {"threshold": 0.45}},
    "classical": {"self": {"threshold": 0.65}, "relative": {"threshold": 0.45}},
}
"""How images are linked by descriptors of a family. `lvd`: by what `tests/bench/bench_copy_quality.py` shows
(docs/dedup.md); `sscd`: the paper's thresholds, for its plain rule."""
