"""SHA-256 and size of files, those at hand and those being written."""

import hashlib
import io
from typing import IO, Any

from curation.run.store import filesystem

__all__ = ["Hashing", "hash_of"]


class Hashing(io.RawIOBase):
    """Passes bytes on to a file, which stays open, and knows their SHA-256 and number. It cannot seek."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def write(self, data: Any) -> int:
        self._file.write(data)
        self._sha256.update(data)
        size = memoryview(data).nbytes
        self.size += size
        return size

    def tell(self) -> int:
        return self.size

    def writable(self) -> bool:
        return True


def hash_of(file: str) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file."""
    fs, inner = filesystem(file)
    with fs.open(inner, "rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
        return source.tell(), digest
