"""Small crawl files, written byte by byte so that they can also be wrong."""

import gzip
import json
from collections.abc import Iterable, Mapping

__all__ = ["arc_file", "http_message", "warc_file", "warc_record", "wat_record"]


def http_message(body: bytes, headers: Mapping[str, str] | None = None, status: str = "200 OK") -> bytes:
    fields = {"Content-Type": "text/html"} | dict(headers or {})
    return f"HTTP/1.1 {status}\r\n{_lines(fields)}\r\n".encode() + body


def warc_record(content: bytes, url: str = "http://page.test/dir/index.html", **changes: str) -> bytes:
    """One record; `changes` replace header fields (`Content_Length="9"`)."""
    fields = {
        "WARC-Type": "response",
        "WARC-Record-ID": "<urn:uuid:00000000-0000-0000-0000-000000000000>",
        "WARC-Date": "2024-01-01T00:00:00Z",
        "WARC-Target-URI": url,
        "Content-Type": "application/http; msgtype=response",
        "Content-Length": str(len(content)),
    }
    fields |= {name.replace("_", "-"): value for name, value in changes.items()}
    return f"WARC/1.0\r\n{_lines(fields)}\r\n".encode() + content + b"\r\n\r\n"


def warc_file(records: Iterable[bytes], packed: bool = True) -> bytes:
    return b"".join(gzip.compress(record, mtime=0) if packed else record for record in records)


def wat_record(html: Mapping[str, object], headers: Mapping[str, str] | None = None, **changes: str) -> bytes:
    """A WAT record as Common Crawl writes it, around the `HTML-Metadata` of a page."""
    response = {"Headers": dict(headers or {}), "HTML-Metadata": dict(html)}
    envelope = {"Payload-Metadata": {"HTTP-Response-Metadata": response}, "Format": "WARC/1.0"}
    content = json.dumps({"Container": {"Compressed": True}, "Envelope": envelope}).encode()
    fields = {"WARC_Type": "metadata", "Content_Type": "application/json"}
    return warc_record(content, **(fields | changes))


def arc_file(records: Iterable[tuple[str, bytes]], packed: bool = False) -> bytes:
    """ARC version 1; packed, each record is a gzip member."""
    head = b"1 0 test\nURL IP-address Archive-date Content-type Archive-length\n\n"
    blocks = [b"filedesc://test.arc 0.0.0.0 20240101000000 text/plain %d\n" % len(head) + head]
    for url, content in records:
        blocks.append(f"{url} 192.0.2.1 20240101000000 text/html {len(content)}\n".encode() + content + b"\n")
    return b"".join(gzip.compress(block, mtime=0) if packed else block for block in blocks)


def _lines(fields: Mapping[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items())
