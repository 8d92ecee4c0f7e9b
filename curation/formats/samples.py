"""The samples of a dataset with their bytes, whatever its form."""

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from curation.errors import DatasetError
from curation.formats.dataset import detect, list_rows
from curation.formats.parquet import read_image_rows
from curation.formats.row import ListedRow
from curation.run.store import read_range

__all__ = ["Sample", "read_bytes", "read_dataset", "sample_of"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a dataset, as it is stored.

    Attributes:
        key: its name within its dataset, used once: a path in a folder, `<tar>/<member>` or `<parquet>/<row>`.
        data: the file's bytes, which need not be an image that decodes; see `decode_image`.
        label: its folder, the `.cls` or `label` beside it, or the Parquet column; None where there is none.
        caption: the `.txt` or `caption` beside it, or the Parquet column; None where there is none.
        page_url: the page that it was found on, where the `.json` beside it says so.
    """

    key: str
    data: bytes
    label: str | None = None
    caption: str | None = None
    page_url: str | None = None


def read_dataset(data: str | os.PathLike[str]) -> Iterator[Sample]:
    """Read the images of a dataset one by one, in a fixed order: of their paths, shards and members, or rows.

    Args:
        data: a folder of images (sub-folders are labels), WebDataset tars (a folder or a brace pattern of them), or
            Parquet files with an image column; a local path or any fsspec URL.

    Raises:
        DatasetError: there is nothing at the path, it is of no known form, it holds URLs, or a file cannot be read.
    """
    data = os.fspath(data)
    if detect(data).has_urls:
        raise DatasetError(f"{data}: holds URLs, not images; fetch them with lvd curate, and read its shards")
    for row, content in read_bytes(list_rows(data)):
        yield sample_of(row, content)


def read_bytes(rows: Iterable[ListedRow]) -> Iterator[tuple[ListedRow, bytes]]:
    """Each row with its bytes, none for a null of a Parquet file; rows of one such file come in the file's order.

    Raises:
        DatasetError: a file cannot be read, or is shorter than when it was listed.
    """
    for file, group in itertools.groupby(rows, lambda row: row.tar if row.row is not None else None):
        if file is None:
            yield from ((row, _range_of(row)) for row in group)
        else:
            listed = list(group)
            contents = read_image_rows(file, [row.row for row in listed if row.row is not None])
            yield from zip(listed, (content for _, content in contents), strict=True)


def sample_of(row: ListedRow, content: bytes) -> Sample:
    """A row and its bytes as a sample."""
    return Sample(row.key, content, row.label, row.alt, row.page_url)


def _range_of(row: ListedRow) -> bytes:
    assert row.tar is not None
    assert row.offset is not None
    assert row.length is not None
    try:
        content = read_range(row.tar, row.offset, row.length)
    except OSError as error:
        raise DatasetError(f"{row.tar}: cannot be read ({error.strerror or error}); check its permissions") from error
    if len(content) != row.length:
        raise DatasetError(f"{row.tar}: is shorter than when it was listed; bring the file back")
    return content
