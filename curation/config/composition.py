"""What is chosen, and the shards that it becomes."""

from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from curation.config.base import Settings, Weight

__all__ = ["BALANCED", "OTHERS", "ExportConfig", "SelectionConfig"]

BALANCED = "balanced"
"""How an image was chosen that is a share of the hierarchy; it has no seed set. Also the name of that source."""
OTHERS = "others"
"""The source of all images whose own source has no weight of its own."""


class SelectionConfig(Settings):
    """How images of the pool are chosen; see docs/selection.md."""

    mode: Literal["retrieval", "hierarchical", "both"] = "retrieval"
    """`retrieval`: by the seed sets; `hierarchical`: equally from all clusters of a hierarchy, whatever the seeds;
    `both`: what either chooses. Seed sets that are taken `as_is` are in all of them."""
    size: int | None = Field(None, ge=1)
    """Images that are chosen from the hierarchy; all of the pool, where it has fewer."""
    picks: Literal["random", "nearest"] = "random"
    """Images of a lowest cluster: at random, or those nearest to its centroid."""
    weights: dict[str, Weight] | None = None
    """Share of the trainer's batches by source, relative to each other: a source is the seed set that chose an image,
    `balanced` for the hierarchy, `others` for all that are not named, mixed. Each shard then holds one source's images
    alone. None for shards in which all are mixed."""

    @model_validator(mode="after")
    def _has_a_size(self) -> Self:
        if self.mode != "retrieval" and self.size is None:
            raise ValueError(f"selection.size: missing; say how many images selection.mode: {self.mode} is to choose")
        return self

    @model_serializer(mode="wrap")
    def _unset_weights_leave_no_trace(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What a run without weights writes down is what it wrote before there were any."""
        values: dict[str, Any] = serialize(self)
        if values.get("weights") is None:
            values.pop("weights", None)
        return values

    def source_of(self, seed_set: str) -> str:
        """The weighted source of an image by the seed set that chose it; of one from the hierarchy, which has none."""
        name = seed_set or BALANCED
        return name if self.weights and name in self.weights else OTHERS

    def shares(self) -> dict[str, float]:
        """Share of the trainer's batches by source; nothing where there are no weights."""
        weights = self.weights or {}
        return {name: weight / sum(weights.values()) for name, weight in weights.items()}

    @property
    def retrieves(self) -> bool:
        """Whether seed sets bring in images of the pool."""
        return self.mode != "hierarchical"

    @property
    def balances(self) -> bool:
        """Whether a hierarchy of clusters does."""
        return self.mode != "retrieval"


class ExportConfig(Settings):
    """The shards."""

    samples_per_shard: int = Field(2_000, ge=1)
    quality: int = Field(95, ge=1, le=100)
    """JPEG quality for images that were no JPEG, and for those that cannot be turned upright without loss; other JPEG
    bytes are written as they came."""
