"""One listed sample: where its bytes are, and what is known of it before they are read."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import pyarrow as pa

__all__ = ["SCHEMA", "ListedRow", "table_of"]


@dataclass(frozen=True, slots=True)
class ListedRow:
    """A row of a listing.

    Exactly one place is set: `url` to fetch from, or `tar` with `offset` and `length` for bytes that stay where they
    are (a file is a tar of one image at offset 0), or `tar` with `row` for a Parquet file whose column holds them.

    Attributes:
        key: what tells the row apart within its dataset, whatever folder the dataset lies in.
        path: the name of a local image within its dataset.
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


SCHEMA = pa.schema(
    [
        (field.name, pa.int64() if field.name in ("offset", "length", "row") else pa.string())
        for field in fields(ListedRow)
    ]
)


def table_of(rows: Sequence[ListedRow]) -> pa.Table:
    """Rows as a table of `SCHEMA`."""
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA)
