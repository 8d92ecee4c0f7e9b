"""The whole config of a run."""

import difflib
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from curation.config.base import Settings
from curation.config.composition import BALANCED, OTHERS, ExportConfig, SelectionConfig
from curation.config.concepts import (
    PRETRAIN,
    ClusterConfig,
    EmbedConfig,
    HierarchyConfig,
    RetrievalConfig,
    SemanticDedupConfig,
)
from curation.config.datasets import ExcludeConfig, PlanConfig, ReferenceConfig, SeedConfig
from curation.config.dedup import DEDUP_OF, LITE0_COPY, CopyConfig, DedupConfig, HashConfig
from curation.config.filters import PrivacyConfig, QualityConfig, SafetyConfig
from curation.config.images import CrawlConfig, ImageConfig
from curation.config.work import PartsConfig, RunnerConfig
from curation.config.yaml_text import dump_yaml

__all__ = ["Config"]


class Config(Settings):
    """Everything that a run is made from."""

    seed: int = Field(0, ge=0)
    """Seed of all randomness, together with a stage's name and a part's number."""
    pool: list[str] = Field(min_length=1)
    """Datasets that together are the uncurated pool."""
    seeds: list[SeedConfig]
    """What to find more of; `lvd curate` needs at least one, but for `selection.mode: hierarchical`."""
    references: list[ReferenceConfig] = Field(default_factory=list)
    exclude: list[ExcludeConfig] = Field(default_factory=list)
    parts: PartsConfig = PartsConfig()
    runner: RunnerConfig = RunnerConfig()
    crawl: CrawlConfig = CrawlConfig()
    image: ImageConfig = ImageConfig()
    quality: QualityConfig = QualityConfig()
    safety: SafetyConfig = SafetyConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    hash: HashConfig = HashConfig()
    copy_descriptors: CopyConfig = CopyConfig()
    dedup: DedupConfig = DedupConfig()
    embed: EmbedConfig = EmbedConfig()
    semantic_dedup: SemanticDedupConfig = SemanticDedupConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    clusters: ClusterConfig = ClusterConfig()
    hierarchy: HierarchyConfig = HierarchyConfig()
    selection: SelectionConfig = SelectionConfig()
    export: ExportConfig = ExportConfig()
    plan: PlanConfig = PlanConfig()

    @model_validator(mode="before")
    @classmethod
    def _linked_as_the_descriptor_needs(cls, values: Any) -> Any:
        """Fill in what `dedup` leaves open; what is malformed is for the checks that follow."""
        copies, given = (
            (values.get(name, {}) for name in ("copy_descriptors", "dedup")) if isinstance(values, dict) else (0, 0)
        )
        if not isinstance(copies, dict) or not isinstance(given, dict):
            return values
        model = str(copies.get("model", LITE0_COPY))
        family = model.partition("/")[0] if model != PRETRAIN else ""  # that is no copy descriptor
        own = DEDUP_OF.get(family, {})
        filled = {**own, **given}
        for name in own.keys() & given.keys():
            if isinstance(own[name], Mapping) and isinstance(given[name], dict):
                filled[name] = {**own[name], **given[name]}
        return {**values, "dedup": filled}

    @model_validator(mode="after")
    def _plain_rule_has_thresholds(self) -> Self:
        dedup = self.dedup
        if dedup.verify != "off":
            if given := [item.name for item in self.references if item.threshold is not None]:
                raise ValueError(
                    f"references.{given[0]}.threshold: is for dedup.verify: off; with geometry no similarity is "
                    "enough, so remove it"
                )
            return self
        missing = ["self"] if dedup.self_.enabled and dedup.self_.threshold is None else []
        if dedup.relative.threshold is None and self.references:
            missing.append("relative")
        if missing:
            raise ValueError(
                f"dedup.{missing[0]}.threshold: is missing; with dedup.verify: off images are linked by similarity "
                f"alone, and for {self.copy_descriptors.model} no threshold is known to be safe. Leave verify at "
                "geometry, or choose one with `lvd thresholds RUN --filter dedup`"
            )
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for field in ("seeds", "references", "exclude"):
            names = [item.name for item in getattr(self, field)]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{field}: the name {twice[0]!r} is used twice; give each set its own")
        return self

    @model_validator(mode="after")
    def _weights_are_those_of_sources(self) -> Self:
        if (weights := self.selection.weights) is None:
            return self
        sources = self.sources()
        if taken := sorted({BALANCED, OTHERS} & {seed.name for seed in self.seeds}):
            raise ValueError(f"seeds: a set cannot be called {taken[0]!r} with selection.weights; give it another name")
        for name in weights:
            if name not in (*sources, OTHERS):
                near = difflib.get_close_matches(name, [*sources, OTHERS], n=3)
                hint = f"did you mean {' or '.join(near)}? " if near else ""
                raise ValueError(
                    f"selection.weights.{name}: chooses no images; {hint}"
                    f"weights are for {', '.join(sources)}, and {OTHERS} for all that are not named"
                )
        unnamed = [name for name in sources if name not in weights]
        if unnamed and OTHERS not in weights:
            raise ValueError(
                f"selection.weights: none for {', '.join(unnamed)}; add one for each, or {OTHERS} for them together"
            )
        if OTHERS in weights and not unnamed:
            raise ValueError(f"selection.weights.{OTHERS}: every source has a weight of its own; leave it out")
        return self

    def sources(self) -> list[str]:
        """What chooses images: seed sets that are taken or retrieve, then the hierarchy (`balanced`) if it does."""
        chosen = self.selection
        names = [seed.name for seed in self.seeds if seed.as_is or (seed.retrieve and chosen.retrieves)]
        return [*names, *([BALANCED] if chosen.balances else [])]

    def recipe(self) -> dict[str, Any]:
        """The settings that the result depends on: all but where the work runs and where hosts are reached."""
        unused: dict[str, Any] = {"runner": True, "plan": True, "crawl": {"connect_to"}}
        return self.model_dump(mode="json", by_alias=True, exclude=unused)

    def to_yaml(self) -> str:
        """The whole config as YAML that `load_config` reads back to an equal config."""
        return dump_yaml(self.model_dump(mode="json", by_alias=True))
