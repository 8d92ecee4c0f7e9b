"""The body of an answer, within limits on bytes, before and after decompression, and on time."""

import asyncio
import zlib
from dataclasses import dataclass

from aiohttp import ClientResponse

from curation.config import CrawlConfig
from curation.drops import Dropped, DropReason

__all__ = ["Pace", "looks_like_image", "read_body"]

_MAGIC = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\x00",  # TIFF
    b"MM\x00*",
    b"\x00\x00\x01\x00",  # ICO
    b"\xff\x0a",  # JPEG XL
    b"\x00\x00\x00\x0cJXL ",
    b"\x00\x00\x00\x0cjP  ",  # JPEG 2000
    b"\xff\x4f\xff\x51",
)
_HTML_TYPES = ("text/html", "application/xhtml+xml")
_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heif", b"mif1", b"msf1")
HEAD = 16


@dataclass(slots=True)
class Pace:
    """The deadline of a request, which comes nearer while bytes come too slowly.

    Args:
        limit: the running `asyncio.timeout` of the request.
        end: loop time of the request's own deadline.
        rate: bytes per second below which it is cut off.
        grace: seconds from the first byte of the answer that are not held to that rate.
    """

    limit: asyncio.Timeout
    end: float
    rate: float
    grace: float
    _start: float = 0.0

    def begin(self) -> None:
        """The answer begins."""
        self._start = asyncio.get_running_loop().time()
        self.received(0)

    def received(self, total: int) -> None:
        """`total` bytes of it have come."""
        self.limit.reschedule(min(self.end, self._start + self.grace + total / self.rate))

    def verdict(self) -> DropReason:
        """What it means that the limit was reached. The clock is not asked: a timer may fire a moment early."""
        when = self.limit.when()
        return DropReason.TOO_SLOW if when is not None and when < self.end else DropReason.TIMEOUT


async def read_body(response: ClientResponse, settings: CrawlConfig, pace: Pace) -> bytes | Dropped:
    """All bytes of a 200 answer, decompressed, or why they are not wanted.

    What a server declares to be HTML is not read to its end, unless it begins as an image does.
    """
    length = response.content_length
    if length is not None and length > settings.max_bytes:
        return Dropped(DropReason.TOO_MANY_BYTES, f"{length} bytes announced")
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        return Dropped(DropReason.BAD_RESPONSE, f"content encoding {coding[:40]}, which was not asked for")
    inflater = None if coding in ("", "identity") else _Inflater(coding, settings.max_bytes)
    content_type = response.headers.get("Content-Type", "").strip().lower()
    parts: list[bytes] = []
    sent = size = 0
    judged = not content_type.startswith(_HTML_TYPES)
    if not response.content.is_eof():  # else all of it came with the headers
        pace.begin()
    try:
        while chunk := await response.content.readany():
            sent += len(chunk)
            if not response.content.is_eof():
                pace.received(sent)
            data = chunk if inflater is None else inflater.feed(chunk)
            size += len(data)
            if max(sent, size) > settings.max_bytes:
                return Dropped(DropReason.TOO_MANY_BYTES, f"over {settings.max_bytes} bytes")
            parts.append(data)
            if not judged and size >= HEAD:
                parts, judged = [b"".join(parts)], True
                if not looks_like_image(parts[0]):
                    return Dropped(DropReason.NOT_AN_IMAGE, content_type[:80])
    except zlib.error as error:
        return Dropped(DropReason.BAD_RESPONSE, f"{coding}: {error}")
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    if not body:
        return Dropped(DropReason.EMPTY_BODY)
    if not judged and not looks_like_image(body):
        return Dropped(DropReason.NOT_AN_IMAGE, content_type[:80])
    if inflater is not None and not inflater.whole:
        return Dropped(DropReason.BAD_RESPONSE, f"{coding}: ends early")
    return body


def looks_like_image(head: bytes) -> bool:
    """Whether bytes begin as those of a raster image format do."""
    if head.startswith(_MAGIC) or (head.startswith(b"BM") and head[6:10] == b"\0\0\0\0"):
        return True
    return (head.startswith(b"RIFF") and head[8:12] == b"WEBP") or (head[4:8] == b"ftyp" and head[8:12] in _BRANDS)


class _Inflater:
    """Decompresses piece by piece, never much more than `limit` bytes in all."""

    def __init__(self, coding: str, limit: int) -> None:
        self._inflater = zlib.decompressobj(47)  # a gzip or zlib header, whichever there is
        self._raw_deflate = coding == "deflate"
        self._room = limit + 1

    def feed(self, chunk: bytes) -> bytes:
        try:
            data = self._inflater.decompress(chunk, self._room)
        except zlib.error:
            if not self._raw_deflate:
                raise
            self._inflater = zlib.decompressobj(-15)  # many servers send deflate without the zlib header
            data = self._inflater.decompress(chunk, self._room)
        self._raw_deflate = False
        self._room = max(self._room - len(data), 1)
        return data

    @property
    def whole(self) -> bool:
        return self._inflater.eof
