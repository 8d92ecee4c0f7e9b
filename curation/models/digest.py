"""The SHA-256 of a weights file, in a module of its own: it is wanted before, and often without, any model library."""

import hashlib
from functools import lru_cache
from pathlib import Path

__all__ = ["sha256_of"]


def sha256_of(path: Path) -> str:
    """The file's sha256 in hexadecimal; a file that did not change is read once per process."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=32)
def _sha256(path: Path, _size: int, _mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
