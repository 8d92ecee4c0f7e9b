"""Cuts a collection into parts: a slice each, in a shuffled order; small ones first, so that a small pool has many.

The shuffle is by a keyed hash of each row's name, so it depends on neither the file system nor the number of
workers, and every part is a random sample of what was listed with it: one host's URLs are spread over all parts. Rows
are dealt into buckets by that hash, so memory holds one bucket of them. Listing again only ever appends parts.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.engine.contract import Output, StageSpec
from curation.engine.graph import URLS, Site
from curation.errors import DatasetError
from curation.formats.dataset import detect, list_rows
from curation.formats.row import SCHEMA, tables_of
from curation.run.parts import Collection, digest_of
from curation.search.buckets import Buckets, bucket_of
from curation.stages.ingest.dedup_urls import DEDUP_URLS
from curation.stages.ingest.extract_urls import EXTRACT_URLS, listed_links

__all__ = ["LIST", "List"]

LIST = StageSpec(name="list", version=2, after=None, reads={}, adds=SCHEMA, settings={})

BUCKETS = 512
"""Open files at most; systems allow 1,024."""

FIRST, EVERY = 250, 16
"""Rows in a part at first, and after how many parts that doubles: a few thousand images already keep many cores busy,
and a billion are still cut into parts of the full size, all but the first hundred."""

NAME = ("tar", "key")
"""What tells rows apart: two datasets may use the same key."""
DEALT = SCHEMA.append(pa.field("order", pa.binary(32))).append(pa.field("is_known", pa.bool_()))


class List:
    """The stage `list`: URLs, and the images of folders, tars and Parquet files, are listed, shuffled by a keyed hash,
    and cut into parts; what is new comes as new parts.

    Args:
        tables: rows of `SCHEMA`; of those with the same file and key, the first counts.
        most: rows in a part, once parts have grown to their full size.
        datasets: what errors call them.
    """

    spec = LIST

    def __init__(
        self, collection: Collection, tables: Iterable[pa.Table], most: int, seed: int, datasets: Sequence[str] = ()
    ) -> None:
        self._collection = collection
        self._tables = tables
        self._most = most
        self._seed = seed
        self._datasets = datasets

    @classmethod
    def at(cls, site: Site) -> "List":
        datasets = site.run.collections()[site.path]
        at_hand = (list_rows(data) for data in datasets if not detect(data).has_urls)
        urls = site.run.collection(f"{site.path}/{URLS}")
        tables = itertools.chain(*map(tables_of, at_hand), _from_urls(urls))
        return cls(site.collection, tables, site.config.parts.rows, site.config.seed, datasets)

    def setup(self) -> None:
        pass

    def expected(self) -> None:
        """What there is to list, only listing tells."""

    def process(self, stale: Sequence[int]) -> Iterator[tuple[int, Output]]:
        """Raises DatasetError where there is nothing at all."""
        parts = self._collection.parts(LIST.name)
        numbers = (number for number in itertools.count() if number not in parts)
        part = next(numbers)
        rest = SCHEMA.empty_table()
        with Buckets(BUCKETS, DEALT) as buckets:
            for known in parts:
                _deal(buckets, self._collection.read(LIST.name, known, SCHEMA.names), self._seed, is_known=True)
            for table in self._tables:
                _deal(buckets, table, self._seed, is_known=False)
            for dealt in buckets.take():
                rest = pa.concat_tables([rest, _new_rows(dealt)])
                while len(rest) >= (size := _size(part, self._most)):
                    yield part, _output(rest.slice(0, size))
                    rest, part = rest.slice(size), next(numbers)
            if len(rest):
                yield part, _output(rest)
            elif not self._collection.parts(LIST.name):
                raise DatasetError(
                    f"{self._collection.path}: no images found in {', '.join(self._datasets)}; "
                    "check that this is the dataset"
                )


def _from_urls(urls: Collection) -> Iterator[pa.Table]:
    """The URLs of a collection, each once, as rows of a listing."""
    for part in urls.parts(DEDUP_URLS.name):
        live = urls.read(DEDUP_URLS.name, part, ["live"])["live"]
        yield listed_links(urls.read(EXTRACT_URLS.name, part, list(EXTRACT_URLS.adds.names)).filter(live))


def _size(part: int, most: int) -> int:
    return min(most, FIRST << min(part // EVERY, 20))


def _deal(buckets: Buckets, rows: pa.Table, seed: int, *, is_known: bool) -> None:
    keys = rows["key"].to_pylist()
    digests = [hashlib.sha256(f"{seed}\0{key}".encode()).digest() for key in keys]
    order = pa.array(digests, pa.binary(32))
    flag = pa.array(np.full(len(rows), is_known))
    buckets.add(pa.Table.from_arrays([*rows.columns, order, flag], schema=DEALT), bucket_of(order, BUCKETS))


def _new_rows(dealt: pa.Table) -> pa.Table:
    """Rows in their order, each once, without those that are known."""
    dealt = dealt.take(pc.sort_indices(dealt["order"]))  # stable, and what is known was dealt first
    seen: set[tuple[str | None, str]] = set()
    is_new = np.zeros(len(dealt), dtype=bool)
    names = zip(*(dealt[name].to_pylist() for name in NAME), dealt["is_known"].to_pylist(), strict=True)
    for at, (tar, key, is_known) in enumerate(names):
        is_new[at] = not is_known and (tar, key) not in seen
        seen.add((tar, key))
    return dealt.filter(pa.array(is_new)).select(SCHEMA.names)


def _output(table: pa.Table) -> Output:
    table = table.combine_chunks()
    columns = {name: table[name].combine_chunks() for name in SCHEMA.names}
    return Output(columns, digest=digest_of([LIST.name, LIST.version, table["key"].to_pylist()]))
