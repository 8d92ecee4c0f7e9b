"""Kinds of datasets, told apart by what they are, and the weighted sources that each is read as."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

import fsspec

from curation.dinov2.config import SourceConfig
from curation.dinov2.data.folder import FolderSource, find_images
from curation.dinov2.data.parquet import ParquetSource, find_parquet
from curation.dinov2.data.shards import Manifest, ShardSource, read_manifest
from curation.errors import DatasetError

__all__ = ["Source", "WeightedSource", "open_sources"]


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


@dataclass(frozen=True)
class WeightedSource:
    """One stream of images, and how much of the batches it is, relative to the others."""

    name: str
    """The dataset as the user named it, and the source within it if it has several."""
    source: Source
    weight: float
    fingerprint: str
    """Of which samples there are, in which order, as far as is known without reading them; not of where they lie."""


def open_sources(config: SourceConfig, *, cache: str | None = None) -> list[WeightedSource]:
    """List the samples of a dataset; no image is read. One source, or those that its manifest weights.

    Raises:
        DatasetError: there is nothing at the path, nothing in it, its index is wrong, or it has no source of a name
            that is given a weight.
    """
    path = config.path.rstrip("/")
    files, root = fsspec.core.url_to_fs(path)
    if files.exists(f"{root}/manifest.json"):
        return _weighted(config, path, read_manifest(path), cache)
    if path.endswith("manifest.json"):
        return open_sources(config.model_copy(update={"path": path.removesuffix("manifest.json")}), cache=cache)
    source = _without_manifest(config, path)
    if config.weights:
        raise DatasetError(f"{path}: has no manifest.json that names sources, so its `weights` weigh nothing; unset it")
    return [WeightedSource(path, source, config.weight, _digest(list(source.sizes)))]


def _weighted(config: SourceConfig, path: str, manifest: Manifest, cache: str | None) -> list[WeightedSource]:
    """All shards as one source, or those of each: their shares of the dataset's weight."""
    everything = ShardSource(path, manifest.shards, cache=cache)
    everything.check()
    for name in config.weights:
        if name not in manifest.weights:
            near = difflib.get_close_matches(name, manifest.weights, n=3)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            known = f"its sources are {', '.join(manifest.weights)}" if manifest.weights else "its shards mix all"
            raise DatasetError(f"{path}/manifest.json: names no source {name!r} to weigh; {hint}{known}")
    if not manifest.weights or not config.by_source:
        return [WeightedSource(path, everything, config.weight, _fingerprint(everything))]
    weights = manifest.weights | config.weights
    opened = []
    for name, weight in weights.items():
        source = ShardSource(path, manifest.of(name), cache=cache)
        share = config.weight * weight / sum(weights.values())
        opened.append(WeightedSource(f"{path} [{name}]", source, share, _fingerprint(source, name)))
    return opened


def _without_manifest(config: SourceConfig, path: str) -> Source:
    files, root = fsspec.core.url_to_fs(path)
    if tables := find_parquet(path):
        return ParquetSource(path, tables, column=config.column)
    if not files.exists(root):
        raise DatasetError(f"{path}: no such dataset; expected a shards folder, a folder of images or Parquet files")
    if images := find_images(path):
        return FolderSource(path, images)
    raise DatasetError(f"{path}: neither a manifest.json, nor images, nor Parquet files in it")


def _fingerprint(source: ShardSource, name: str = "") -> str:
    return _digest([name, *([shard.name, shard.samples, shard.bytes] for shard in source.shards)])


def _digest(value: object) -> str:
    return sha256(json.dumps(value).encode()).hexdigest()[:16]
