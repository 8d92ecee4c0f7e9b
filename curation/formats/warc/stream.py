"""A binary stream that can look ahead, be searched, and tells a failing medium from a damaged file."""

import zlib
from typing import IO

from curation.errors import cause_of

__all__ = ["Source", "SourceError", "plain_head"]

BLOCK = 1024 * 1024


class SourceError(Exception):
    """The medium failed: a disk error, a lost connection. Nothing is wrong with what the file says."""


class Source:
    """A readable stream of bytes, as FastWARC takes it.

    Its parser reports a bad record and a failed read by the same `OSError`; `failure` holds the latter.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._ahead = b""
        self._position = 0
        self.failure: SourceError | None = None

    def read(self, size: int = -1) -> bytes:
        ahead = self._ahead
        if ahead and size != 0:
            taken = ahead if size < 0 else ahead[:size]
            self._ahead = ahead[len(taken) :]
        else:
            taken = self._fetch(size)
        self._position += len(taken)
        return taken

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, or all that are left, without moving past them."""
        while len(self._ahead) < size:
            more = self._fetch(size - len(self._ahead))
            if not more:
                break
            self._ahead += more
        return self._ahead[:size]

    def tell(self) -> int:
        return self._position

    def seekable(self) -> bool:
        return bool(self._stream.seekable())

    def seek(self, position: int) -> None:
        """Go to an absolute offset; a stream that cannot seek stays where it is, which must be there."""
        if position == self._position:
            return
        try:
            self._stream.seek(position)
        except Exception as error:
            raise self._failed(error) from error
        self._ahead = b""
        self._position = position

    def find(self, marks: tuple[bytes, ...], after: int) -> int | None:
        """Offset of the first of the marks at or past `after`; None if there is none."""
        self.seek(after)
        longest = max(len(mark) for mark in marks)
        window, offset = b"", after
        while block := self.read(BLOCK):
            window += block
            result = [at for mark in marks if (at := window.find(mark)) >= 0]
            if result:
                return offset + min(result)
            keep = min(len(window), longest - 1)
            offset += len(window) - keep
            window = window[len(window) - keep :]
        return None

    def _fetch(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except Exception as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> SourceError:
        self.failure = SourceError(cause_of(error))
        return self.failure


def plain_head(head: bytes) -> bytes:
    """The first bytes of a file with gzip, if it is that, undone."""
    if not head.startswith(b"\x1f\x8b"):
        return head
    try:
        return zlib.decompressobj(wbits=31).decompress(head, 4096)
    except zlib.error:
        return b""
