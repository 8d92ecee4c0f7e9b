"""Records of crawl files, and their content as the page's author wrote it.

Archives are not to be trusted about how content is packed: many undo chunks or compression and keep the header that
announces them. What is announced is therefore tried, and the bytes are kept as they are where it does not fit.
"""

import contextlib
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import brotli  # type: ignore[import-untyped, unused-ignore]

__all__ = [
    "MAX_CONTENT",
    "MAX_HEADER",
    "ContentFilter",
    "Record",
    "Tally",
    "decode_content",
    "joined_headers",
    "status_of",
]

MAX_CONTENT = 64 * 1024 * 1024
"""Bytes of a record's content, as stored and once decompressed; the rest of a longer one is not read."""

MAX_HEADER = 256 * 1024
"""Bytes of a record's headers."""

Tally = Counter[str]
"""What was met in a file, by count: `records`, `pages`, `broken` and so on."""

ContentFilter = Callable[[str], bool]
"""Whether records of a content type (lower case, with its parameters) are to be read; others are skipped cheaply."""


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that a crawl stored."""

    url: str
    content_type: str
    """As the server, or for a resource the crawler, declared it: lower case, with its parameters."""
    headers: Mapping[str, str]
    """HTTP headers by lower-case name, repeated ones joined by commas; empty where there is no HTTP message."""
    content: bytes
    """Chunks joined, compression undone."""
    status: int = 200
    cut: bool = False
    """Whether the crawler, or our own limit, stored or read less than there was."""
    position: int = 0
    """Where the record starts: the offset of its compressed member in a WARC file, in an ARC file the offset once
    decompressed."""


def joined_headers(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """HTTP headers by lower-case name, repeated ones joined by commas."""
    values = defaultdict[str, list[str]](list)
    for name, value in fields:
        values[name.lower()].append(value)
    return {name: ", ".join(each) for name, each in values.items()}


def status_of(line: str) -> int:
    """The status in the first line of an HTTP response; 0 where there is none of three digits."""
    words = line.split()
    return int(words[1]) if len(words) > 1 and len(words[1]) == 3 and words[1].isdecimal() else 0


def decode_content(stored: bytes, headers: Mapping[str, str]) -> bytes:
    """Undo the transfer and content encodings that the headers announce, as far as the bytes agree."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        stored = _joined_chunks(stored)
    for coding in reversed(headers.get("content-encoding", "").lower().split(",")):
        stored = _decompressed(stored, coding.strip())
    return stored


def _joined_chunks(stored: bytes) -> bytes:
    """The chunks' data, up to the first damage; everything, if it does not even start with a chunk."""
    parts: list[bytes] = []
    position = 0
    while position < len(stored):
        end = stored.find(b"\n", position, position + 1024)
        digits = stored[position:end].partition(b";")[0].strip() if end >= 0 else b""
        try:
            size = int(digits, 16) if digits.isalnum() else -1
        except ValueError:
            size = -1
        if size < 0:
            return b"".join(parts) if parts else stored
        if size == 0:
            break
        parts.append(stored[end + 1 : end + 1 + size])
        position = end + 1 + size
        position += 2 if stored[position : position + 2] == b"\r\n" else 1
    return b"".join(parts)


def _decompressed(stored: bytes, coding: str) -> bytes:
    if coding in ("gzip", "x-gzip", "deflate"):
        for wbits in (47, -15) if coding == "deflate" else (47,):
            plain = _inflated(stored, wbits)
            if plain:
                return plain
    elif coding == "br":
        with contextlib.suppress(brotli.error):
            return bytes(brotli.Decompressor().process(stored, output_buffer_limit=MAX_CONTENT))
    return stored


def _inflated(stored: bytes, wbits: int) -> bytes:
    """What can be decompressed before the data end or break; empty when they do not fit at all."""
    inflater = zlib.decompressobj(wbits)
    parts: list[bytes] = []
    room = MAX_CONTENT
    for at in range(0, len(stored), 65536):
        try:
            plain = inflater.decompress(inflater.unconsumed_tail + stored[at : at + 65536], room)
        except zlib.error:
            break
        parts.append(plain)
        room -= len(plain)
        if room <= 0 or inflater.eof:
            break
    return b"".join(parts)
