"""One listed sample: where its bytes are, and what is known of it before they are read."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import pyarrow as pa

__all__ = ["SCHEMA", "ListedRow", "tables_of"]


@dataclass(frozen=True, slots=True)
class ListedRow:
    """A row of a listing.

    Exactly one place is set: `url` to fetch from, or `tar` with `offset` and `length` for bytes that stay where they
    are (a file is a tar of one image at offset 0), or `tar` with `row` for a Parquet file whose column holds them.

    Attributes:
        key: what tells the row apart within its dataset, whatever folder the dataset lies in.
        path: the name of a local image within its dataset.
        archived: where `source`, a crawl file, holds the picture that `url` names, if it does.
    """

    key: str
    source: str
    url: str | None = None
    page_url: str | None = None
    alt: str | None = None
    label: str | None = None
    path: str | None = None
    tar: str | None = None
    offset: int | None = None
    length: int | None = None
    row: int | None = None
    archived: int | None = None


SCHEMA = pa.schema(
    [
        (field.name, pa.int64() if field.name in ("offset", "length", "row", "archived") else pa.string())
        for field in fields(ListedRow)
    ]
)


def tables_of(rows: Iterable[ListedRow]) -> Iterator[pa.Table]:
    """Rows as tables of `SCHEMA`, a bounded number of rows in each."""
    remaining = iter(rows)
    while batch := list(itertools.islice(remaining, 65_536)):
        columns = [pa.array([getattr(row, field.name) for row in batch], field.type) for field in SCHEMA]
        yield pa.Table.from_arrays(columns, schema=SCHEMA)
