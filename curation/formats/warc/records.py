"""Crawl files as a stream of records, whichever container holds them: WARC by FastWARC, ARC by `arc.py`.

Damage is local: a record that cannot be read is counted and skipped, and reading goes on at the next one.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, cast

import fsspec
from fastwarc.warc import ArchiveIterator, WarcRecord, metadata, resource, response

from curation.errors import DatasetError, cause_of
from curation.formats.warc.arc import is_arc, read_arc, read_arc_at
from curation.formats.warc.content import (
    MAX_CONTENT,
    MAX_HEADER,
    ContentFilter,
    Record,
    Tally,
    decode_content,
    joined_headers,
)
from curation.formats.warc.stream import Source, SourceError, plain_head

__all__ = ["read_records", "read_records_at"]

_MARK = b"WARC/1."
_GZIP = b"\x1f\x8b\x08"
_ZSTD = b"\x28\xb5\x2f\xfd"
_LZ4 = b"\x04\x22\x4d\x18"


def read_records(path: str, wanted: ContentFilter, tally: Tally | None = None) -> Iterator[Record]:
    """Responses, resources and metadata of one WARC or ARC file whose content type is wanted, in file order.

    Args:
        path: a local path, or any URL that fsspec opens; plain, gzip, or (WARC only) zstd or lz4.
        tally: where to count `records` read and `broken` ones skipped.

    Raises:
        DatasetError: the file cannot be opened or read, or is no WARC or ARC file.
    """
    tally = Tally() if tally is None else tally
    with _opened(path) as source:
        if _holds_arc(path, source):
            yield from read_arc(source, wanted, tally)
        else:
            yield from _read_warc(source, wanted, tally)


def read_records_at(path: str, positions: Sequence[int], wanted: ContentFilter) -> Iterator[Record]:
    """The records at positions that `read_records` gave, in ascending order; those that are not there are left out.

    A WARC file is read there and nowhere else; an ARC file up to the last of them.

    Raises:
        DatasetError: the file cannot be opened or read, or is no WARC or ARC file.
    """
    with _opened(path) as source:
        if _holds_arc(path, source):
            yield from read_arc_at(source, positions, wanted)
        else:
            for position in positions:
                if (record := _warc_record_at(source, position, wanted)) is not None:
                    yield record


def _holds_arc(path: str, source: Source) -> bool:
    head = plain_head(source.peek(4096))
    if not is_arc(head) and not head.startswith(_MARK[:5]) and not source.peek(4).startswith((_ZSTD, _LZ4)):
        raise DatasetError(f"{path}: is no WARC, ARC or WAT file; name a crawl file, plain or compressed")
    return is_arc(head)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Source]:
    try:
        opened = fsspec.open(path, "rb").open()
    except Exception as error:  # every fsspec backend has its own kinds
        reason = cause_of(error)
        raise DatasetError(f"{path}: cannot be opened ({reason}); check the path") from error
    with opened:
        try:
            yield Source(opened)
        except SourceError as error:
            raise DatasetError(f"{path}: reading failed ({error}); check the file and try again") from error


def _read_warc(source: Source, wanted: ContentFilter, tally: Tally) -> Iterator[Record]:
    """All records; after one that FastWARC refuses, on from the next that starts like one."""
    start: int | None = 0
    while start is not None:
        source.seek(start)
        position = start
        try:
            for record in _parsed(source):
                position = record.stream_pos
                tally["records"] += 1
                if result := _take(record, wanted):
                    yield result
                    if _swallows_another(result):
                        raise OSError("a record's length reaches into the next")
            return
        except BaseException as error:
            if not _is_damage(error, source):
                raise
            tally["broken"] += 1
            start = _next_start(source, position + 1)


def _warc_record_at(source: Source, position: int, wanted: ContentFilter) -> Record | None:
    source.seek(position)
    try:
        record = next(iter(_parsed(source)), None)
        return _take(record, wanted) if record is not None and record.stream_pos == position else None
    except BaseException as error:
        if not _is_damage(error, source):
            raise
        return None


def _parsed(source: Source) -> ArchiveIterator:
    options: dict[str, Any] = {"record_types": response | resource | metadata, "max_header_len": MAX_HEADER}
    return ArchiveIterator(cast("BinaryIO", source), parse_http=True, quirks_mode=True, **options)


def _is_damage(error: BaseException, source: Source) -> bool:
    """Whether an error speaks of the file's content; a panic of the parser's Rust code is damage like any other."""
    if source.failure is not None:
        raise source.failure from error
    return isinstance(error, (OSError, ValueError)) or type(error).__name__ == "PanicException"


def _take(record: WarcRecord, wanted: ContentFilter) -> Record | None:
    """The record's content, if it is wanted and can be read."""
    status = 200
    if record.is_http_parsed:
        content_type = record.http_headers.get("content-type") or ""
        status = record.http_headers.status_code or 0
    else:
        content_type = record.headers.get("Content-Type") or ""
    content_type = content_type.strip().lower()
    if not wanted(content_type):
        return None
    url = (record.headers.get("WARC-Target-URI") or "").strip().removeprefix("<").removesuffix(">")
    headers = joined_headers(record.http_headers.to_tuples()) if record.is_http_parsed else {}
    stored = record.reader.read(MAX_CONTENT)
    cut = len(stored) == MAX_CONTENT or "WARC-Truncated" in record.headers
    return Record(url, content_type, headers, decode_content(stored, headers), status, cut, record.stream_pos)


def _swallows_another(record: Record) -> bool:
    return b"\r\n\r\nWARC/1." in record.content


def _next_start(source: Source, after: int) -> int | None:
    """Offset of the next record or compressed member at or past `after`; None at the end, or if it cannot be sought."""
    if not source.seekable():
        return None
    source.seek(0)
    marks = (_GZIP, _ZSTD, _LZ4) if not source.peek(8).startswith(_MARK[:5]) else (_MARK,)
    return source.find(marks, after)
