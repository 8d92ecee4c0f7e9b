"""Cuts a collection into parts: a slice each, in a shuffled order; small ones first, so that a small pool has many.

The shuffle is by a keyed hash of each row's name, so it depends on neither the file system nor the number of
workers, and every part is a random sample of what was listed with it: one host's URLs are spread over all parts. Rows
are dealt into buckets by that hash, so memory holds one bucket of them. Listing again only ever appends parts.
"""

import hashlib
import itertools
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.engine.contract import Output, StageSpec, commit_output
from curation.formats.row import SCHEMA
from curation.run.parts import Collection, digest_of
from curation.search.buckets import Buckets, bucket_of

__all__ = ["LIST", "append_parts"]

LIST = StageSpec(name="list", version=2, after=None, reads={}, schema=SCHEMA, settings={})

BUCKETS = 512
"""Open files at most; systems allow 1,024."""

FIRST, EVERY = 250, 16
"""Rows in a part at first, and after how many parts that doubles: a few thousand images already keep many cores busy,
and a billion are still cut into parts of the full size, all but the first hundred."""

NAME = ("tar", "key")
"""What tells rows apart: two datasets may use the same key."""
DEALT = SCHEMA.append(pa.field("order", pa.binary(32))).append(pa.field("is_known", pa.bool_()))


def append_parts(collection: Collection, tables: Iterable[pa.Table], most: int, seed: int) -> int:
    """Cut rows that the collection does not have yet into new parts behind those it has, or in place of a lost one.

    Args:
        tables: rows of `SCHEMA`; of those with the same file and key, the first counts.
        most: rows in a part, once parts have grown to their full size.

    Returns:
        How many rows were new.
    """
    parts = collection.parts(LIST.name)
    numbers = (number for number in itertools.count() if number not in parts)
    part = next(numbers)
    rest, new = SCHEMA.empty_table(), 0
    with Buckets(BUCKETS, DEALT) as buckets:
        for known in parts:
            _deal(buckets, collection.read(LIST.name, known, SCHEMA.names), seed, is_known=True)
        for table in tables:
            _deal(buckets, table, seed, is_known=False)
        for dealt in buckets.take():
            rows = _new_rows(dealt)
            new += len(rows)
            rest = pa.concat_tables([rest, rows])
            while len(rest) >= (size := _size(part, most)):
                _commit(collection, part, rest.slice(0, size))
                rest, part = rest.slice(size), next(numbers)
        if len(rest):
            _commit(collection, part, rest)
    return new


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


def _commit(collection: Collection, part: int, table: pa.Table) -> None:
    table = table.combine_chunks()
    columns = {name: table[name].combine_chunks() for name in SCHEMA.names}
    digest = digest_of([LIST.name, LIST.version, table["key"].to_pylist()])
    commit_output(LIST, collection, part, np.ones(len(table), dtype=bool), Output(columns), digest=digest)
