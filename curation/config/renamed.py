"""Names of an earlier version, and what they are called now: config keys, roles and stages."""

from collections.abc import Mapping
from typing import Any

__all__ = ["KEYS", "ROLES", "STAGES", "renamed_keys"]

KEYS: Mapping[str, str] = {
    "copies": "copy_descriptors",
    "dedup.floor": "dedup.candidate_above",
    "dedup.shard": "dedup.partition",
    "dedup.accept_above": "dedup.probability",
    "dedup.score": "dedup.probability",
    "dedup.sure": "dedup.probability",
    "dedup.top": "dedup.max_candidates",
    "dedup.widest": "dedup.min_similarity_to_kept",
    "excludes": "exclude",
    "retrieval.shard": "retrieval.partition",
    "semantic": "semantic_dedup",
    "semantic.widest": "semantic_dedup.min_similarity_to_kept",
    "semantic_dedup.widest": "semantic_dedup.min_similarity_to_kept",
}
"""Keys of a curation's config."""
ROLES: Mapping[str, str] = {"excludes": "exclude", "references": "reference", "seeds": "seed"}
"""Roles of collections, where a setting lists them."""
STAGES: Mapping[str, str] = {
    "alike": "embedding_knn",
    "copies": "copy_descriptors",
    "features": "local_features",
    "links": "extract_urls",
    "listing": "list",
    "near": "copy_knn",
    "neighbours": "seed_knn",
    "samples": "fetch",
    "semantic": "semantic_dedup",
    "tree": "hierarchy",
    "unique": "dedup_urls",
    "unwanted": "exclude",
    "verified": "verify_copies",
}
"""Stages, as `--until` names them."""


def renamed_keys(key: str, value: Any) -> dict[str, str]:
    """Old keys -> their new names, of an unknown key and of what is set below it; empty where it never was one."""
    if key not in KEYS:
        return {}
    below = [f"{key}.{name}" for name in value] if isinstance(value, dict) else []
    return {old: KEYS[old] for old in (key, *below) if old in KEYS}
