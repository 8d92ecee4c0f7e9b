"""URLs that are not asked for, by what they say: blocklists, keywords, file types, private addresses."""

import re

from curation.config import CrawlConfig
from curation.crawl.addresses import is_public, literal_address
from curation.crawl.blocklist import Blocklist, read_blocklists
from curation.crawl.urls import canonical_url, host_of
from curation.drops import Dropped, DropReason

__all__ = ["UrlRules"]

_ENDING = re.compile(r"\.([a-z0-9]{1,5})$")


class UrlRules:
    """The settings' rules; blocklist files are read at the first question."""

    def __init__(self, settings: CrawlConfig) -> None:
        self._files = settings.blocklists
        self._blocklist: Blocklist | None = None if settings.blocklists else Blocklist()
        self._types = frozenset(kind.lower().removeprefix(".") for kind in settings.blocked_types)
        words = "|".join(re.escape(word.lower()) for word in settings.blocked_keywords if word)
        self._keywords = re.compile(rf"(?<![a-z0-9])(?:{words})(?![a-z0-9])") if words else None
        self._allow_private = settings.allow_private_addresses

    def refuse(self, url: str) -> Dropped | None:
        """Why a URL, canonical or as found, is not asked for; None if it may be.

        Raises:
            DatasetError: a blocklist cannot be read.
        """
        canonical = canonical_url(url)
        return self.refuse_canonical(canonical) if canonical is not None else Dropped(DropReason.INVALID_URL)

    def refuse_canonical(self, url: str) -> Dropped | None:
        """The same, for a URL that is known to be canonical."""
        host = host_of(url)
        address = literal_address(host)
        if address is not None and not self._allow_private and not is_public(address):
            return Dropped(DropReason.PRIVATE_ADDRESS, address)
        if self._blocklist is None:
            self._blocklist = read_blocklists(tuple(self._files))
        if (rule := self._blocklist.match(host)) is not None:
            return Dropped(DropReason.BLOCKED_URL, f"blocklist: {rule}")
        lowered = url.lower()
        ending = _ENDING.search(lowered.partition("?")[0])
        if ending is not None and ending[1] in self._types and "/" in lowered.partition("://")[2][: ending.start()]:
            return Dropped(DropReason.BLOCKED_URL, f"file type: {ending[1]}")
        if self._keywords is not None and (word := self._keywords.search(lowered)):
            return Dropped(DropReason.BLOCKED_URL, f"keyword: {word[0]}")
        return None
