"""The funnel: how many samples each stage let through, and why the others were dropped. A sum over footers."""

from dataclasses import dataclass
from typing import Any

from curation.run.directory import Run
from curation.run.parts import Collection, Ledger

__all__ = ["CRAWL_STAGES", "STAGES", "FunnelRow", "all_collections", "funnel"]

CRAWL_STAGES = ("extract_urls", "dedup_urls")
STAGES = (
    "list",
    "fetch",
    "decode",
    "quality",
    "safety",
    "hashes",
    "copy_descriptors",
    "copy_knn",
    "local_features",
    "verify_copies",
    "dedup",
    "embeddings",
    "exclude",
    "embedding_knn",
    "semantic_dedup",
    "clusters",
    "hierarchy",
    "seed_knn",
)
SELECTION_STAGES = ("selection", "export")
LOOKS = ("local_features", "verify_copies")
"""Kept for hours of work when `dedup.verify` is turned off, but no part of what the run then is."""


@dataclass(frozen=True, slots=True)
class FunnelRow:
    """One stage of one collection, all its parts added up."""

    collection: str
    stage: str
    parts: int
    ledger: Ledger

    def to_dict(self) -> dict[str, Any]:
        """Without times and sizes in storage, which differ from machine to machine."""
        return {
            "collection": self.collection,
            "stage": self.stage,
            "parts": self.parts,
            "live_in": self.ledger.live_in,
            "live_out": self.ledger.live_out,
            "drops": self.ledger.drops,
        }


def all_collections(run: Run) -> list[tuple[Collection, tuple[str, ...]]]:
    """Every collection of a run that there can be, with the stages it can have, in the order of the work."""
    collections: list[tuple[Collection, tuple[str, ...]]] = []
    for path in run.collections():
        collections.append((run.collection(f"{path}/crawl"), CRAWL_STAGES))
        collections.append((run.collection(path), STAGES))
    collections.append((run.selection, SELECTION_STAGES))
    return collections


def funnel(run: Run) -> list[FunnelRow]:
    """One row for each stage that a run has done, in order. RunError if a part file is damaged."""
    rows = []
    off = LOOKS if run.config.dedup.verify == "off" else ()
    for collection, stages in all_collections(run):
        for stage in [stage for stage in stages if stage not in off]:
            parts = collection.parts(stage)
            total = Ledger(0, 0)
            for part in parts:
                footer = collection.footer(stage, part)
                assert footer is not None
                total += footer.ledger
            if parts:
                rows.append(FunnelRow(collection.path or "selection", stage, len(parts), total))
    return rows
