"""Settles what becomes of each image of a dataset, file by file, in the order that the dataset has.

The collection `clean` has one part for each shard or Parquet file, or for 10,000 files of a folder, and its stage
`verdicts` says of each image whether it stays.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.arrays import BoolArray
from curation.decontaminate.copies import COPIES, REMOVABLE, followed, with_removable
from curation.decontaminate.rows import EVIDENCE, ROWS, mask_of, ordered_rows
from curation.decontaminate.source import Source
from curation.decontaminate.webdataset import mates_of
from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, StageSpec, commit_output
from curation.errors import DatasetError, RunError
from curation.formats.dataset import Kind
from curation.run.parts import Collection, digest_of
from curation.run.store import filesystem

__all__ = ["VERDICTS", "Unreadable", "settle"]

Unreadable = Literal["keep", "drop"]

SCHEMA = pa.schema([*ROWS, *COPIES])
VERDICTS = StageSpec(name="verdicts", version=3, after=None, reads={}, adds=SCHEMA, settings={})
FOLDER_ROWS = 10_000


def settle(
    pool: Collection, clean: Collection, source: Source, unreadable: Unreadable, *, is_replaced: bool = False
) -> None:
    """Commit the verdicts of all images; parts that would not change are left as they are.

    Args:
        pool: the dataset as a run's pool, after the stage `dedup`.
        unreadable: what becomes of images that no decoder takes.
        is_replaced: whether files of the dataset have been rewritten by these verdicts, which can then not change.

    Raises:
        DatasetError: a file that was listed is no longer part of the dataset.
        RunError: verdicts would change that files have been rewritten by.
    """
    rows = followed(ordered_rows(pool))
    others = _leaks(rows) | (mask_of(rows["unreadable"].is_valid()) & (unreadable == "drop"))
    rows = with_removable(rows, others, in_samples=source.kind is Kind.TARS)
    stale = [part for part in clean.parts(VERDICTS.name) if part >= _count(rows, source)]
    for part, file, chosen in _by_file(rows, source):
        drops = _drops(chosen, unreadable)
        digest = digest_of([VERDICTS.version, file, _plain(chosen), sorted((at, str(drops[at])) for at in drops)])
        footer = clean.footer(VERDICTS.name, part)
        if footer is None or footer.digest != digest:
            _refuse(clean, is_replaced)
            if drops and file.endswith(".tar"):
                # Only now: they are looked up in the file, where other bytes are at these offsets once it is rewritten.
                drops = {**_mates(chosen, file, drops), **drops}
            columns = {name: chosen[name].combine_chunks() for name in SCHEMA.names}
            live = np.ones(len(chosen), dtype=bool)
            commit_output(VERDICTS, clean, part, live, Output(columns, drops), digest=digest)
    for part in stale:
        _refuse(clean, is_replaced)
        clean.remove(VERDICTS.name, part)


def _refuse(clean: Collection, is_replaced: bool) -> None:
    if is_replaced:
        raise RunError(
            f"{clean.store.root}: has rewritten shards for other settings or references; choose another `out`"
        )


def _by_file(rows: pa.Table, source: Source) -> Iterator[tuple[int, str, pa.Table]]:
    """Part number, file, and rows of each part of the clean dataset."""
    if source.kind is Kind.FOLDER:
        for part in range(_count(rows, source)):
            yield part, source.files[0], rows.slice(part * FOLDER_ROWS, FOLDER_ROWS)
        return
    slices = _slices(rows["tar"])
    if gone := sorted(set(slices) - set(source.files)):
        raise DatasetError(
            f"{gone[0]}: was read by this run and is no longer part of {source.data}; choose another `out`"
        )
    for part, file in enumerate(source.files):
        yield part, file, rows.slice(*slices.get(file, (0, 0)))


def _count(rows: pa.Table, source: Source) -> int:
    return -(-len(rows) // FOLDER_ROWS) if source.kind is Kind.FOLDER else len(source.files)


def _slices(files: pa.ChunkedArray) -> Mapping[str, tuple[int, int]]:
    """Start and length of each run of equal names."""
    encoded = pc.run_end_encode(files.combine_chunks())
    ends = encoded.run_ends.to_numpy().tolist()
    starts = [0, *ends[:-1]]
    names = encoded.values.to_pylist()
    return {name: (start, end - start) for name, start, end in zip(names, starts, ends, strict=True)}


def _drops(rows: pa.Table, unreadable: Unreadable) -> dict[int, Dropped]:
    """Images of one part that are dropped as copies, or as unreadable, by position."""
    drops: dict[int, Dropped] = {}
    if unreadable == "drop":
        reasons, details = rows["unreadable"].to_pylist(), rows["detail"].to_pylist()
        drops = {
            at: Dropped(DropReason.named(reason), details[at] or "") for at, reason in enumerate(reasons) if reason
        }
    reasons = rows["reason"].to_pylist()
    for at in np.flatnonzero(_leaks(rows) | mask_of(rows[REMOVABLE])).tolist():
        drops[at] = Dropped(DropReason.named(reasons[at]))
    return drops


def _leaks(rows: pa.Table) -> BoolArray:
    """Which images lead to a reference image."""
    return mask_of(pc.fill_null(pc.equal(rows["reason"], DropReason.REFERENCE_LEAK.value), False))


def _mates(rows: pa.Table, file: str, drops: Mapping[int, Dropped]) -> dict[int, Dropped]:
    """Images that are dropped because their sample holds an image that is."""
    offsets = rows["offset"].to_pylist()
    position = {offset: at for at, offset in enumerate(offsets)}
    fs, inner = filesystem(file)
    with fs.open(inner, "rb") as handle:
        mates = mates_of(handle, {offsets[at] for at in drops})
    return {
        position[mate]: Dropped(DropReason.SAMPLE_REMOVED, rows["path"][position[offset]].as_py())
        for offset, members in mates.items()
        for mate in members
        if mate in position
    }


def _plain(rows: pa.Table) -> list[list[Any]]:
    """What the clean file and its entries in the certificate depend on, as JSON values."""
    ids = [value.hex() if value else None for value in rows["sha256"].to_pylist()]
    columns = ["reason", *(name for name, _ in EVIDENCE), *COPIES.names]
    said = rows.filter(rows["reason"].is_valid()).select(columns).to_pylist()
    plain = [[value.hex() if isinstance(value, bytes) else value for value in row.values()] for row in said]
    return [ids, *(rows[name].to_pylist() for name in ("path", "label", "offset")), plain]
