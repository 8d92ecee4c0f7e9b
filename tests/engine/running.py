"""Runs stages outside a pipeline, with the works that an execution runs them with."""

from curation.engine.work import FitWork, TableWork
from curation.search.worker_group import LocalGroup

__all__ = ["run_fit", "run_parts", "searched", "searches"]


def run_parts(collection, stage, parts=None):
    """Run a part stage over the parts that it takes, each of which is then up to date; returns the work."""
    work = TableWork(collection, stage, 0)
    for part in collection.parts(stage.spec.after) if parts is None else parts:
        work.setup()
        work.run(part)
        assert work.is_current(part)
    return work


def run_fit(fit, partitions=1):
    """Run a fit whose artifact is out of date; one that iterates, with a group of so many partitions."""
    work = FitWork(fit)
    if not work.is_current():
        work.run(LocalGroup(work.partitions(partitions), 1) if work.iterates else None)
    assert work.is_current()
    return fit


def searches(stage):
    """All that a search for neighbours has to do, in order: (work, part)."""
    works = [*stage.passes(), [TableWork(stage.collection, stage, 0)]]
    return [(work, part) for some in works for work in some for part in stage.collection.parts(stage.spec.after)]


def searched(stage):
    """Build the index where it is missing and search to the end; returns the stage."""
    if not stage.index.is_current():
        stage.index.run()
    for work, part in searches(stage):
        work.setup()
        work.run(part)
        assert work.is_current(part)
    return stage
