"""What each stage of each collection let through and dropped."""

from curation.engine import ledgers
from curation.engine.ledgers import FunnelRow
from curation.pipeline import CURATE
from curation.run.directory import Run
from curation.run.parts import Collection

__all__ = ["FunnelRow", "funnel", "row_sets"]


def funnel(run: Run) -> list[FunnelRow]:
    """One row for each stage that a run has done and has on, in order. RunError if a part file is damaged."""
    return ledgers.funnel(run, CURATE)


def row_sets(run: Run) -> list[tuple[Collection, tuple[str, ...]]]:
    """Every row set that a run can have, with the stages that it has on, in the order of the work."""
    paths = CURATE.row_sets(run)
    return [(run.collection(path), tuple(node.name for node in CURATE.at(run.config, path))) for path in paths]
