"""What became of one image or URL, and why: its trail through the stages, read from the parts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curation.errors import needs_extra
from curation.report.funnel import row_sets
from curation.run.directory import Run
from curation.run.parts import Collection
from curation.stages.ingest.extract_urls import url_key

__all__ = ["Event", "Trail", "why"]

UNSHOWN = ("copy_knn", "local_features", "verify_copies", "groups", "verify_kept", "embedding_knn")
"""Working columns of many values; what came of them is in `dedup` and `semantic_dedup`."""
HIDDEN = frozenset({"live", "drop_reason", "drop_detail", "vector", "concept", "key"})


@dataclass(frozen=True, slots=True)
class Event:
    """What one stage says of a sample: what it added, and its verdict if it dropped it."""

    stage: str
    facts: dict[str, Any]
    drop_reason: str | None
    drop_detail: str | None


@dataclass(frozen=True, slots=True)
class Trail:
    """One sample's way through a collection, or through the selection and into a shard."""

    collection: str
    part: int
    row: int
    events: list[Event]

    @property
    def fate(self) -> str:
        """In a line: dropped where and why, or how far it came."""
        last = self.events[-1]
        if last.drop_reason is not None:
            return f"dropped by {last.stage}: {last.drop_reason}" + (
                f" ({last.drop_detail})" if last.drop_detail else ""
            )
        return f"in play after {last.stage}"


def why(run: Run, key: str) -> list[Trail]:
    """Find every row that a key names, and follow each through all stages.

    Args:
        key: an id or SHA-256 in hex, a URL, the path of a local image within its dataset, or a shard's sample key.
    """
    trails = []
    for collection, stages in row_sets(run):
        for stage, column, value in _places(key):
            if stage in stages:
                trails += [
                    _trail(collection, stages, part, row) for part, row in _find(collection, stage, column, value)
                ]
    unique = {(trail.collection, trail.part, trail.row): trail for trail in trails}
    return [unique[place] for place in sorted(unique, key=lambda place: place[0] != "pool/crawl")]


def _places(key: str) -> Iterator[tuple[str, str, pa.Scalar]]:
    """Stages, columns and values that a key can stand for."""
    text = pa.scalar(key.strip())
    yield from (("fetch", "path", text), ("selection", "path", text), ("export", "key", text))
    if (url := _canonical_url(key)) is not None:
        yield from ((stage, "url", pa.scalar(url)) for stage in ("extract_urls", "fetch", "selection"))
        key = url_key(url).hex()
    try:
        value = bytes.fromhex(key)
    except ValueError:
        return
    if len(value) == 16:
        yield from ((stage, "id", pa.scalar(value, pa.binary(16))) for stage in ("fetch", "selection"))
    if len(value) == 32:
        yield from ((stage, "sha256", pa.scalar(value, pa.binary(32))) for stage in ("fetch", "selection"))


def _canonical_url(key: str) -> str | None:
    if not key.strip().lower().startswith("http"):
        return None
    with needs_extra("crawl", key):
        from curation.crawl.urls import canonical_url
    return canonical_url(key)


def _find(collection: Collection, stage: str, column: str, value: pa.Scalar) -> Iterator[tuple[int, int]]:
    for part in collection.parts(stage):
        matches = pc.equal(collection.read(stage, part, [column])[column], value)
        for row in pc.indices_nonzero(matches.combine_chunks().fill_null(False)).to_pylist():
            yield part, row


def _trail(collection: Collection, stages: tuple[str, ...], part: int, row: int) -> Trail:
    events: list[Event] = []
    for stage in stages:
        if stage in UNSHOWN or collection.footer(stage, part) is None:
            continue
        fields = collection.read(stage, part).slice(row, 1).to_pylist()[0]
        facts = {name: _shown(value) for name, value in fields.items() if name not in HIDDEN and value is not None}
        events.append(Event(stage, facts, fields["drop_reason"], fields["drop_detail"]))
        if fields["drop_reason"] is not None or not fields["live"]:
            break
    return Trail(collection.path or "selection", part, row, events)


def _shown(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_shown(item) for item in value]
    if isinstance(value, dict):
        return {name: _shown(item) for name, item in value.items() if item is not None}
    return round(value, 4) if isinstance(value, float) else value
