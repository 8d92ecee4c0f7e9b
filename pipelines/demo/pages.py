"""HTML pages that show pictures in the many ways in which real pages write them."""

import html
import posixpath
from collections.abc import Sequence
from urllib.parse import urlsplit

import numpy as np

from pipelines.demo.warc import Page

__all__ = ["write_page"]

PLACEHOLDER = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
TRAPS = """<!-- <img src="http://cdn.example/never/comment.jpg"> -->
<script>document.write('<img src="http://cdn.example/never/script.jpg">');</script>
<a href="http://cdn.example/never/link.jpg">a link, no picture</a>
"""


def write_page(url: str, pictures: Sequence[tuple[str, str]], rng: np.random.Generator) -> Page:
    """A page at `url` that shows pictures, each a URL with a text about it.

    A third of the pages name a `<base href>`; one in eight is in windows-1252. The URLs in comments, scripts and
    links are not pictures, and no run should ever list them.
    """
    base = _base(pictures, rng)
    lines = [_shown(TAGS[rng.integers(len(TAGS))], _shortened(link, url, base, rng), text) for link, text in pictures]
    charset = "windows-1252" if rng.random() < 1 / 8 else "utf-8"
    head = f'<base href="{html.escape(base)}">' if base else ""
    title = html.escape(f"Pictures of the day — café No. {urlsplit(url).path.strip('/')}")
    body = "\n".join(f"<p>{line}</p>" for line in lines)
    text = f"<!doctype html>\n<html><head>{head}<title>{title}</title></head>\n<body>\n{TRAPS}{body}\n"
    return Page(url, text, charset)


TAGS = (
    *2 * ('<img src="{link}" alt="{text}">',),
    "<IMG BORDER=0 SRC='{link}'\n  ALT='{text}' />",
    '<img alt="{text}" src="\n   {link}#top\t">',
    '<img src="{entities}" title="{text}">',
    f'<img class="lazy" src="{PLACEHOLDER}" data-src="{{link}}" alt="{{text}}">',
    '<img src="{small}" srcset="{small} 320w, {link} 1280w" sizes="50vw" alt="{text}">',
    '<img srcset="{small}, {link} 2x" alt="{text}">',
    '<a href="/more.html"><figure><img src="{link}"><figcaption>{caption}</figcaption></figure></a>',
)
"""How pages show a picture, each as often as another; the plain tag twice as often."""


def _shown(tag: str, link: str, text: str) -> str:
    escaped = html.escape(link)
    entities = escaped.replace("/", "&#47;").replace("-", "&#x2d;")
    small = html.escape(_thumbnail(link))
    return tag.format(link=escaped, small=small, entities=entities, text=html.escape(text), caption=text)


def _thumbnail(link: str) -> str:
    """A smaller offer of the same picture, which a crawler that takes the largest never asks for."""
    return f"{link}{'&' if '?' in link else '?'}thumbnail=320"


def _base(pictures: Sequence[tuple[str, str]], rng: np.random.Generator) -> str | None:
    """The folder of one of the pictures, for a third of the pages."""
    if rng.random() >= 1 / 3:
        return None
    link, _ = pictures[int(rng.integers(len(pictures)))]
    return link[: link.partition("?")[0].rindex("/") + 1]


def _shortened(link: str, page: str, base: str | None, rng: np.random.Generator) -> str:
    """A link as a page writes it: from its base, folder or host where it can, else with or without the scheme."""
    here, there = urlsplit(page), urlsplit(link)
    if base is not None:
        return link[len(base) :] if link.startswith(base) else _absolute(link, rng)
    if there.netloc != here.netloc:
        return _absolute(link, rng)
    path = there.path if rng.random() < 0.5 else posixpath.relpath(there.path, posixpath.dirname(here.path))
    return f"{path}?{there.query}" if there.query else path


def _absolute(link: str, rng: np.random.Generator) -> str:
    choice = rng.integers(4)
    if choice == 0:
        return link.removeprefix("http:")
    if choice == 1:
        parts = urlsplit(link)
        port = "" if parts.port else ":80"
        return link.replace(f"http://{parts.netloc}", f"HTTP://{parts.netloc.upper()}{port}", 1)
    return link
