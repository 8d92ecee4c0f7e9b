"""What each stage of each collection let through and dropped."""

from curation import pipeline
from curation.engine import ledgers
from curation.engine.ledgers import FunnelRow
from curation.run.directory import Run
from curation.run.parts import Collection

__all__ = ["FunnelRow", "funnel", "row_sets"]


def funnel(run: Run) -> list[FunnelRow]:
    """One row for each stage that a run has done and has on, in order. RunError if a part file is damaged."""
    return ledgers.funnel(run, pipeline.CURATE)


def row_sets(run: Run) -> list[tuple[Collection, tuple[str, ...]]]:
    """Every row set that a run can have, with the stages that it has on, in the order of the work."""
    nodes = pipeline.CURATE
    paths = nodes.row_sets(run)
    return [(run.collection(path), tuple(node.name for node in nodes.at(run.config, path))) for path in paths]
