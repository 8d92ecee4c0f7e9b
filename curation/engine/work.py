"""Stages at work: the skeleton around `process`, which stands here once for each kind of stage.

A work decides from the files alone whether there is anything to do, so it may be given to a runner at any time and as
often as one likes. `image_pass.py` has the work of image stages.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from curation.engine.contract import (
    Fit,
    GlobalStage,
    IterativeFit,
    MakesRows,
    PartStage,
    Place,
    WritesFiles,
    commit_output,
    is_current,
)
from curation.run.parts import Collection
from curation.search.worker_group import Partition, WorkerGroup

__all__ = ["FitWork", "GlobalWork", "GpuWork", "PartWork", "Step", "TableWork", "read_columns"]


class PartWork(Protocol):
    """Work on parts of one collection: what a runner spreads over its workers. Must pickle before `setup`."""

    @property
    def collection(self) -> Collection:
        """The collection whose parts these are."""

    @property
    def stages(self) -> Sequence[str]:
        """The stages whose files it makes, in order."""

    def setup(self) -> None:
        """Load models and the like, once per worker."""

    def is_current(self, part: int) -> bool:
        """Tell whether a part needs no work."""

    def run(self, part: int) -> None:
        """Bring one part up to date and commit it."""


@runtime_checkable
class GpuWork(Protocol):
    """Work that may be faster on a worker with a GPU of its own."""

    @property
    def wants_gpu(self) -> bool:
        """Whether it is."""
        ...

    def decode_with(self, threads: int) -> None:
        """What the worker has beside its GPU, from the next part on."""


class Step(Protocol):
    """Work on all parts of a collection at once. Must pickle."""

    @property
    def name(self) -> str:
        """What errors call it."""

    def is_current(self) -> bool:
        """Tell whether there is nothing to do."""

    def run(self, group: WorkerGroup | None = None) -> None:
        """Do what there is to do, and commit it; with a group's help where it has partitions."""


class TableWork:
    """A part stage over the parts of a collection."""

    def __init__(self, collection: Collection, stage: PartStage, seed: int) -> None:
        self.collection = collection
        self.stages = [stage.spec.name]
        self.stage = stage
        self._seed = seed

    def setup(self) -> None:
        self.stage.setup()

    def is_current(self, part: int) -> bool:
        if isinstance(self.stage, MakesRows):
            footer = self.collection.footer(self.stage.spec.name, part)
            return footer is not None and footer.digest == self.stage.digest(part)
        written = not isinstance(self.stage, WritesFiles) or self.stage.is_written(self._place(part))
        return is_current(self.stage.spec, self.collection, part) and written

    def run(self, part: int) -> None:
        if self.is_current(part):
            return
        started = time.monotonic()
        spec, place = self.stage.spec, self._place(part)
        if isinstance(self.stage, WritesFiles):
            self.collection.remove(spec.name, part)  # it would vouch for files that are about to change
        if isinstance(self.stage, MakesRows):
            output = replace(self.stage.process(pa.table({}), place), digest=self.stage.digest(part))
            live = np.ones(len(output.columns[spec.adds.names[0]]), dtype=bool)
        else:
            assert spec.after is not None
            live = self.collection.live(spec.after, part)
            rows = read_columns(self.collection, part, spec.reads)
            output = self.stage.process(rows.filter(pa.array(live)) if rows.num_columns else rows, place)
        commit_output(spec, self.collection, part, live, output, seconds=time.monotonic() - started)

    def surplus(self, parts: Sequence[int]) -> list[int]:
        """What is no part of the row set any more."""
        return sorted(set(self.collection.parts(self.stage.spec.name)) - set(parts))

    def remove_surplus(self, parts: Sequence[int]) -> None:
        """Remove it, and its files."""
        for part in self.surplus(parts):
            self.collection.remove(self.stage.spec.name, part)
            if isinstance(self.stage, WritesFiles):
                self.stage.remove_files(self._place(part))

    def _place(self, part: int) -> Place:
        return Place(self.collection, part, self._seed)


class GlobalWork:
    """A global stage over a collection."""

    def __init__(self, collection: Collection, stage: GlobalStage) -> None:
        self._collection = collection
        self.stage = stage

    @property
    def name(self) -> str:
        return self.stage.spec.name

    def is_current(self) -> bool:
        expected = self.stage.expected()
        return expected is not None and not self._stale(expected)

    def run(self, group: WorkerGroup | None = None) -> None:
        spec, expected = self.stage.spec, self.stage.expected() or {}
        started = time.monotonic()
        self.stage.setup()
        for part, output in self.stage.process(self._stale(expected)):
            if spec.after is None:
                live = np.ones(len(output.columns[spec.adds.names[0]]), dtype=bool)
            else:
                live = self._collection.live(spec.after, part)
            seconds = time.monotonic() - started
            digest = output.digest or expected.get(part)
            commit_output(spec, self._collection, part, live, output, digest=digest, seconds=seconds)
            started = time.monotonic()

    def _stale(self, expected: Mapping[int, str]) -> list[int]:
        footers = {part: self._collection.footer(self.stage.spec.name, part) for part in expected}
        return [part for part, footer in footers.items() if footer is None or footer.digest != expected[part]]


class FitWork:
    """A fit, and its artifact stored."""

    def __init__(self, fit: Fit) -> None:
        self.fit = fit

    @property
    def name(self) -> str:
        return f"fit {self.fit.artifact.name.replace('_', ' ')}"

    @property
    def iterates(self) -> bool:
        """Whether it wants a group of workers."""
        return isinstance(self.fit, IterativeFit)

    def partitions(self, most: int) -> Sequence[Partition]:
        """What a group holds for it."""
        assert isinstance(self.fit, IterativeFit)
        return self.fit.partitions(most)

    def is_current(self) -> bool:
        return self.fit.artifact.load() is not None

    def run(self, group: WorkerGroup | None = None) -> None:
        self.fit.artifact.save(self.fit.process(group))
        for artifact in self.fit.scratch:
            artifact.remove()


def read_columns(collection: Collection, part: int, reads: Mapping[str, Sequence[str]]) -> pa.Table:
    """The columns that a stage reads, side by side."""
    columns: dict[str, pa.ChunkedArray] = {}
    for stage, names in reads.items():
        table = collection.read(stage, part, names)
        columns.update({name: table[name] for name in names})
    return pa.table(columns)
