"""The pictures of one HTML page: an HTML5 parser finds the tags, this module chooses a URL for each picture.

A picture that is offered in several sizes or places (`srcset`, `<picture>`, a lazy-loading attribute beside a
placeholder) is one picture, and gives one URL: the largest.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter

from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5
from selectolax.lexbor import LexborHTMLParser, LexborNode

from curation.crawl.optout import opt_out_of_page

__all__ = ["Page", "Picture", "decode_html", "is_placeholder", "largest_candidate", "one_line", "read_page"]

LAZY_SRCSET = ("data-srcset", "data-lazy-srcset")
LAZY_SRC = (
    "data-src",
    "data-original",
    "data-lazy-src",
    "data-lazy",
    "data-original-src",
    "data-actualsrc",
    "data-hi-res-src",
    "data-full-src",
)
MAX_ALT = 1000

_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([^\s\"';,]+)", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\n\f\r]+")
_URL = re.compile(r"[\s,]*(\S+)")


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a page: its URL as written, and its alternative text."""

    src: str
    alt: str


@dataclass(frozen=True, slots=True)
class Page:
    """What one page shows and says."""

    base: str | None
    """`<base href>` as written."""
    pictures: list[Picture]
    opted_out: str
    """The `<meta>` directive that reserves the page, or an empty string."""


def read_page(html: str) -> Page:
    """Parse a page; any text gives a page, if only an empty one."""
    tree = LexborHTMLParser(html)
    pictures = []
    for image in tree.tags("img"):
        attributes = image.attributes
        if src := _best_source(image, attributes):
            pictures.append(Picture(src, one_line(attributes.get("alt") or "")))
    bases = (base.attributes.get("href") for base in tree.tags("base"))
    tags = (meta.attributes for meta in tree.tags("meta"))
    metas = [(tag.get("name") or "", tag.get("content") or "") for tag in tags]
    return Page(next(filter(None, bases), None), pictures, opt_out_of_page(metas, ()))


def decode_html(body: bytes, content_type: str) -> str:
    """Text of a page: by its byte order mark, the charset of its header, that of its `<meta>`, or by its bytes."""
    declared = _CHARSET.search(content_type)
    encoding = map_encoding_to_html5(declared[1], fallback_utf8=False) if declared else None
    if body[:3] == b"\xef\xbb\xbf":
        encoding = "utf-8"
    elif body[:2] in (b"\xfe\xff", b"\xff\xfe"):
        encoding = "utf-16"
    if encoding is None:
        encoding = detect_encoding(body, from_html_meta=True) or "utf-8"
    try:
        return body.decode(encoding)
    except (LookupError, UnicodeDecodeError):
        return bytes_to_str(body, encoding, errors="replace")


def largest_candidate(srcset: str) -> tuple[str, float]:
    """URL and size of a `srcset`'s largest candidate; the URL is empty when there is none.

    Widths (`800w`) are in pixels; densities (`2x`) and plain URLs count as so many times one pixel, which puts them
    behind any width.
    """
    return _largest((url, _declared_size(text)) for url, text in _candidates(srcset) if not is_placeholder(url))


def _largest(offers: Iterable[tuple[str, float]]) -> tuple[str, float]:
    """The first of the largest (URL, size), whose size must be above 0."""
    return max((offer for offer in offers if offer[1] > 0), key=itemgetter(1), default=("", 0.0))


def _candidates(srcset: str) -> Iterator[tuple[str, str]]:
    """(URL, descriptor) of each candidate; a URL ends before a space, and may hold commas but not end in one."""
    position = 0
    while match := _URL.match(srcset, position):
        url, position = match[1], match.end()
        descriptor = ""
        if not url.endswith(","):
            comma = srcset.find(",", position)
            end = comma if comma >= 0 else len(srcset)
            descriptor, position = srcset[position:end].strip(), end
        yield url.rstrip(","), descriptor


def _declared_size(descriptor: str) -> float:
    """`800w` is 800, `2x` is 2, none is 1; one that cannot be read counts, but behind all that can."""
    if not descriptor:
        return 1.0
    word = descriptor.split()[0]
    if word[-1] in "wx":
        try:
            return float(word[:-1])
        except ValueError:
            pass
    return 0.5


def _best_source(img: LexborNode, attributes: dict[str, str | None]) -> str:
    """The largest of all that the tag, and the `<picture>` around it, offer; '' when all are placeholders."""
    offers, parent = _offers(attributes), img.parent
    if parent is not None and parent.tag == "picture":
        offers += (offer for source in _sources(parent) for offer in _srcsets(source))
    return _largest(offers)[0]


def _offers(attributes: dict[str, str | None]) -> list[tuple[str, float]]:
    """An `<img>`'s own (URL, size), in order of trust: a lazy attribute beats the `src` that holds its place."""
    lazy = [(url, 1.0) for name in LAZY_SRC if (url := attributes.get(name)) and not is_placeholder(url)]
    src = attributes.get("src")
    return lazy + _srcsets(attributes) + ([(src, 1.0)] if src and not is_placeholder(src) else [])


def _srcsets(attributes: dict[str, str | None]) -> list[tuple[str, float]]:
    names = ("srcset", *LAZY_SRCSET)
    return [largest_candidate(value) for name in names if (value := attributes.get(name))]


def _sources(picture: LexborNode) -> Iterator[dict[str, str | None]]:
    child = picture.first_child
    while child is not None:
        if child.tag == "source":
            attributes = child.attributes
            if (attributes.get("type") or "").strip().lower() != "image/svg+xml":
                yield attributes
        child = child.next


def is_placeholder(url: str) -> bool:
    """Nothing to request: blank, a fragment of the page, inline data, or a template that a script would fill in."""
    text = url.strip().lower()
    return not text or text.startswith(("#", "data:", "javascript:", "about:", "blob:")) or "{{" in text or "${" in text


def one_line(text: str) -> str:
    return _SPACE.sub(" ", text).strip()[:MAX_ALT]
