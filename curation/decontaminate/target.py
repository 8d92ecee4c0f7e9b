"""The files of a dataset, what each is called in its clean copy, and the hash of what is written."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from curation.errors import DatasetError
from curation.formats.dataset import Kind, dataset_files, detect
from curation.run.store import filesystem, is_url

__all__ = ["Hashing", "Source", "checked_name", "open_source"]


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset that is to be written again.

    Attributes:
        files: its shards or Parquet files, in order, as the column `tar` of stage `list` has them; its one folder.
        names: the path of each file within the clean dataset: what lies below the folder that all files share.
    """

    data: str
    kind: Kind
    files: tuple[str, ...]
    names: tuple[str, ...]


def open_source(data: str) -> Source:
    """Look at a dataset.

    Raises:
        DatasetError: it is not there, or holds URLs rather than images.
    """
    kind = detect(data)
    if kind.has_urls:
        raise DatasetError(
            f"{data}: is {kind.value}; name a folder of images, WebDataset tars or Parquet files with images"
        )
    files = tuple(file if is_url(file) else filesystem(file)[1] for file in dataset_files(data))
    if twice := sorted({file for file in files if files.count(file) > 1}):
        raise DatasetError(f"{twice[0]}: is named twice by {data}; name each file once")
    return Source(data, kind, files, ("",) if kind is Kind.FOLDER else _below_shared_folder(files))


def _below_shared_folder(files: Sequence[str]) -> tuple[str, ...]:
    folders = [file.split("/")[:-1] for file in files]
    shared = next(
        (at for at, parts in enumerate(zip(*folders, strict=False)) if len(set(parts)) > 1), min(map(len, folders))
    )
    return tuple(checked_name("/".join(file.split("/")[shared:])) for file in files)


def checked_name(name: str) -> str:
    """A relative path that stays below the folder it is joined to; an object store may hold names that do not.

    Raises:
        DatasetError: it does not.
    """
    if any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name:
        raise DatasetError(f"{name!r}: is no path that can be written below a folder; rename or leave out this file")
    return name


class Hashing:
    """Passes bytes on to a file, and knows their SHA-256 and number. Cannot be sought in."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.size = 0
        self.closed = False

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self._sha256.update(data)
        view = memoryview(data)
        self.size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Leave the file open: it belongs to whoever opened it."""
        self.closed = True

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False
