"""What a stage is: rows in, the same rows out, with new columns.

A stage has a `spec`, a `setup`, and one `process`. There are three kinds, which differ in what `process` is given:

- a *part stage*: the columns of the live rows of one part;
- an *image stage*: a batch of decoded images; consecutive ones share one decode of each image;
- a *global stage*: nothing, as it reads all parts itself. One that adds no columns and keeps arrays is a *fit*.

What is around `process` (is it current, read, time, commit) stands once, in `work.py` and `image_pass.py`.
"""

from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from curation.arrays import BoolArray
from curation.drops import Dropped
from curation.imaging.decode import Pixels
from curation.run.artifacts import Arrays, Artifact
from curation.run.parts import VERDICT, Collection, Footer, digest_of, verdict_columns
from curation.search.worker_group import Partition, WorkerGroup

__all__ = [
    "Batched",
    "Fit",
    "FromColumns",
    "GlobalStage",
    "GpuStage",
    "ImageStage",
    "Index",
    "Indexed",
    "IterativeFit",
    "MakesRows",
    "Output",
    "PartStage",
    "Place",
    "StageSpec",
    "WritesFiles",
    "commit_output",
    "expected_digest",
    "global_digest",
    "is_current",
]


@dataclass(frozen=True, slots=True)
class StageSpec:
    """What is fixed about a stage.

    Attributes:
        name: the stage's folder.
        version: raised whenever the code would give another output for the same input.
        after: the stage whose live rows it takes; None for a stage that makes the rows.
        reads: earlier stages, and the columns of theirs that `process` is given; none where it reads them itself.
        adds: the columns that it adds.
        settings: all that its output depends on besides its input: config values, fingerprints of weights, digests of
            artifacts. Plain JSON values.
    """

    name: str
    version: int
    after: str | None
    reads: Mapping[str, Sequence[str]]
    adds: pa.Schema
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Output:
    """A stage's answer for the rows it was given.

    Attributes:
        columns: one array per column. What a column holds at a dropped row is kept: it is what can still be said of
            that sample.
        drops: the dropped rows, by position.
        images: encoded images, by position, that take the place of those given. Only an image stage with the columns
            of `locations.STORED` may give any; those columns are filled in for it.
        digest: of a stage that makes rows, whose digest is known only with them.
    """

    columns: Mapping[str, pa.Array]
    drops: Mapping[int, Dropped] = field(default_factory=dict)
    images: Mapping[int, bytes] = field(default_factory=dict)
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stage is working: collection, part number, and the run's seed."""

    collection: Collection
    part: int
    seed: int


class PartStage(Protocol):
    """A stage that works from columns."""

    @property
    def spec(self) -> StageSpec: ...

    def setup(self) -> None:
        """Load what is needed to work, once per worker."""

    def process(self, rows: pa.Table, place: Place) -> Output:
        """Work on the live rows of one part: a table of the columns named in `spec.reads`."""


@runtime_checkable
class MakesRows(Protocol):
    """A part stage that makes the rows of a row set, from what is no part of the run."""

    def parts(self) -> list[int]:
        """The parts that there are."""

    def digest(self, part: int) -> str:
        """What an up-to-date file of a part carries."""


@runtime_checkable
class WritesFiles(Protocol):
    """A part stage that writes files beside its table; a part is not done without them."""

    def is_written(self, place: Place) -> bool:
        """Whether the files of a finished part are there."""

    def remove_files(self, place: Place) -> None:
        """Remove the files of a part that the row set no longer has."""


class Index(Protocol):
    """An index of a collection's vectors, in partitions; as a step it builds those that are missing."""

    @property
    def name(self) -> str: ...

    @property
    def partitions(self) -> Sized: ...

    def is_current(self) -> bool:
        """Whether all partitions are built."""

    def run(self, group: WorkerGroup | None = None) -> None:
        """Build what is missing here, one partition after the other."""

    def forget_others(self) -> None:
        """Remove what is no partition any more."""

    def work(self) -> Any:
        """The work of building several partitions at once; its parts are their numbers."""


@runtime_checkable
class Indexed(Protocol):
    """A part stage that searches an index, partition by partition."""

    @property
    def index(self) -> Index: ...

    def passes(self) -> Sequence[Sequence[Any]]:
        """The works before the stage's own, pass after pass; empty where one partition is all."""

    def forget_lanes(self) -> None:
        """Remove what a killed command left of these, once all parts are done."""


class ImageStage(Protocol):
    """A stage that works from decoded images."""

    @property
    def spec(self) -> StageSpec: ...

    def setup(self) -> None:
        """Load what is needed to work, once per worker."""

    def process(self, images: Sequence[Pixels], sources: Sequence[bytes]) -> Output:
        """Work on a batch of images, uint8 arrays of shape (H, W, 3), and the bytes that each was decoded from."""


class GlobalStage(Protocol):
    """A stage that needs all parts at once."""

    @property
    def spec(self) -> StageSpec: ...

    def setup(self) -> None:
        """Load what is needed to work."""

    def expected(self) -> Mapping[int, str] | None:
        """The parts that there should be, and the digest of an up-to-date file of each; None where only the work
        itself can tell."""

    def process(self, stale: Sequence[int]) -> Iterator[tuple[int, Output]]:
        """The answer for the live rows of each part that is out of date; each is committed before the next is asked
        for. A stage whose `expected` is None gives the parts that it finds to be made."""


class Fit(Protocol):
    """A global stage that adds no columns: what it makes is an artifact.

    Attributes:
        artifact: where it is kept, and the digest of all that it depends on.
        scratch: artifacts that hold what an interrupted fit goes on from; removed once the artifact is there.
    """

    @property
    def artifact(self) -> Artifact: ...

    @property
    def scratch(self) -> Sequence[Artifact]: ...

    def process(self, group: WorkerGroup | None) -> Arrays:
        """Make the artifact; an `IterativeFit` is given a group of workers that hold its partitions."""


@runtime_checkable
class IterativeFit(Protocol):
    """A fit that goes over its data many times."""

    def partitions(self, most: int) -> Sequence[Partition]:
        """What holds the data, at most so many. Partitions must pickle before `setup`."""


@runtime_checkable
class Batched(Protocol):
    """An image stage whose model wants more images at once than others."""

    @property
    def at_once(self) -> int:
        """Images that it is best given at once, on this machine; known after `setup`."""
        ...


@runtime_checkable
class FromColumns(PartStage, Protocol):
    """A part stage in the place of an image stage, alone in its pass: an earlier pass kept what it needs."""

    from_columns: bool


@runtime_checkable
class GpuStage(Protocol):
    """An image stage whose work is nearly all a network's."""

    @property
    def wants_gpu(self) -> bool:
        """Whether it is faster with a GPU of its own, where there is one."""
        ...


def expected_digest(spec: StageSpec, collection: Collection, part: int) -> str | None:
    """The digest that an up-to-date file of this part carries; None while what it reads is not there yet."""
    inputs: dict[str, str] = {}
    if spec.after is not None:
        footer = collection.footer(spec.after, part)
        if footer is None:
            return None
        inputs["live"] = footer.live
    for stage in spec.reads:
        footer = collection.footer(stage, part)
        if footer is None:
            return None
        inputs[stage] = footer.digest
    return digest_of([spec.name, spec.version, dict(spec.settings), inputs])


def global_digest(spec: StageSpec, inputs: Sequence[tuple[Collection, str]]) -> str:
    """The digest of a stage that reads all parts of these collections' stages."""
    states = [[collection.path, stage, collection.state(stage)] for collection, stage in inputs]
    return digest_of([spec.name, spec.version, dict(spec.settings), states])


def is_current(spec: StageSpec, collection: Collection, part: int) -> bool:
    """Tell whether a stage's file of this part exists and was made from today's input and settings."""
    footer = collection.footer(spec.name, part)
    return footer is not None and footer.digest == expected_digest(spec, collection, part)


def commit_output(
    spec: StageSpec,
    collection: Collection,
    part: int,
    live_in: BoolArray,
    output: Output,
    *,
    digest: str | None = None,
    seconds: float = 0.0,
) -> Footer:
    """Spread a stage's answer for live rows over all rows of the part, and commit it.

    Args:
        live_in: mask of the part's rows that were given to the stage, in order.
        digest: what to record; by default what `expected_digest` says.
    """
    rows = np.flatnonzero(live_in)
    position = np.full(len(live_in), -1, dtype=np.int64)
    position[rows] = np.arange(len(rows))
    indices = pa.array(position, mask=position < 0)
    verdict = verdict_columns(live_in, {int(rows[at]): drop for at, drop in output.drops.items()})
    arrays = [_checked(spec, output, name, len(rows)).take(indices) for name in spec.adds.names]
    table = pa.Table.from_arrays([*arrays, *verdict], names=[*spec.adds.names, *VERDICT.names])
    digest = digest or output.digest or expected_digest(spec, collection, part)
    assert digest is not None, f"{spec.name}: committed before its input"
    return collection.commit(
        spec.name, spec.version, part, table, digest=digest, live_in=int(live_in.sum()), seconds=seconds
    )


def _checked(spec: StageSpec, output: Output, name: str, rows: int) -> pa.Array:
    array = output.columns[name]
    expected = spec.adds.field(name).type
    assert len(array) == rows, f"{spec.name}.{name}: {len(array)} values for {rows} rows"
    assert array.type == expected, f"{spec.name}.{name}: type {array.type}, not {expected}"
    return array
