"""The ARC format, in which archives stored crawls before WARC: a line of fields, then so many bytes.

FastWARC does not read it. warcio does, but refuses damaged files whole: `tests/bench/bench_arc.py` compares them, and
docs/adr/021 has its figures. No line and no length may cost more time than its bytes: archives hold what servers sent.
"""

import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO, cast

from curation.formats.warc.content import (
    MAX_CONTENT,
    MAX_HEADER,
    ContentFilter,
    Record,
    Tally,
    decode_content,
    joined_headers,
    status_of,
)
from curation.formats.warc.stream import Source

__all__ = ["is_arc", "read_arc", "read_arc_at"]

MAX_LINE = 64 * 1024
MAX_BLANK_LINES = 1024
_SCHEME = re.compile(rb"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_ADDRESS = re.compile(rb"\d+\.\d+\.\d+\.\d+|[0-9a-f:]+:[0-9a-f:.]*|-", re.IGNORECASE)
_DATE = re.compile(rb"\d{8,18}")
_LENGTH = re.compile(rb"-?\d{1,18}")
_LINE = re.compile(rb"\n(?=[a-z][a-z0-9+.-]*:\S)", re.IGNORECASE)
_BLANK = re.compile(rb"\r?\n\r?\n")
LONGEST_ADDRESS = 45
"""Characters of an IPv6 address that ends in an IPv4 one."""


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
    """The records at positions that `read_arc` gave."""
    at = set(positions)
    for record in read_arc(source, wanted, Tally()) if positions else ():
        if record.position in at:
            yield record
        if record.position >= positions[-1]:
            return


@dataclass(frozen=True, slots=True)
class _Header:
    url: bytes
    content_type: bytes
    length: int


def _parsed(line: bytes) -> _Header | None:
    """A line that starts a record: URL (which may hold spaces), address, date, content type, in version 2 more fields,
    and the length. Where the URL's own words look like an address and a date, the first such pair counts."""
    if not _SCHEME.match(line):
        return None
    *fields, length = line.rstrip().split(b" ")
    if not _LENGTH.fullmatch(length):
        return None
    torn = next((at for at in range(len(fields) - 1, -1, -1) if len(fields[at].split()) != 1), -1)  # belongs to the URL
    for at in range(max(1, torn - 1), len(fields) - 2):
        if len(fields[at]) <= LONGEST_ADDRESS and _DATE.fullmatch(fields[at + 1]) and _ADDRESS.fullmatch(fields[at]):
            return _Header(b" ".join(fields[:at]), fields[at + 2], max(int(length), 0))
    return None


class _Stream:
    """Lines and blocks of a stream, some of which can be put back; `position` is how far it was taken."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._ahead: list[io.BytesIO] = []
        self.position = 0
        self.put_back_in_all = 0

    def line(self) -> bytes:
        """Up to and with the next line feed; an over-long line comes in pieces."""
        line = b""
        while not line.endswith(b"\n") and (more := self._take("readline", MAX_LINE - len(line))):
            line += more
        return line

    def block(self, size: int) -> bytes:
        parts: list[bytes] = []
        while more := self._take("read", size):
            parts.append(more)
            size -= len(more)
        return b"".join(parts)

    def skip(self, size: int) -> None:
        while passed := len(self._take("read", size)):
            size -= passed

    def put_back(self, block: bytes) -> None:
        self._ahead.append(io.BytesIO(block))
        self.position -= len(block)
        self.put_back_in_all += len(block)

    def _take(self, method: str, size: int) -> bytes:
        """At most `size` of the bytes ahead, by a method of BytesIO; empty for none, or at the end of the stream."""
        while size > 0:
            while self._ahead:
                if taken := bytes(getattr(self._ahead[-1], method)(size)):
                    self.position += len(taken)
                    return taken
                self._ahead.pop()
            if not (more := self._stream.read(MAX_LINE)):
                break
            self._ahead.append(io.BytesIO(more))
        return b""


def _records(stream: _Stream, wanted: ContentFilter, tally: Tally) -> Iterator[Record]:
    intact = True
    while line := stream.line():
        header = _parsed(line)
        if header is None:
            if intact and line.strip():
                tally["broken"] += 1
                intact = False
            continue
        intact = True
        position = stream.position - len(line)
        tally["records"] += 1
        body = _body(stream, header.length)
        url = header.url.decode("utf-8", "replace")
        if body and url.lower().startswith(("http:", "https:")):
            record = _message(url, body, header.content_type.decode("latin-1"))
            if wanted(record.content_type):
                yield replace(record, position=position)


def _body(stream: _Stream, length: int) -> bytes:
    """A record's bytes; fewer, if its length is wrong and another record starts within them."""
    body = stream.block(min(length, MAX_CONTENT))
    start = stream.position
    stream.skip(length - len(body))
    is_whole = len(body) + stream.position - start == length
    gap = [stream.line()]
    while gap[-1] and not gap[-1].strip() and len(gap) < MAX_BLANK_LINES:
        gap.append(stream.line())
    following = gap[-1]
    stream.put_back(b"".join(gap))
    if is_whole and (not following or _parsed(following)):
        return body
    if stream.put_back_in_all > 2 * stream.position + MAX_CONTENT:  # else many wrong lengths would each read all again
        return body
    for line in _LINE.finditer(body):
        end = body.find(b"\n", line.end(), line.end() + MAX_LINE)
        if _parsed(body[line.end() : end if end >= 0 else line.end() + MAX_LINE]):
            stream.put_back(body[line.end() :])
            return body[: line.end()]
    return body


def _message(url: str, body: bytes, declared: str) -> Record:
    """An HTTP response as it was stored; a body without HTTP headers (early crawls) is content alone."""
    if not body.startswith(b"HTTP/"):
        return Record(url, declared.lower(), {}, body)
    end = _BLANK.search(body, 0, MAX_HEADER)
    head, content = (body[: end.start()], body[end.end() :]) if end else (body[:MAX_HEADER], b"")
    first, *lines = head.decode("latin-1").split("\n")
    fields = (line.partition(":") for line in lines)
    headers = joined_headers((name.strip(), value.strip()) for name, colon, value in fields if colon)
    content_type = headers.get("content-type", declared).lower()
    return Record(url, content_type, headers, decode_content(content, headers), status_of(first))
