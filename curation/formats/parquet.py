"""Parquet files with a column of image bytes, or a column of URLs."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from curation.errors import DatasetError
from curation.formats.row import ListedRow
from curation.run.store import filesystem, is_url

__all__ = ["image_column", "image_groups", "list_images", "read_image_group", "read_image_rows", "read_url_rows"]

IMAGE_COLUMNS = ("image", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes", "content")
URL_COLUMNS = ("url", "URL", "image_url")
ALT_COLUMNS = ("alt", "caption", "text", "TEXT")
LABEL_COLUMNS = ("label", "class", "cls")


def image_column(file: str, column: str | None = None) -> str | None:
    """The path of the column that holds image bytes (`image`, or `image.bytes` of a Hugging Face dataset), if any.

    Args:
        column: the one to take, instead of one with a usual name.

    Raises:
        DatasetError: the file is no Parquet, or has neither an image nor a URL column.
    """
    schema = _open(file).schema_arrow
    for name in IMAGE_COLUMNS if column is None else (column,):
        if name not in schema.names:
            continue
        kind = schema.field(name).type
        if _is_bytes(kind):
            return name
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and _is_bytes(kind.field("bytes").type):
            return f"{name}.bytes"
    if column is not None:
        raise DatasetError(
            f"{file}: has no column {column!r} of image bytes; its columns are {', '.join(schema.names)}"
        )
    if not any(name in schema.names for name in URL_COLUMNS):
        raise DatasetError(
            f"{file}: has no column of images ({', '.join(IMAGE_COLUMNS)}) or URLs ({', '.join(URL_COLUMNS)}); "
            f"its columns are {', '.join(schema.names)}"
        )
    return None


def image_groups(file: str, column: str | None = None) -> tuple[str, list[int]]:
    """The column that holds image bytes, as `image_column` finds it, and the number of rows in each row group."""
    name = image_column(file, column)
    if name is None:
        raise DatasetError(f"{file}: has a column of URLs and none of images; fetch them first, with `lvd curate`")
    metadata = _open(file).metadata
    return name, [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def read_image_group(file: str, column: str, group: int) -> pa.Array:
    """The values of an image column in one row group: bytes, or structs with `bytes`.

    Raises:
        DatasetError: the file is gone or damaged.
    """
    try:
        return _open(file).read_row_group(group, columns=[column]).column(0).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{file}: row group {group} cannot be read: {error}") from error


def list_images(files: Sequence[str], source: str) -> Iterator[ListedRow]:
    """List the rows of Parquet files with images, file by file."""
    for file in files:
        parquet = _open(file)
        label = _first(LABEL_COLUMNS, parquet.schema_arrow)
        alt = _first(ALT_COLUMNS, parquet.schema_arrow)
        leaf = file.rsplit("/", 1)[-1]
        row = 0
        for batch in parquet.iter_batches(columns=[name for name in (label, alt) if name]):
            labels, alts = _texts(batch, label), _texts(batch, alt)
            for at in range(batch.num_rows):
                name = f"{leaf}/{row}"
                yield ListedRow(
                    key=name, source=source, alt=alts[at], label=labels[at], path=name, tar=_absolute(file), row=row
                )
                row += 1


def read_image_rows(file: str, rows: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Yield (row, image bytes) for sorted row numbers; a null yields no bytes. Row groups are read one at a time."""
    parquet = _open(file)
    column = image_column(file)
    assert column is not None
    start = 0
    for group in range(parquet.num_row_groups):
        end = start + parquet.metadata.row_group(group).num_rows
        if chosen := rows[bisect_left(rows, start) : bisect_left(rows, end)]:
            values = parquet.read_row_group(group, columns=[column]).column(0).combine_chunks()
            for row in chosen:
                value = values[row - start].as_py()
                yield row, (value.get("bytes") if isinstance(value, dict) else value) or b""
        start = end


def read_url_rows(file: str) -> Iterator[tuple[str, str, str]]:
    """Yield (url, page URL, alt text) of a Parquet file with a URL column."""
    parquet = _open(file)
    url = _first(URL_COLUMNS, parquet.schema_arrow)
    assert url is not None
    alt = _first(ALT_COLUMNS, parquet.schema_arrow)
    page = _first(("page_url",), parquet.schema_arrow)
    for batch in parquet.iter_batches(columns=[name for name in (url, alt, page) if name]):
        urls, alts, pages = _texts(batch, url), _texts(batch, alt), _texts(batch, page)
        yield from zip((u or "" for u in urls), (p or "" for p in pages), (a or "" for a in alts), strict=True)


def _open(file: str) -> pq.ParquetFile:
    fs, inner = filesystem(file)
    try:
        return pq.ParquetFile(inner, filesystem=fs)
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{file}: is not a readable Parquet file ({error}); fix or leave it out") from error


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _first(names: Sequence[str], schema: pa.Schema) -> str | None:
    return next((name for name in names if name in schema.names), None)


def _texts(batch: pa.RecordBatch, name: str | None) -> list[str | None]:
    if name is None:
        return [None] * batch.num_rows
    return [None if value is None else str(value) for value in batch.column(name).to_pylist()]


def _absolute(file: str) -> str:
    return file if is_url(file) else filesystem(file)[1]
