"""The manifest of a folder of shards, as a reader of the shards needs it: checked against itself, no shard opened."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.errors import DatasetError
from curation.formats.shards import FORMAT
from curation.run.store import filesystem

__all__ = ["Manifest", "Shard", "check_sizes", "open_manifest"]

PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
MOST = 1e12


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


def open_manifest(folder: str) -> Manifest:
    """The manifest of a folder of shards.

    Raises:
        DatasetError: the manifest is unreadable, of another format, lists no samples, or contradicts itself.
    """
    where = f"{folder}/manifest.json"
    try:
        fs, path = filesystem(where)
        raw = json.loads(fs.cat_file(path))
        if raw.get("format", FORMAT) != FORMAT:
            raise DatasetError(f"{where}: format {raw['format']!r} is not known; expected {FORMAT!r}")
        shards = [_shard(entry) for entry in raw["shards"]]
        weights = _weights(raw.get("sources"), shards)
    except OSError as error:
        raise DatasetError(f"{where}: cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{where}: not a manifest of shards: {error!r}; make the shards again") from error
    shards = [shard for shard in shards if shard.samples > 0]
    if not shards:
        raise DatasetError(f"{where}: lists no samples")
    return Manifest(shards, weights)


def check_sizes(folder: str, shards: Sequence[Shard]) -> None:
    """Compare the sizes of all shards with the manifest; reads no shard.

    Raises:
        DatasetError: a shard is missing or of another size.
    """
    fs, root = filesystem(folder)
    for shard in shards:
        try:
            size = fs.size(f"{root}/{shard.name}")
        except OSError as error:
            raise DatasetError(f"{folder}/{shard.name}: listed in manifest.json but not there") from error
        if shard.bytes is not None and size != shard.bytes:
            raise DatasetError(
                f"{folder}/{shard.name}: {size} bytes, manifest.json says {shard.bytes}; copy the shard again"
            )


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
