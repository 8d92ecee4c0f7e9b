"""The settings of a run: strict models, YAML in, every mistake one line that says where and what to do.

A settings class documents each field and its unit. Stages receive their own section, never the whole config, so
what a stage's output can depend on is visible in its constructor.
"""

from curation.config.base import ModelConfig, Role
from curation.config.composition import BALANCED, OTHERS, ExportConfig, SelectionConfig
from curation.config.concepts import (
    LITE0_CONCEPT,
    PRETRAIN,
    ClusterConfig,
    EmbedConfig,
    HierarchyConfig,
    RetrievalConfig,
    SemanticDedupConfig,
)
from curation.config.datasets import ExcludeConfig, PlanConfig, ReferenceConfig, SeedConfig
from curation.config.dedup import LITE0_COPY, CopyConfig, DedupConfig, HashConfig, NormaliseConfig
from curation.config.filters import WEB_POOL, PrivacyConfig, QualityConfig, QualityHeadConfig, SafetyConfig
from curation.config.images import CrawlConfig, ImageConfig
from curation.config.reading import (
    laid_over,
    load_config,
    load_settings,
    overridden,
    parse_config,
    parse_overrides,
    parse_settings,
)
from curation.config.run import Config
from curation.config.work import PartsConfig, RunnerConfig
from curation.config.yaml_text import dump_yaml, parse_yaml

__all__ = [
    "BALANCED",
    "LITE0_CONCEPT",
    "LITE0_COPY",
    "OTHERS",
    "PRETRAIN",
    "WEB_POOL",
    "ClusterConfig",
    "Config",
    "CopyConfig",
    "CrawlConfig",
    "DedupConfig",
    "EmbedConfig",
    "ExcludeConfig",
    "ExportConfig",
    "HashConfig",
    "HierarchyConfig",
    "ImageConfig",
    "ModelConfig",
    "NormaliseConfig",
    "PartsConfig",
    "PlanConfig",
    "PrivacyConfig",
    "QualityConfig",
    "QualityHeadConfig",
    "ReferenceConfig",
    "RetrievalConfig",
    "Role",
    "RunnerConfig",
    "SafetyConfig",
    "SeedConfig",
    "SelectionConfig",
    "SemanticDedupConfig",
    "dump_yaml",
    "laid_over",
    "load_config",
    "load_settings",
    "overridden",
    "parse_config",
    "parse_overrides",
    "parse_settings",
    "parse_yaml",
]
