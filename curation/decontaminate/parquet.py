"""A Parquet file that loses rows: the same schema, metadata, codecs and row groups."""

from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.arrays import BoolArray
from curation.decontaminate.hashing import Hashing

__all__ = ["write_rows"]

VERSIONS = {"1.0": "1.0", "2.4": "2.4", "2.6": "2.6"}


def write_rows(source: IO[bytes], target: IO[bytes], kept: BoolArray) -> Hashing:
    """Copy the rows of a Parquet file that are kept. A row group that loses all its rows is left out.

    Args:
        kept: (rows,) mask over the whole file.

    Returns:
        Size and SHA-256 of what was written.
    """
    parquet = pq.ParquetFile(source)
    assert len(kept) == parquet.metadata.num_rows, f"{len(kept)} verdicts for {parquet.metadata.num_rows} rows"
    written = Hashing(target)
    start = 0
    with pq.ParquetWriter(
        pa.PythonFile(written, mode="w"), parquet.schema_arrow, **_options(parquet.metadata)
    ) as writer:
        for group in range(parquet.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            table = parquet.read_row_group(group).filter(pa.array(kept[start : start + rows]))
            start += rows
            if table.num_rows:
                writer.write_table(table, row_group_size=table.num_rows)
    return written


def _options(metadata: Any) -> dict[str, Any]:
    """How the file was written, by its first row group."""
    options: dict[str, Any] = {"version": VERSIONS.get(metadata.format_version, "2.6")}
    if metadata.num_row_groups:
        group = metadata.row_group(0)
        columns = [group.column(at) for at in range(group.num_columns)]
        options["compression"] = {column.path_in_schema: _codec(column.compression) for column in columns}
        options["use_dictionary"] = [
            column.path_in_schema for column in columns if any("DICTIONARY" in name for name in column.encodings)
        ]
    return options


def _codec(name: str) -> str:
    """The codec to write with: LZO can be read but not written."""
    return {"UNCOMPRESSED": "NONE", "LZO": "ZSTD"}.get(name, name)
