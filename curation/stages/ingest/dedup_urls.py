"""Exact URL dedup over all parts: of the rows that have a URL, the first in order of parts and rows stays.

Only keys are looked at, dealt into buckets by their leading bits, so memory holds one bucket however many URLs there
are: 1.2 billion keys are 29 GB on the disk of one machine, and 56 MB in a bucket.
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from curation.arrays import Int64Array
from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, StageSpec
from curation.engine.graph import Site
from curation.run.parts import Collection
from curation.search.buckets import Buckets, bucket_of
from curation.stages.ingest.extract_urls import EXTRACT_URLS

__all__ = ["DEDUP_URLS", "DedupUrls"]

DEDUP_URLS = StageSpec(
    name="dedup_urls",
    version=2,
    after="extract_urls",
    reads={"extract_urls": ["key"]},
    adds=pa.schema([]),
    settings={},
)

BUCKETS = 512
"""Open files at most; systems allow 1,024."""

KEYS = pa.schema([("key", pa.binary(16)), ("at", pa.int32()), ("row", pa.int32())])
"""A URL's key, the index of its part in order, and its place among the part's live rows."""
PLACES = pa.schema([("at", pa.int32()), ("row", pa.int32())])


class DedupUrls:
    """The stage `dedup_urls`: a URL that an earlier part, or an earlier row, already has is dropped."""

    spec = DEDUP_URLS

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    @classmethod
    def at(cls, site: Site) -> "DedupUrls":
        return cls(site.collection)

    def setup(self) -> None:
        pass

    def expected(self) -> dict[int, str]:
        """A digest for each part that covers it and all parts before it, since those decide what repeats."""
        chain = hashlib.sha256(f"{DEDUP_URLS.name} {DEDUP_URLS.version}".encode())
        digests = {}
        for part in self._collection.parts(EXTRACT_URLS.name):
            footer = self._collection.footer(EXTRACT_URLS.name, part)
            assert footer is not None
            chain.update(footer.digest.encode())
            digests[part] = chain.hexdigest()
        return digests

    def process(self, stale: Sequence[int]) -> Iterator[tuple[int, Output]]:
        parts = self._collection.parts(EXTRACT_URLS.name)
        with Buckets(BUCKETS, KEYS) as by_key, Buckets(BUCKETS, PLACES) as by_part:
            for at, part in enumerate(parts):
                keys = self._keys(part)
                table = pa.table([keys, np.full(len(keys), at), np.arange(len(keys))], names=KEYS.names)
                by_key.add(table, bucket_of(keys, BUCKETS))
            for table in by_key.take():
                repeats = table.select(PLACES.names).take(pa.array(_repeats(table["key"])))
                by_part.add(repeats, repeats["at"].to_numpy().astype(np.int64) * BUCKETS // len(parts))
            for bucket, table in enumerate(by_part.take()):
                index, row = table["at"].to_numpy(), table["row"].to_numpy()
                for at in range(-(-bucket * len(parts) // BUCKETS), -(-(bucket + 1) * len(parts) // BUCKETS)):
                    if parts[at] in stale:
                        repeated = row[index == at].tolist()
                        yield parts[at], Output({}, dict.fromkeys(repeated, Dropped(DropReason.DUPLICATE_URL)))

    def _keys(self, part: int) -> pa.Array:
        """Of the live URLs of a part."""
        live = self._collection.live(EXTRACT_URLS.name, part)
        keys = self._collection.read(EXTRACT_URLS.name, part, ["key"])["key"]
        return keys.filter(pa.array(live)).combine_chunks()


def _repeats(keys: pa.ChunkedArray) -> Int64Array:
    """Rows whose key an earlier row has."""
    halves = np.frombuffer(b"".join(_bytes(chunk) for chunk in keys.chunks), ">u8").reshape(-1, 2).astype(np.uint64)
    order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: equal keys stay in order
    ordered = halves[order]
    return np.asarray(order[1:][(ordered[1:] == ordered[:-1]).all(axis=1)])


def _bytes(chunk: pa.Array) -> memoryview:
    width = chunk.type.byte_width
    return memoryview(chunk.buffers()[1])[chunk.offset * width : (chunk.offset + len(chunk)) * width]
