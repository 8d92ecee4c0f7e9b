"""Every image URL of a crawl file."""

from collections.abc import Iterator
from dataclasses import dataclass

from curation.crawl.archived import is_whole_picture, may_be_picture
from curation.crawl.optout import opt_out_of_page
from curation.crawl.page import Page, decode_html, read_page
from curation.crawl.urls import canonical_url
from curation.crawl.wat import is_wat, read_wat
from curation.formats.warc.content import Record, Tally
from curation.formats.warc.records import read_records

__all__ = ["Link", "canonical_url", "read_links"]


@dataclass(frozen=True, slots=True)
class Link:
    """One picture as a page shows it."""

    url: str
    """Canonical: see `canonical_url`."""
    page_url: str
    alt: str
    """The alternative text on one line, empty if there is none."""
    opted_out: str = ""
    """The directive by which the page, or its server, reserves its pictures; empty if none does."""


def read_links(path: str, tally: Tally | None = None, held: dict[str, int] | None = None) -> Iterator[Link]:
    """Every image URL of one WARC, ARC or WAT file, in file order, duplicates included.

    Args:
        path: a local path, or any URL that fsspec opens; plain or compressed.
        held: where to note the pictures that the file itself holds: canonical URL -> position of its first record.
        tally: where to count `records`, `pages`, `links`, `invalid` (no http or https URL) and `broken` records.

    Raises:
        DatasetError: the file cannot be opened or read, or is no crawl file.
    """
    tally = Tally() if tally is None else tally
    for record in read_records(path, lambda kind: _wanted(kind) or (held is not None and may_be_picture(kind)), tally):
        if not _wanted(record.content_type):
            if held is not None and is_whole_picture(record):
                held.setdefault(canonical_url(record.url) or "", record.position)
            continue
        page = _page(record, tally)
        if page is not None:
            tally["pages"] += 1
            yield from _links(record, page, tally)


def _wanted(content_type: str) -> bool:
    return is_wat(content_type) or content_type.startswith(("text/html", "application/xhtml+xml"))


def _page(record: Record, tally: Tally) -> Page | None:
    if not is_wat(record.content_type):
        return read_page(decode_html(record.content, record.content_type))
    try:
        return read_wat(record)
    except ValueError:
        tally["broken"] += 1
        return None


def _links(record: Record, page: Page, tally: Tally) -> Iterator[Link]:
    page_url = canonical_url(record.url)
    base = (page.base and canonical_url(page.base, page_url)) or page_url
    opted_out = page.opted_out or opt_out_of_page((), record.headers.items())
    for picture in page.pictures:
        url = canonical_url(picture.src, base)
        if url is None:
            tally["invalid"] += 1
            continue
        tally["links"] += 1
        yield Link(url, page_url or record.url, picture.alt, opted_out)
