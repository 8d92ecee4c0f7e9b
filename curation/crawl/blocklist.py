"""Domains that are not asked: hosts files, plain lists and Adblock filters, told apart line by line."""

import functools
import gzip
import re
from collections.abc import Iterable

import fsspec

from curation.crawl.addresses import literal_address
from curation.crawl.urls import canonical_url, host_of
from curation.errors import DatasetError, cause_of

__all__ = ["Blocklist", "parse_line", "read_blocklists"]

_DOMAIN = re.compile(r"^(?:[a-z0-9_-]{1,63}\.)+[a-z0-9-]{2,63}\.?$")
_OPTIONS_FOR_IMAGES = frozenset({"all", "document", "doc", "image", "important", "third-party", "3p", "popup"})
# What needs no closer look: the form that nearly all lines have already.
_PLAIN = re.compile(r"^(?:[a-z0-9_-]{1,63}\.)+[a-z]{2,63}$")
# Names that hosts files give to the machine itself.
_OWN_NAMES = frozenset({"localhost", "localhost.localdomain", "broadcasthost", "local"})


class Blocklist:
    """A set of domains; each stands for itself and everything under it."""

    def __init__(self, blocked: Iterable[str] = (), allowed: Iterable[str] = ()) -> None:
        self._blocked = frozenset(blocked)
        self._allowed = frozenset(allowed)

    def __len__(self) -> int:
        return len(self._blocked)

    def match(self, host: str) -> str | None:
        """The blocked domain that a host is or lies under; None if there is none, or an exception is closer."""
        name = host.rstrip(".")
        while name:
            if name in self._allowed:
                return None
            if name in self._blocked:
                return name
            name = name.partition(".")[2]
        return None


@functools.lru_cache(maxsize=4)
def read_blocklists(paths: tuple[str, ...]) -> Blocklist:
    """Join the lists in several files; kept in memory, as every part of a run asks for the same.

    Raises:
        DatasetError: a file cannot be read, or holds no domain at all.
    """
    domains: dict[bool, set[str]] = {False: set(), True: set()}
    for path in paths:
        result = [(domain, exception) for domain, exception in map(parse_line, _lines(path)) if domain]
        if not result:
            raise DatasetError(
                f"{path}: holds no domain; give a hosts file, a list of domains, or Adblock ||domain^ lines"
            )
        for domain, exception in result:
            domains[exception].add(domain)
    return Blocklist(domains[False], domains[True])


def parse_line(line: str) -> tuple[str, bool]:
    """(domain, whether it is an exception) of one line; the domain is empty where the line blocks no whole domain.

    Adblock filters on paths, elements or other pages, and those with options that do not reach images, are not ours.
    """
    text = line.strip()
    if not text or text[0] in "#![/" or "##" in text or "#@#" in text or "#?#" in text:
        return "", False
    exception = text.startswith("@@")
    text = text.removeprefix("@@")
    if text.startswith("||"):
        pattern, _, options = text[2:].partition("$")
        if not pattern.endswith("^") or not _reaches_images(options):
            return "", False
        return _domain(pattern.removesuffix("^").removeprefix("*.")), exception
    if exception:
        return "", False
    words = text.partition("#")[0].split()
    if len(words) >= 2 and literal_address(words[0]) is not None:
        return _domain(words[1]), False
    return (_domain(words[0].removeprefix("*.").removeprefix(".")), False) if len(words) == 1 else ("", False)


def _reaches_images(options: str) -> bool:
    return not options or all(option.strip().lower() in _OPTIONS_FOR_IMAGES for option in options.split(","))


def _domain(text: str) -> str:
    """The ASCII form of a domain name; empty if the text is none."""
    if _PLAIN.match(text):
        return "" if text in _OWN_NAMES else text
    url = canonical_url(f"http://{text}/")
    if url is None or not text or any(mark in text for mark in "/?#@:"):
        return ""
    host = host_of(url).rstrip(".")
    if host in _OWN_NAMES or literal_address(host) is not None or not _DOMAIN.match(host):
        return ""
    return host


def _lines(path: str) -> Iterable[str]:
    try:
        with fsspec.open(path, "rb") as stream:
            content: bytes = stream.read()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except Exception as error:  # every fsspec backend has its own kinds
        reason = cause_of(error)
        raise DatasetError(f"{path}: the blocklist cannot be read ({reason}); check crawl.blocklists") from error
    return content.decode("utf-8", "replace").splitlines()
