"""What pages and servers say about being used: robots directives and the TDM reservation.

`noai` and `noimageai` refuse use for AI; `noindex`, `noimageindex` and `none` refuse indexing, which a dataset is a
form of; `tdm-reservation: 1` reserves text and data mining (the TDM Reservation Protocol of the W3C).
"""

from collections.abc import Iterable

__all__ = ["opt_out", "opt_out_of_page"]

REFUSALS = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
# Directives that take a value after a colon, so that a colon does not always follow the name of a robot.
WITH_VALUE = frozenset({"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"})
OUR_NAME = "lvd"


def opt_out(robots: Iterable[str], tdm_reservation: str | None) -> str:
    """The directive that reserves a page or file, or an empty string.

    Args:
        robots: values of `X-Robots-Tag` headers or of `<meta name=robots>`; a directive meant for another robot only
            (`otherbot: noindex`) is not for us.
        tdm_reservation: value of the header or meta tag `tdm-reservation`.
    """
    for value in robots:
        addressed = True
        for item in value.lower().split(","):
            name, colon, rest = (part.strip() for part in item.partition(":"))
            if colon and name not in WITH_VALUE:
                addressed, name = name == OUR_NAME, rest
            if addressed and name in REFUSALS:
                return name
    if tdm_reservation is not None and tdm_reservation.strip() == "1":
        return "tdm-reservation"
    return ""


def opt_out_of_page(metas: Iterable[tuple[str, str]], headers: Iterable[tuple[str, str]]) -> str:
    """`opt_out` of a page by its `<meta>` tags and the headers that came with it, as (name, content)."""
    metas, headers = ([(name.strip().lower(), content) for name, content in pairs] for pairs in (metas, headers))
    robots = [content for name, content in metas if name in ("robots", OUR_NAME)]
    robots += [content for name, content in headers if name == "x-robots-tag"]
    reservations = [content for name, content in metas + headers if name == "tdm-reservation"]
    return opt_out(robots, reservations[-1] if reservations else None)
