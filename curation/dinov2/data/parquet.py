"""Parquet files with a column of image bytes, as many published datasets have them."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from curation.formats.parquet import image_groups, read_image_group

__all__ = ["ParquetSource"]

LOADED = 4
"""Row groups that a process keeps in memory."""


class ParquetSource:
    """Row groups as units; those read last stay in memory."""

    def __init__(self, files: Sequence[str], *, column: str | None) -> None:
        self.groups: list[tuple[str, str, int, int]] = []
        """(file, column, row group, its first row)"""
        self.sizes: list[int] = []
        for file in files:
            name, counts = image_groups(file, column)
            for group, count in enumerate(counts):
                if count:
                    self.groups.append((file, name, group, sum(counts[:group])))
                    self.sizes.append(count)
        self._loaded: dict[int, pa.Array] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_loaded": {}}

    def read(self, unit: int, index: int) -> bytes:
        """Bytes in row `index` of row group `unit`; empty for a null. DatasetError where the file is damaged."""
        if unit not in self._loaded:
            if len(self._loaded) >= LOADED:
                self._loaded.pop(next(iter(self._loaded)))
            file, column, group, _ = self.groups[unit]
            self._loaded[unit] = read_image_group(file, column, group)
        value = self._loaded[unit][index].as_py()
        content: bytes = (value.get("bytes") if isinstance(value, dict) else value) or b""
        return content

    def name(self, unit: int, index: int) -> str:
        """The file, and the row in it."""
        file, _, _, first = self.groups[unit]
        return f"{file}/{first + index}"
