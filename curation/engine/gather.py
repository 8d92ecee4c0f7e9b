"""Brings the live rows of a whole collection together, for the steps that need all parts at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.arrays import BoolArray, Int32Array
from curation.engine.locations import read_samples
from curation.run.parts import Collection

__all__ = ["Gathered", "gather", "ids_of"]


@dataclass(frozen=True)
class Gathered:
    """Live rows of all parts, one after the other.

    Attributes:
        table: the columns asked for, N rows.
        part, row: (N,) where each row comes from.
        masks: for each part, the live rows that were taken.
    """

    table: pa.Table
    part: Int32Array
    row: Int32Array
    masks: dict[int, BoolArray]

    def __len__(self) -> int:
        return len(self.part)

    def of_part(self, part: int) -> slice:
        """Where one part's rows are in the table."""
        start, stop = np.searchsorted(self.part, [part, part + 1])
        return slice(int(start), int(stop))


def gather(collection: Collection, after: str, columns: Mapping[str, Sequence[str]]) -> Gathered:
    """Read columns of the rows that are live after a stage, over all its parts in order."""
    tables, parts, rows, masks = [], [], [], {}
    for part in collection.parts(after):
        live = collection.live(after, part)
        masks[part] = live
        numbers = np.flatnonzero(live).astype(np.int32)
        arrays = {
            name: column.filter(pa.array(live))
            for stage, names in columns.items()
            for name, column in zip(names, _read(collection, stage, part, names).columns, strict=True)
        }
        tables.append(pa.table(arrays))
        parts.append(np.full(len(numbers), part, dtype=np.int32))
        rows.append(numbers)
    empty = np.empty(0, dtype=np.int32)
    return Gathered(
        pa.concat_tables(tables) if tables else pa.table({}),
        np.concatenate([empty, *parts]),
        np.concatenate([empty, *rows]),
        masks,
    )


def _read(collection: Collection, stage: str, part: int, names: Sequence[str]) -> pa.Table:
    """Columns of a stage; of `fetch`, where images are now."""
    return read_samples(collection, part, names) if stage == "fetch" else collection.read(stage, part, names)


def ids_of(column: pa.ChunkedArray) -> npt.NDArray[np.bytes_]:
    """A column of 16-byte ids as an (N,) array that sorts and compares. (Read back, it lacks trailing zeros.)"""
    return np.array(column.to_pylist(), dtype="S16")
