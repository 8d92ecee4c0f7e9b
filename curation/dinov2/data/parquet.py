"""Parquet files with a column of image bytes, as many published datasets have them."""

from collections.abc import Sequence
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from curation.errors import DatasetError

__all__ = ["ParquetSource", "find_parquet"]


def find_parquet(path: str) -> list[str]:
    """The Parquet files at or directly below `path`, sorted."""
    files, root = fsspec.core.url_to_fs(path)
    if root.endswith(".parquet"):
        return [root] if files.exists(root) else []
    return sorted(files.glob(f"{root}/*.parquet"))


class ParquetSource:
    """Row groups as units; the one read last stays in memory."""

    def __init__(self, path: str, tables: Sequence[str], *, column: str) -> None:
        self.path = path
        self.column = column
        self.groups: list[tuple[str, int]] = []
        self.sizes: list[int] = []
        self._recent: dict[int, pa.Array] = {}
        for table in tables:
            self._list(table)
        if not self.sizes:
            raise DatasetError(f"{path}: no rows")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_recent": {}}

    def read(self, unit: int, index: int) -> bytes:
        """Bytes in row `index` of row group `unit`; empty for a null.

        Raises:
            DatasetError: the file is gone or damaged.
        """
        if unit not in self._recent:
            if len(self._recent) >= 4:
                self._recent.pop(next(iter(self._recent)))
            self._recent[unit] = self._load(*self.groups[unit])
        value = self._recent[unit][index].as_py()
        content: bytes = (value.get("bytes") if isinstance(value, dict) else value) or b""
        return content

    def _list(self, table: str) -> None:
        try:
            with self._file(table) as file:
                field = file.schema_arrow.field(self.column) if self.column in file.schema_arrow.names else None
                counts = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{table}: not a Parquet file that can be read: {error}") from error
        if field is None or not _holds_bytes(field.type):
            raise DatasetError(
                f"{table}: no column {self.column!r} of image bytes; set data.sources' `column` (URLs must be fetched "
                "first, with `lvd curate`)"
            )
        for number, count in enumerate(counts):
            if count:
                self.groups.append((table, number))
                self.sizes.append(count)

    def _load(self, table: str, group: int) -> pa.Array:
        try:
            with self._file(table) as file:
                return file.read_row_group(group, columns=[self.column]).column(0).combine_chunks()
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{table}: row group {group} cannot be read: {error}") from error

    def _file(self, table: str) -> pq.ParquetFile:
        files, _ = fsspec.core.url_to_fs(self.path)
        return pq.ParquetFile(files.open(table, "rb"))


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
