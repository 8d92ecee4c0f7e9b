"""Renders pages: HTML that holds everything it shows, asks for nothing and runs no script.

Names, captions, URLs and labels come from strangers. Everything that a template is given is escaped; characters that do
not print, or that turn the direction of writing, are shown as their codes.
"""

import base64
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from curation.imaging.decode import Header, identify

__all__ = ["Figure", "render"]


@dataclass(frozen=True, slots=True)
class Figure:
    """An image of a page, with what is said of it.

    Attributes:
        jpeg: the picture; None where the image can no longer be read.
        name: the image's name or id, shown beneath the picture.
        caption: what is said of the image, shown before its name.
        verdict: "kept" or "removed" for a frame that says so; "" for none.
        outlines: polygons over the picture; their points are shares of its sides, as in "0,0 1,0 1,1".
        missing: what stands in place of a picture that is None.
    """

    jpeg: bytes | None
    name: str
    caption: str = ""
    verdict: str = ""
    outlines: tuple[str, ...] = ()
    missing: str = "(no longer stored)"

    @property
    def uri(self) -> str:
        """The picture as an address that holds it."""
        assert self.jpeg is not None, "a template asks first"
        return f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode()}"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        assert self.jpeg is not None, "a template asks first"
        header = identify(self.jpeg)
        assert isinstance(header, Header), "made by this program"
        return header.width, header.height


def render(template: str, **values: Any) -> str:
    """A page made of a template of this package.

    Args:
        template: its file name, such as "balance.html".
        values: what it shows. Strings are text, never markup.

    Raises:
        jinja2.UndefinedError: the template asks for a value that is not given.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("curation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"thousands": "{:,}".format, "lines": _lines}
    return environment


def _printable(value: object) -> object:
    """Text with the codes of characters that do not print; other values, and markup of templates, as they are."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in value)


def _lines(text: str) -> Markup:
    """Text of several lines, for `<pre>`."""
    return Markup("\n").join(escape(_printable(line)) for line in text.split("\n"))
