"""The one form of a URL that is stored, compared and requested.

Parsing follows the WHATWG URL standard, as browsers do, by the `ada` library: pages are written for browsers, and a
host such as `0x7f.1` or `2130706433` is only seen as 127.0.0.1 by a parser that reads it as they do.
"""

from ada_url import join_url, normalize_url

__all__ = ["canonical_url", "host_of", "origin_of"]

MAX_LENGTH = 4096
"""Characters; servers and caches refuse longer request lines, and no picture needs one."""


def canonical_url(url: str, base: str | None = None) -> str | None:
    """The absolute form that a browser would request: resolved against `base`, host in lower-case ASCII, default port
    and dot segments gone, unsafe characters percent-encoded as UTF-8, no fragment.

    None when that is no http or https URL, has no host, carries a user name or password, or is over 4,096 characters.
    """
    if len(url) > MAX_LENGTH:
        return None
    try:
        absolute = join_url(base, url) if base is not None else normalize_url(url)
    except ValueError:  # also lone surrogates
        return None
    if not absolute.startswith(("http://", "https://")):
        return None
    absolute = absolute.partition("#")[0]
    if "@" in absolute and "@" in _authority(absolute):
        return None
    return absolute if len(absolute) <= MAX_LENGTH else None


def host_of(url: str) -> str:
    """Host of a canonical URL, without port; IPv6 addresses without brackets."""
    authority = _authority(url)
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]


def origin_of(url: str) -> str:
    """Scheme, host and port of a canonical URL, as in `https://example.org:8080`."""
    scheme, _, _ = url.partition("://")
    return f"{scheme}://{_authority(url)}"


def _authority(url: str) -> str:
    # A canonical URL always has a path, and its authority ends where that begins.
    return url[url.index("://") + 3 :].partition("/")[0]
