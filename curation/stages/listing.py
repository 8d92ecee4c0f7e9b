"""Cuts a collection into parts: a fixed slice each, in a shuffled order.

The shuffle is by a keyed hash of each row's name, so it depends on neither the file system nor the number of
workers, and every part is a random sample of what was listed with it. Listing again only ever appends parts.
"""

import hashlib
import itertools
from collections.abc import Sequence

import numpy as np

from curation.parts import Collection, digest_of
from curation.sources.row import SCHEMA, ListedRow, table_of
from curation.stages.contract import Output, StageSpec, commit_output

__all__ = ["LISTING", "append_parts", "listed_rows"]

LISTING = StageSpec(name="listing", version=1, after=None, reads={}, schema=SCHEMA, settings={})


def listed_rows(collection: Collection) -> set[tuple[str | None, str]]:
    """File and key of all rows that the collection already has: two datasets may use the same key."""
    known: set[tuple[str | None, str]] = set()
    for part in collection.parts(LISTING.name):
        table = collection.read(LISTING.name, part, ["tar", "key"])
        known.update(zip(table["tar"].to_pylist(), table["key"].to_pylist(), strict=True))
    return known


def append_parts(collection: Collection, rows: Sequence[ListedRow], rows_per_part: int, seed: int) -> None:
    """Cut rows that the collection does not have yet into new parts behind those it has, or in place of a lost one."""
    parts = collection.parts(LISTING.name)
    numbers = (number for number in itertools.count() if number not in parts)
    shuffled = sorted(rows, key=lambda row: hashlib.sha256(f"{seed}\0{row.key}".encode()).digest())
    for at in range(0, len(shuffled), rows_per_part):
        table = table_of(shuffled[at : at + rows_per_part])
        columns = {name: table[name].combine_chunks() for name in SCHEMA.names}
        commit_output(
            LISTING,
            collection,
            next(numbers),
            np.ones(table.num_rows, dtype=bool),
            Output(columns),
            digest=digest_of([LISTING.name, LISTING.version, table["key"].to_pylist()]),
        )
