"""Shards: tar files of `<key>.jpg` and `<key>.json`, listed with their counts in manifest.json."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import fsspec

from curation.errors import DatasetError

__all__ = ["Manifest", "Shard", "ShardSource", "read_manifest"]

FORMAT = "lvd-shards/1"
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
MOST = 1e12
BLOCK = 512
OPEN = 16


@dataclass(frozen=True)
class Shard:
    """A line of the manifest."""

    name: str
    samples: int
    bytes: int | None = None
    source: str | None = None
    """The one source that all its samples are of, in a manifest that weights sources."""


@dataclass(frozen=True)
class Manifest:
    """Shards that hold at least one sample, and weights by source; none where shards mix all sources."""

    shards: list[Shard]
    weights: dict[str, float]

    def of(self, source: str) -> list[Shard]:
        """The shards of one source."""
        return [shard for shard in self.shards if shard.source == source]


def read_manifest(path: str) -> Manifest:
    """The manifest of a folder of shards.

    Raises:
        DatasetError: the manifest is unreadable, of another format, lists no samples, or contradicts itself.
    """
    where = f"{path}/manifest.json"
    try:
        with fsspec.open(where, "rb") as file:
            raw = json.loads(file.read())
        if raw.get("format", FORMAT) != FORMAT:
            raise DatasetError(f"{where}: format {raw['format']!r} is not known; expected {FORMAT!r}")
        shards = [_shard(entry) for entry in raw["shards"]]
        weights = _weights(raw.get("sources"), shards)
    except OSError as error:
        raise DatasetError(f"{where}: cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{where}: not a manifest of shards: {error!r}; make the shards again") from error
    shards = [shard for shard in shards if shard.samples > 0]
    if not shards:
        raise DatasetError(f"{where}: lists no samples")
    return Manifest(shards, weights)


def _shard(entry: dict[str, Any]) -> Shard:
    name, samples, size = entry["name"], entry["samples"], entry.get("bytes")
    if not isinstance(name, str) or Path(name).name != name or not isinstance(samples, int) or samples < 0:
        raise ValueError(f"a shard needs a plain file name and a count of samples, got {entry!r}")
    return Shard(name, samples, size if isinstance(size, int) else None, entry.get("source"))


def _weights(sources: Any, shards: Sequence[Shard]) -> dict[str, float]:
    """Weights by source, once all that is said of sources agrees; none where nothing is. ValueError otherwise."""
    if sources is not None and not isinstance(sources, dict):
        raise ValueError("its sources are no mapping of names")
    weights = {}
    for name, reported in (sources or {}).items():
        reported = reported if isinstance(reported, dict) else {}
        weight, result = reported.get("weight"), sum(shard.samples for shard in shards if shard.source == name)
        if not PLAIN.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a source")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= MOST:
            raise ValueError(f"the source {name} has the weight {weight!r}; it must be a number above 0, at most 1e12")
        if reported.get("samples") != result or not result:
            raise ValueError(f"the source {name} has {reported.get('samples')!r} samples, its shards {result}")
        weights[name] = float(weight)
    for shard in shards:
        if shard.source not in ([*weights] or [None]):
            raise ValueError(f"{shard.name} is of the source {shard.source!r}, which its sources do not list")
    return weights


class ShardSource:
    """Random access to the images of shards. Remote shards are copied whole to a local folder when first needed."""

    def __init__(self, path: str, shards: list[Shard], *, cache: str | None = None) -> None:
        self.path = path
        self.shards = shards
        self.sizes = [shard.samples for shard in shards]
        self.cache = cache
        self._open: dict[int, tuple[int, list[tuple[int, int]]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}}

    def read(self, unit: int, index: int) -> bytes:
        """Bytes of the image `index` of shard `unit`.

        Raises:
            DatasetError: the shard is missing, truncated, or holds another number of images than the manifest says.
        """
        descriptor, members = self._members(unit)
        offset, size = members[index]
        return os.pread(descriptor, size, offset)

    def check(self) -> None:
        """Compare the sizes of all shards with the manifest; reads no shard.

        Raises:
            DatasetError: a shard is missing or of another size.
        """
        files, root = fsspec.core.url_to_fs(self.path)
        for shard in self.shards:
            try:
                size = files.size(f"{root}/{shard.name}")
            except OSError as error:
                raise DatasetError(f"{self.path}/{shard.name}: listed in manifest.json but not there") from error
            if shard.bytes is not None and size != shard.bytes:
                raise DatasetError(
                    f"{self.path}/{shard.name}: {size} bytes, manifest.json says {shard.bytes}; copy the shard again"
                )

    def _members(self, unit: int) -> tuple[int, list[tuple[int, int]]]:
        if unit not in self._open:
            if len(self._open) >= OPEN:
                oldest = next(iter(self._open))
                os.close(self._open.pop(oldest)[0])
            self._open[unit] = self._index(unit)
        return self._open[unit]

    def _index(self, unit: int) -> tuple[int, list[tuple[int, int]]]:
        shard = self.shards[unit]
        where = f"{self.path}/{shard.name}"
        try:
            descriptor = os.open(self._local(where), os.O_RDONLY)
        except OSError as error:
            raise DatasetError(f"{where}: cannot be read: {error.strerror or error}") from error
        try:
            members = list(_images(descriptor))
        except ValueError as error:
            os.close(descriptor)
            raise DatasetError(f"{where}: {error}; make or copy the shard again") from error
        if len(members) != shard.samples:
            os.close(descriptor)
            raise DatasetError(f"{where}: {len(members)} images, manifest.json says {shard.samples}; check the shards")
        return descriptor, members

    def _local(self, where: str) -> str:
        files, path = fsspec.core.url_to_fs(where)
        if "file" in files.protocol or "local" in files.protocol:
            return str(path)
        folder = Path(self.cache or tempfile.gettempdir()) / "lvd-shards"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{sha256(where.encode()).hexdigest()[:16]}-{Path(path).name}"
        if not target.exists():
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as copy, files.open(path, "rb") as remote:
                shutil.copyfileobj(remote, copy, 1 << 20)
            os.replace(copy.name, target)
        return str(target)


def _images(descriptor: int) -> Iterator[tuple[int, int]]:
    """(offset, size) of every member of a tar that is not a json file, in order."""
    end, offset = os.fstat(descriptor).st_size, 0
    while offset + BLOCK <= end:
        header = os.pread(descriptor, BLOCK, offset)
        if not header.strip(b"\0"):
            return
        size = _octal(header[124:136], offset)
        offset += BLOCK
        if offset + size > end:
            raise ValueError(f"truncated: a member at byte {offset} runs past the end")
        if header[156:157] in (b"0", b"\0") and not header[:100].rstrip(b"\0").endswith(b".json"):
            yield offset, size
        offset += (size + BLOCK - 1) // BLOCK * BLOCK
    raise ValueError("truncated: no end mark")


def _octal(field: bytes, offset: int) -> int:
    try:
        return int(field.strip(b"\0 ") or b"0", 8)
    except ValueError:
        raise ValueError(f"not a tar header at byte {offset}") from None
