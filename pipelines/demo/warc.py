"""Crawl files in the WARC format, the same bytes for the same pages."""

import gzip
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Page", "write_warc"]

DATE = "2024-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Page:
    """An HTML page as it was crawled."""

    url: str
    html: str
    charset: str = "utf-8"


def write_warc(path: Path, pages: Iterable[Page]) -> None:
    """Write pages as response records; a path that ends in .gz is compressed record by record, as crawlers do."""
    records = [_record("warcinfo", None, "application/warc-fields", b"software: lvd demo\r\n")]
    records += [_record("response", page.url, "application/http; msgtype=response", _response(page)) for page in pages]
    if path.suffix == ".gz":
        records = [gzip.compress(record, mtime=0) for record in records]
    path.write_bytes(b"".join(records))


def _response(page: Page) -> bytes:
    body = page.html.encode(page.charset)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset={page.charset}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode("ascii") + body


def _record(kind: str, url: str | None, content_type: str, content: bytes) -> bytes:
    lines = [
        "WARC/1.1",
        f"WARC-Type: {kind}",
        f"WARC-Record-ID: <urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, url or kind)}>",
        f"WARC-Date: {DATE}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(content)}",
    ]
    if url is not None:
        lines.insert(2, f"WARC-Target-URI: {url}")
    return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + content + b"\r\n\r\n"
