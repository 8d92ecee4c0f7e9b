"""What a stage is: rows in, the same rows out, with new columns.

A stage says what it reads and what it depends on; whether a part of it is up to date follows from that alone
(`expected_digest`). It is given live rows only, and answers with columns for them and with the rows that it drops.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.drops import Dropped
from curation.imaging.decode import Pixels
from curation.run.parts import VERDICT, Collection, Footer, digest_of, verdict_columns

__all__ = [
    "BatchedStage",
    "GpuStage",
    "Output",
    "PixelStage",
    "Place",
    "SourceStage",
    "Stage",
    "StageSpec",
    "commit_output",
    "expected_digest",
    "is_current",
]

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class StageSpec:
    """What is fixed about a stage.

    Attributes:
        name: the stage's folder.
        version: raised whenever the code would give another output for the same input.
        after: the stage whose live rows it takes; None for a stage that makes the rows.
        reads: earlier stages and the columns of theirs that it needs.
        schema: the columns that it adds.
        settings: all that its output depends on besides its input: config values, fingerprints of weights and
            fitted models. Plain JSON values.
    """

    name: str
    version: int
    after: str | None
    reads: Mapping[str, Sequence[str]]
    schema: pa.Schema
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Output:
    """A stage's answer for the rows it was given: one array per column, and the dropped rows by their position.

    What a column holds at a dropped row is kept: it is what can still be said of that sample. `images` holds, by
    position, encoded images that take the place of those given; only a stage with the columns of `places.STORED` may
    give any, and those columns are filled in for it.
    """

    columns: Mapping[str, pa.Array]
    drops: Mapping[int, Dropped] = field(default_factory=dict)
    images: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stage is working: collection, part number, and the run's seed."""

    collection: Collection
    part: int
    seed: int


class Stage(Protocol):
    """A stage that works from columns."""

    @property
    def spec(self) -> StageSpec: ...

    def setup(self) -> None:
        """Load what is needed to work, once per worker."""

    def process(self, rows: pa.Table, place: Place) -> Output:
        """Work on the live rows of one part: a table of the columns named in `spec.reads`."""


class PixelStage(Protocol):
    """A stage that works from decoded images; consecutive ones share one decode of each image."""

    @property
    def spec(self) -> StageSpec: ...

    def setup(self) -> None:
        """Load what is needed to work, once per worker."""

    def process_images(self, images: Sequence[Pixels]) -> Output:
        """Work on a batch of images, uint8 arrays of shape (H, W, 3)."""


@runtime_checkable
class BatchedStage(Protocol):
    """A pixel stage whose model wants more images at once than others."""

    @property
    def at_once(self) -> int:
        """Images that it is best given at once, on this machine; known after `setup`."""
        ...


@runtime_checkable
class GpuStage(Protocol):
    """A pixel stage whose work is nearly all a network's."""

    @property
    def wants_gpu(self) -> bool:
        """Whether it is faster with a GPU of its own, where there is one."""
        ...


@runtime_checkable
class SourceStage(Protocol):
    """A pixel stage that also looks at the bytes that images were decoded from."""

    @property
    def spec(self) -> StageSpec: ...

    def setup(self) -> None:
        """Load what is needed to work, once per worker."""

    def process_sources(self, images: Sequence[Pixels], sources: Sequence[bytes]) -> Output:
        """Work on a batch of images, uint8 arrays of shape (H, W, 3), and the bytes of each."""


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


def is_current(spec: StageSpec, collection: Collection, part: int) -> bool:
    """Tell whether a stage's file of this part exists and was made from today's input and settings."""
    footer = collection.footer(spec.name, part)
    return footer is not None and footer.digest == expected_digest(spec, collection, part)


def commit_output(
    spec: StageSpec,
    collection: Collection,
    part: int,
    live_in: Mask,
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
    arrays = [_checked(spec, output, name, len(rows)).take(indices) for name in spec.schema.names]
    table = pa.Table.from_arrays([*arrays, *verdict], names=[*spec.schema.names, *VERDICT.names])
    digest = digest or expected_digest(spec, collection, part)
    assert digest is not None, f"{spec.name}: committed before its input"
    return collection.commit(
        spec.name, spec.version, part, table, digest=digest, live_in=int(live_in.sum()), seconds=seconds
    )


def _checked(spec: StageSpec, output: Output, name: str, rows: int) -> pa.Array:
    array = output.columns[name]
    expected = spec.schema.field(name).type
    assert len(array) == rows, f"{spec.name}.{name}: {len(array)} values for {rows} rows"
    assert array.type == expected, f"{spec.name}.{name}: type {array.type}, not {expected}"
    return array
