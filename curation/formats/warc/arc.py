"""The ARC format, in which archives stored crawls before WARC: a line of fields, then so many bytes.

FastWARC does not read it, and the others that do are slow or unmaintained; it is a page of code.
"""

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import IO, cast

from curation.formats.warc.content import MAX_CONTENT, ContentFilter, Record, Tally, decode_content
from curation.formats.warc.stream import Source

__all__ = ["is_arc", "read_arc", "read_arc_at"]

MAX_LINE = 64 * 1024
# URL (which may hold spaces), address, date, content type, then (version 2) more fields, and the length at the end.
_HEADER = re.compile(
    rb"^(?P<url>[a-z][a-z0-9+.-]*:.*?) (?P<ip>\d+\.\d+\.\d+\.\d+|[0-9a-f:]+:[0-9a-f:.]*|-) (?P<date>\d{8,18})"
    rb" (?P<mime>\S+)(?: \S+)*? (?P<length>-?\d+)\s*$",
    re.IGNORECASE,
)
_LINE = re.compile(rb"\n(?=[a-z][a-z0-9+.-]*:\S)", re.IGNORECASE)
_BLANK = re.compile(rb"\r?\n\r?\n")


def is_arc(head: bytes) -> bool:
    """Whether a file that starts so, uncompressed, is an ARC file."""
    return head.startswith(b"filedesc:")


def read_arc(source: Source, wanted: ContentFilter, tally: Tally) -> Iterator[Record]:
    """All records whose content type is wanted; damage is skipped up to the next line that starts a record."""
    packed = source.peek(2) == b"\x1f\x8b"
    plain = cast("IO[bytes]", source)
    stream = _Stream(cast("IO[bytes]", gzip.GzipFile(fileobj=plain)) if packed else plain)
    try:
        yield from _records(stream, wanted, tally)
    except (OSError, EOFError, zlib.error):  # damaged gzip: where the next record is cannot be told
        if source.failure is not None:
            raise source.failure from None
        tally["broken"] += 1


def read_arc_at(source: Source, positions: Sequence[int], wanted: ContentFilter) -> Iterator[Record]:
    """The records at positions that `read_arc` told."""
    for record in read_arc(source, wanted, Tally()) if positions else ():
        if record.position in positions:
            yield record
        if record.position >= positions[-1]:
            return


class _Stream:
    """Lines and blocks of a stream, some of which can be put back; `position` is how far it was taken."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._buffer = b""
        self.position = 0

    def line(self) -> bytes:
        """Up to and with the next line feed; an over-long line comes in pieces."""
        while (end := self._buffer.find(b"\n")) < 0 and len(self._buffer) < MAX_LINE:
            more = self._stream.read(MAX_LINE)
            if not more:
                break
            self._buffer += more
        return self.block(end + 1 if end >= 0 else MAX_LINE)

    def block(self, size: int) -> bytes:
        parts = [self._buffer[:size]]
        self._buffer = self._buffer[size:]
        size -= len(parts[0])
        while size > 0 and (more := self._stream.read(size)):
            parts.append(more)
            size -= len(more)
        taken = b"".join(parts)
        self.position += len(taken)
        return taken

    def put_back(self, block: bytes) -> None:
        self._buffer = block + self._buffer
        self.position -= len(block)


def _records(stream: _Stream, wanted: ContentFilter, tally: Tally) -> Iterator[Record]:
    intact = True
    while line := stream.line():
        header = _HEADER.match(line)
        if header is None:
            if intact and line.strip():
                tally["broken"] += 1
                intact = False
            continue
        intact = True
        position = stream.position - len(line)
        tally["records"] += 1
        body = _body(stream, int(header["length"]))
        url = header["url"].decode("utf-8", "replace")
        if body and url.lower().startswith(("http:", "https:")):
            record = _message(url, body, header["mime"].decode("latin-1"))
            if wanted(record.content_type):
                yield replace(record, position=position)


def _body(stream: _Stream, length: int) -> bytes:
    """A record's bytes; fewer, if its length is wrong and another record starts within them."""
    body = stream.block(min(max(length, 0), MAX_CONTENT))
    for _ in range(max(length, 0) - MAX_CONTENT, 0, -MAX_CONTENT):
        stream.block(MAX_CONTENT)
    gap = b""
    while (following := stream.line()) and not following.strip():
        gap += following
    stream.put_back(gap + following)
    if following and not _HEADER.match(following):
        for start in _LINE.finditer(body):
            if _HEADER.match(body[start.end() : start.end() + MAX_LINE].partition(b"\n")[0]):
                stream.put_back(body[start.end() :])
                return body[: start.end()]
    return body


def _message(url: str, body: bytes, declared: str) -> Record:
    """An HTTP response as it was stored; a body without HTTP headers (early crawls) is content alone."""
    if not body.startswith(b"HTTP/"):
        return Record(url, declared.lower(), {}, body)
    end = _BLANK.search(body)
    head, content = (body[: end.start()], body[end.end() :]) if end else (body, b"")
    first, *lines = head.decode("latin-1").split("\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            name, value = name.strip().lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    words = first.split()
    status = int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0
    content_type = headers.get("content-type", declared).lower()
    return Record(url, content_type, headers, decode_content(content, headers), status)
