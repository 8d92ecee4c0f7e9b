"""The images of a dataset in the order that it has, and what the steps of a run say of each.

The parts of a run hold images shuffled. Here they are put back in order, in one table.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.arrays import BoolArray
from curation.run.parts import Collection
from curation.stages.dedup.comparing import TRANSFORM

__all__ = ["EVIDENCE", "ROWS", "mask_of", "ordered_rows"]

EVIDENCE = (
    ("representative", pa.binary(16)),  # the id of the image, or reference image, that it is a copy of
    ("reference", pa.string()),  # the name of the reference image's set
    ("similarity", pa.float32()),
    ("link", pa.string()),
    ("probability", pa.float32()),
    ("inliers", pa.int32()),
    ("agreement", pa.float32()),
    ("mirrored", pa.bool_()),
    ("transform", TRANSFORM),
)
"""What the stage `dedup` says of an image that it drops."""
ROWS = pa.schema(
    [
        ("tar", pa.string()),
        ("path", pa.string()),
        ("label", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("row", pa.int64()),
        ("id", pa.binary(16)),
        ("sha256", pa.binary(32)),
        ("pool_part", pa.int32()),
        ("pool_row", pa.int32()),
        ("unreadable", pa.string()),
        ("detail", pa.string()),
        ("reason", pa.string()),  # why `dedup` drops it
        *EVIDENCE,
    ]
)
LISTED = ("tar", "path", "label", "offset", "length", "row")
BEFORE_DEDUP = ("fetch", "decode", "hashes", "copy_descriptors")


def ordered_rows(pool: Collection) -> pa.Table:
    """Every image of a collection, in the order of its dataset: a table of `ROWS`."""
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
            *_decisions(pool, part, len(listing)),
        ]
        tables.append(pa.Table.from_arrays(arrays, schema=ROWS))
    table = pa.concat_tables(tables)
    return table.sort_by([("tar", "ascending"), ("offset", "ascending"), ("row", "ascending")]).combine_chunks()


def _decisions(collection: Collection, part: int, rows: int) -> list[pa.Array]:
    """Why `dedup` drops each image, and the columns of `EVIDENCE` for those that it does."""
    if collection.footer("dedup", part) is None:
        return [pa.nulls(rows, pa.string()), *(pa.nulls(rows, kind) for _, kind in EVIDENCE)]
    dedup = collection.read("dedup", part)
    dropped = pa.array(np.arange(rows), mask=~mask_of(dedup["drop_reason"].is_valid()))
    evidence = [
        dedup[name].combine_chunks().take(dropped).cast(kind) if name in dedup.column_names else pa.nulls(rows, kind)
        for name, kind in EVIDENCE
    ]
    return [dedup["drop_reason"].combine_chunks(), *evidence]


def _refusals(pool: Collection, part: int, rows: int) -> tuple[pa.Array, pa.Array]:
    """Why each image could not be compared, or null."""
    reasons = details = pa.nulls(rows, pa.string())
    for stage in BEFORE_DEDUP:
        if pool.footer(stage, part) is not None:
            table = pool.read(stage, part, ["drop_reason", "drop_detail"])
            reasons = pc.coalesce(reasons, table["drop_reason"].combine_chunks())
            details = pc.coalesce(details, table["drop_detail"].combine_chunks())
    return reasons, details


def mask_of(column: pa.ChunkedArray) -> BoolArray:
    """A column of booleans without nulls, as (rows,) bool."""
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=bool)
