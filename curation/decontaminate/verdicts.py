"""Settles what becomes of each image of a dataset, file by file, in the order that the dataset has.

The parts of a run's pool hold its images shuffled. Here they are put back in order: the collection `clean` has one part
for each shard or Parquet file, or for 10,000 files of a folder, and its stage `verdicts` says of each image whether it
stays.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.arrays import BoolArray
from curation.decontaminate.source import Source
from curation.decontaminate.webdataset import mates_of
from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, StageSpec, commit_output
from curation.errors import DatasetError, RunError
from curation.formats.dataset import Kind
from curation.run.parts import Collection, digest_of
from curation.run.store import filesystem

__all__ = ["LEAK", "VERDICTS", "Unreadable", "mask_of", "ordered_rows", "settle"]

Unreadable = Literal["keep", "drop"]

LEAK = (
    ("representative", pa.binary(16)),  # the id of the reference image
    ("reference", pa.string()),  # the name of its set
    ("similarity", pa.float32()),
    ("link", pa.string()),
    ("inliers", pa.int32()),
    ("agreement", pa.float32()),
    ("mirrored", pa.bool_()),
)
"""What the stage `dedup` says of an image that leads to a reference image."""
SCHEMA = pa.schema(
    [
        ("tar", pa.string()),
        ("path", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("row", pa.int64()),
        ("id", pa.binary(16)),
        ("sha256", pa.binary(32)),
        ("pool_part", pa.int32()),
        ("pool_row", pa.int32()),
        ("unreadable", pa.string()),
        ("detail", pa.string()),
        ("is_leak", pa.bool_()),
        *LEAK,
    ]
)
VERDICTS = StageSpec(name="verdicts", version=2, after=None, reads={}, adds=SCHEMA, settings={})
LISTED = ("tar", "path", "offset", "length", "row")
BEFORE_DEDUP = ("fetch", "decode", "hashes", "copy_descriptors")
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
    rows = ordered_rows(pool)
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


def ordered_rows(pool: Collection) -> pa.Table:
    """Every image of a collection, in the order of its dataset: a table of `VERDICTS.adds`."""
    tables = []
    for part in pool.parts("list"):
        listing = pool.read("list", part, LISTED)
        samples = pool.read("fetch", part, ["id", "sha256"])
        reasons, details = _refusals(pool, part, len(listing))
        arrays = [
            *(listing[name] for name in LISTED),
            *(samples[name] for name in ("id", "sha256")),
            pa.array(np.full(len(listing), part, np.int32)),
            pa.array(np.arange(len(listing), dtype=np.int32)),
            reasons,
            details,
            *_leaks(pool, part, len(listing)),
        ]
        tables.append(pa.Table.from_arrays(arrays, schema=SCHEMA))
    table = pa.concat_tables(tables)
    return table.sort_by([("tar", "ascending"), ("offset", "ascending"), ("row", "ascending")]).combine_chunks()


def _leaks(collection: Collection, part: int, rows: int) -> list[pa.Array]:
    """Whether each image leads to a reference image, and the columns of `LEAK` for those that do."""
    if collection.footer("dedup", part) is None:
        return [pa.array(np.zeros(rows, dtype=bool)), *(pa.nulls(rows, kind) for _, kind in LEAK)]
    dedup = collection.read("dedup", part)
    is_leak = pc.fill_null(pc.equal(dedup["drop_reason"], DropReason.REFERENCE_LEAK.value), False).combine_chunks()
    columns = [
        pc.if_else(is_leak, dedup[name].combine_chunks(), None).cast(kind)
        if name in dedup.column_names
        else pa.nulls(rows, kind)
        for name, kind in LEAK
    ]
    return [is_leak, *columns]


def _refusals(pool: Collection, part: int, rows: int) -> tuple[pa.Array, pa.Array]:
    """Why each image could not be compared, or null."""
    reasons = details = pa.nulls(rows, pa.string())
    for stage in BEFORE_DEDUP:
        if pool.footer(stage, part) is not None:
            table = pool.read(stage, part, ["drop_reason", "drop_detail"])
            reasons = pc.coalesce(reasons, table["drop_reason"].combine_chunks())
            details = pc.coalesce(details, table["drop_detail"].combine_chunks())
    return reasons, details


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
    """Images of one part that are dropped as leaks or as unreadable, by position."""
    drops: dict[int, Dropped] = {}
    if unreadable == "drop":
        reasons, details = rows["unreadable"].to_pylist(), rows["detail"].to_pylist()
        drops = {
            at: Dropped(DropReason.named(reason), details[at] or "") for at, reason in enumerate(reasons) if reason
        }
    for at in np.flatnonzero(mask_of(rows["is_leak"])).tolist():
        drops[at] = Dropped(DropReason.REFERENCE_LEAK)
    return drops


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


def mask_of(column: pa.ChunkedArray) -> BoolArray:
    """A column of booleans without nulls, as (rows,) bool."""
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=bool)


def _plain(rows: pa.Table) -> list[list[Any]]:
    """What the clean file and its entry in the certificate depend on, as JSON values."""
    ids = [value.hex() if value else None for value in rows["sha256"].to_pylist()]
    leaks = rows.filter(rows["is_leak"]).select([name for name, _ in LEAK]).to_pylist()
    said = [[value.hex() if isinstance(value, bytes) else value for value in leak.values()] for leak in leaks]
    return [ids, rows["path"].to_pylist(), rows["offset"].to_pylist(), said]
