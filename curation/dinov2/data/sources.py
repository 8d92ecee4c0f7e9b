"""Kinds of datasets, told apart by what they are."""

from collections.abc import Sequence
from typing import Protocol

import fsspec

from curation.dinov2.config import SourceConfig
from curation.dinov2.data.folder import FolderSource, find_images
from curation.dinov2.data.parquet import ParquetSource, find_parquet
from curation.dinov2.data.shards import ShardSource, read_manifest
from curation.errors import DatasetError

__all__ = ["Source", "open_source"]


class Source(Protocol):
    """Image bytes by unit and index; used in worker processes, so it must pickle and open files late."""

    @property
    def path(self) -> str:
        """The dataset as the user named it."""
        ...

    @property
    def sizes(self) -> Sequence[int]:
        """Samples in each unit."""
        ...

    def read(self, unit: int, index: int) -> bytes:
        """Bytes of one encoded image.

        Raises:
            DatasetError: the unit is missing, damaged or not what its index says.
        """
        ...


def open_source(config: SourceConfig, *, cache: str | None = None) -> Source:
    """List the samples of a dataset; no image is read.

    Raises:
        DatasetError: there is nothing at the path, nothing in it, or its index is wrong.
    """
    path = config.path.rstrip("/")
    files, root = fsspec.core.url_to_fs(path)
    if files.exists(f"{root}/manifest.json"):
        shards = ShardSource(path, read_manifest(path), cache=cache)
        shards.check()
        return shards
    if path.endswith("manifest.json"):
        return open_source(config.model_copy(update={"path": path.removesuffix("manifest.json")}), cache=cache)
    if tables := find_parquet(path):
        return ParquetSource(path, tables, column=config.column)
    if not files.exists(root):
        raise DatasetError(f"{path}: no such dataset; expected a shards folder, a folder of images or Parquet files")
    if images := find_images(path):
        return FolderSource(path, images)
    raise DatasetError(f"{path}: neither a manifest.json, nor images, nor Parquet files in it")
