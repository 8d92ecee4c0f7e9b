"""HTML pages that show pictures in the many ways in which real pages write them."""

import html
import posixpath
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import numpy as np

from pipelines.demo.warc import Page

__all__ = ["write_page"]

PLACEHOLDER = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
TRAPS = """<!-- <img src="http://cdn.example/never/comment.jpg"> -->
<script>document.write('<img src="http://cdn.example/never/script.jpg">');</script>
<a href="http://cdn.example/never/link.jpg">a link, no picture</a>
"""

Tag = Callable[[str, str], str]


def write_page(url: str, pictures: Sequence[tuple[str, str]], rng: np.random.Generator) -> Page:
    """A page at `url` that shows pictures, each a URL with a text about it.

    A third of the pages name a `<base href>`; one in eight is in windows-1252. The URLs in comments, scripts and
    links are not pictures, and no run should ever list them.
    """
    base = _base(pictures, rng)
    shorten = _under(base) if base else _from_page(url)
    lines = [TAGS[rng.integers(len(TAGS))](shorten(link, rng), text) for link, text in pictures]
    charset = "windows-1252" if rng.random() < 1 / 8 else "utf-8"
    head = f'<base href="{html.escape(base)}">' if base else ""
    title = html.escape(f"Pictures of the day — café No. {urlsplit(url).path.strip('/')}")
    body = "\n".join(f"<p>{line}</p>" for line in lines)
    text = f"<!doctype html>\n<html><head>{head}<title>{title}</title></head>\n<body>\n{TRAPS}{body}\n"
    return Page(url, text, charset)


def _quoted(link: str, text: str) -> str:
    return f'<img src="{html.escape(link)}" alt="{html.escape(text)}">'


def _old_style(link: str, text: str) -> str:
    return f"<IMG BORDER=0 SRC='{html.escape(link)}'\n  ALT='{html.escape(text)}' />"


def _spaced(link: str, text: str) -> str:
    return f'<img alt="{html.escape(text)}" src="\n   {html.escape(link)}#top\t">'


def _entities(link: str, text: str) -> str:
    return f'<img src="{html.escape(link).replace("/", "&#47;").replace("-", "&#x2d;")}" title="{html.escape(text)}">'


def _lazy(link: str, text: str) -> str:
    return f'<img class="lazy" src="{PLACEHOLDER}" data-src="{html.escape(link)}" alt="{html.escape(text)}">'


def _responsive(link: str, text: str) -> str:
    small, large = html.escape(_thumbnail(link)), html.escape(link)
    return f'<img src="{small}" srcset="{small} 320w, {large} 1280w" sizes="50vw" alt="{html.escape(text)}">'


def _dense(link: str, text: str) -> str:
    return f'<img srcset="{html.escape(_thumbnail(link))}, {html.escape(link)} 2x" alt="{html.escape(text)}">'


def _linked(link: str, text: str) -> str:
    return f'<a href="/more.html"><figure><img src="{html.escape(link)}"><figcaption>{text}</figcaption></figure></a>'


TAGS: tuple[Tag, ...] = (_quoted, _quoted, _old_style, _spaced, _entities, _lazy, _responsive, _dense, _linked)


def _thumbnail(link: str) -> str:
    """A smaller offer of the same picture, which a crawler that takes the largest never asks for."""
    return f"{link}{'&' if '?' in link else '?'}thumbnail=320"


def _base(pictures: Sequence[tuple[str, str]], rng: np.random.Generator) -> str | None:
    """The folder of one of the pictures, for a third of the pages."""
    if rng.random() >= 1 / 3:
        return None
    link, _ = pictures[int(rng.integers(len(pictures)))]
    return link[: link.partition("?")[0].rindex("/") + 1]


def _under(base: str) -> Callable[[str, np.random.Generator], str]:
    def shorten(link: str, rng: np.random.Generator) -> str:
        return link[len(base) :] if link.startswith(base) else _absolute(link, rng)

    return shorten


def _from_page(page: str) -> Callable[[str, np.random.Generator], str]:
    """Links as a page writes them: from its own folder or host where it can, else with or without the scheme."""
    here = urlsplit(page)

    def shorten(link: str, rng: np.random.Generator) -> str:
        there = urlsplit(link)
        if there.netloc != here.netloc:
            return _absolute(link, rng)
        path = there.path if rng.random() < 0.5 else posixpath.relpath(there.path, posixpath.dirname(here.path))
        return f"{path}?{there.query}" if there.query else path

    return shorten


def _absolute(link: str, rng: np.random.Generator) -> str:
    choice = rng.integers(4)
    if choice == 0:
        return link.removeprefix("http:")
    if choice == 1:
        parts = urlsplit(link)
        port = "" if parts.port else ":80"
        return link.replace(f"http://{parts.netloc}", f"HTTP://{parts.netloc.upper()}{port}", 1)
    return link
