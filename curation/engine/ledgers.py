"""The funnel: what each stage of each collection let through and dropped, summed over the footers of its parts."""

from dataclasses import dataclass
from typing import Any

from curation.engine.graph import Pipeline
from curation.run.directory import Run
from curation.run.parts import Ledger

__all__ = ["FunnelRow", "funnel"]


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


def funnel(run: Run, pipeline: Pipeline) -> list[FunnelRow]:
    """One row for each stage that a run has done and has on, in order. RunError if a part file is damaged."""
    rows = []
    for path in pipeline.row_sets(run):
        collection = run.collection(path)
        for node in pipeline.at(run.config, path):
            footers = [collection.footer(node.name, part) for part in collection.parts(node.name)]
            if footers:
                ledgers = [footer.ledger for footer in footers if footer is not None]
                rows.append(FunnelRow(path or "selection", node.name, len(footers), sum(ledgers[1:], ledgers[0])))
    return rows
