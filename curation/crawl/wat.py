"""The pictures of a page as Common Crawl's WAT metadata lists them.

A WAT file is several times smaller than its WARC file, and lists less: for `<img>` only `src`, `alt` and `title`, never
`srcset`, lazy-loading attributes or `<picture>`. On pages without those it gives the same URLs as the WARC.
"""

import json

from curation.crawl.optout import opt_out_of_page
from curation.crawl.page import Page, Picture, is_placeholder, one_line
from curation.formats.warc.content import Record

__all__ = ["is_wat", "read_wat"]

_IMAGE = b'"IMG@/src"'


def is_wat(content_type: str) -> bool:
    return content_type.startswith("application/json")


def read_wat(record: Record) -> Page | None:
    """The page that a WAT record describes; None if it describes none (a request, a header), or no picture of it.

    Raises:
        ValueError: the record is no JSON, or not of the shape that WAT has.
    """
    if _IMAGE not in record.content:
        return None
    try:
        message = json.loads(record.content)["Envelope"]["Payload-Metadata"]["HTTP-Response-Metadata"]
        html = message["HTML-Metadata"]
        head = html.get("Head", {})
        tags = [meta for meta in head.get("Metas", []) if isinstance(meta, dict)]
        metas = [(str(tag.get("name", "")), str(tag.get("content", ""))) for tag in tags]
        headers = [(name, str(value)) for name, value in message.get("Headers", {}).items()]
        pictures = [
            Picture(link["url"], one_line(link.get("alt") or ""))
            for link in html.get("Links", [])
            if link.get("path") == "IMG@/src" and isinstance(link.get("url"), str) and not is_placeholder(link["url"])
        ]
        return Page(head.get("Base"), pictures, opt_out_of_page(metas, headers))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not the shape of a WAT record ({type(error).__name__}: {error})") from error
