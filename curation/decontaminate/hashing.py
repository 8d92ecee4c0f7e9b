"""SHA-256 and size of files: of those that are there, and of what is being written."""

import hashlib
from collections.abc import Iterator
from typing import IO

from curation.run.store import filesystem

__all__ = ["Hashing", "chunks", "hash_of"]


class Hashing:
    """Passes bytes on to a file, and knows their SHA-256 and number. It cannot seek."""

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


def hash_of(file: str) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file."""
    digest, size = hashlib.sha256(), 0
    for data in chunks(file):
        digest.update(data)
        size += len(data)
    return size, digest.hexdigest()


def chunks(file: str) -> Iterator[bytes]:
    """The bytes of a file, local or at a URL, a megabyte at a time."""
    fs, inner = filesystem(file)
    with fs.open(inner, "rb") as source:
        while data := source.read(1 << 20):
            yield data
