"""Kinds of datasets, told apart by what they are, and the weighted sources that each is read as."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from curation.dinov2.config import SourceConfig
from curation.dinov2.data.folder import FolderSource
from curation.dinov2.data.parquet import ParquetSource
from curation.dinov2.data.tars import TarSource, count_images
from curation.errors import DatasetError
from curation.formats.dataset import Kind, resolve
from curation.formats.folder import list_folder
from curation.formats.manifest import Manifest, Shard, check_sizes, open_manifest
from curation.run.store import filesystem, reaching

__all__ = ["Source", "WeightedSource", "open_sources"]


Source = TarSource | ParquetSource | FolderSource
"""Bytes of encoded images by unit and index, `sizes` images in each unit. It is used in worker processes, so it pickles
and opens files late."""


@dataclass(frozen=True)
class WeightedSource:
    """One stream of images, and how much of the batches it is, relative to the others."""

    name: str
    """The dataset as the user named it, and the source within it if it has several."""
    source: Source
    weight: float
    fingerprint: str
    """Of which samples there are, in which order, as far as is known without reading them; not of where they lie."""
    passed_over: str = ""
    """What of the dataset is not read, in words; empty if nothing is."""


def open_sources(config: SourceConfig, *, cache: str | None = None) -> list[WeightedSource]:
    """List the samples of a dataset; no image is read. One source, or those that its manifest weights.

    Raises:
        DatasetError: there is nothing at the path, nothing in it, its index is wrong, or it has no source of a name
            that is given a weight.
    """
    path = config.path.rstrip("/")
    if path.rpartition("/")[2] == "manifest.json":
        path = path.rpartition("/")[0] or "."
    with reaching(path):
        fs, root = filesystem(path)
        has_manifest = fs.exists(f"{root}/manifest.json")
    if has_manifest:
        return _weighted(config, path, open_manifest(path), cache)
    opened = _without_manifest(config, path, cache)
    if config.weights:
        raise DatasetError(f"{path}: has no manifest.json that names sources, so its `weights` weigh nothing; unset it")
    return [opened]


def _weighted(config: SourceConfig, path: str, manifest: Manifest, cache: str | None) -> list[WeightedSource]:
    """All shards as one source, or those of each: their shares of the dataset's weight."""
    check_sizes(path, manifest.shards)
    for name in config.weights:
        if name not in manifest.weights:
            near = difflib.get_close_matches(name, manifest.weights, n=3)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            known = f"its sources are {', '.join(manifest.weights)}" if manifest.weights else "its shards mix all"
            raise DatasetError(f"{path}/manifest.json: names no source {name!r} to weigh; {hint}{known}")
    if not manifest.weights or not config.by_source:
        return [WeightedSource(path, _shards(path, manifest.shards, cache), config.weight, _known(manifest.shards))]
    weights = manifest.weights | config.weights
    opened = []
    for name, weight in weights.items():
        shards = manifest.of(name)
        share = config.weight * weight / sum(weights.values())
        known = _known(shards, name)
        opened.append(WeightedSource(f"{path} [{name}]", _shards(path, shards, cache), share, known))
    return opened


def _shards(path: str, shards: Sequence[Shard], cache: str | None) -> TarSource:
    tars = [f"{path}/{shard.name}" for shard in shards]
    counts = [shard.samples for shard in shards]
    return TarSource(tars, counts, said_by="manifest.json says", cache=cache)


def _known(shards: Sequence[Shard], name: str = "") -> str:
    return _digest([name, *([shard.name, shard.samples, shard.bytes] for shard in shards)])


def _without_manifest(config: SourceConfig, path: str, cache: str | None) -> WeightedSource:
    kind, files = resolve(path, config.column)
    leaves = [file.rsplit("/", 1)[-1] for file in files]
    if kind is Kind.TARS:
        counts = count_images(files, cache)
        tars = TarSource(files, counts, said_by="when they were counted there were", cache=cache)
        return _opened(config, path, tars, list(zip(leaves, counts, strict=True)))
    if kind is Kind.PARQUET_IMAGES:
        tables = ParquetSource(files, column=config.column)
        return _opened(config, path, tables, [leaves, tables.sizes])
    if kind is Kind.FOLDER:
        folder = FolderSource(list_folder(files[0], path))
        return _opened(config, path, folder, folder.known, folder.passed_over)
    raise DatasetError(f"{path}: holds {kind.value}, without the images; fetch them first, with `lvd curate`")


def _opened(config: SourceConfig, path: str, source: Source, known: object, passed_over: str = "") -> WeightedSource:
    if not sum(source.sizes):
        also = f" ({passed_over})" if passed_over else ""
        raise DatasetError(f"{path}: holds no images{also}; check that this is the dataset")
    return WeightedSource(path, source, config.weight, _digest(known), passed_over)


def _digest(value: object) -> str:
    return sha256(json.dumps(value).encode()).hexdigest()[:16]
