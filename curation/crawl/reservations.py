"""`/.well-known/tdmrep.json`: what an origin reserves from text and data mining (TDM Reservation Protocol of the W3C
community group), asked once per origin and remembered for a day, as robots.txt is.

The file is a list of rules, each a pattern of paths and whether what it matches is reserved. A path is reserved if any
rule that matches it says so: where rules contradict each other, the cautious reading holds. None there, none that can
be read, and none that can be had reserve nothing: the header and the meta tag still count, see `optout.py`.
"""

import json

from curation.crawl.origins import Load, OriginFiles, OriginMemory
from curation.crawl.request import Answer, Fetched
from curation.crawl.urls import origin_of
from curation.drops import Dropped, DropReason

__all__ = ["MAX_TDMREP_BYTES", "Patterns", "ReservationKeeper", "reserved_paths"]

WHERE = "/.well-known/tdmrep.json"
MAX_TDMREP_BYTES = 64 * 1024
"""Longest file that is read; a rule takes about a hundred bytes."""
MAX_RULES = 200
MAX_PATTERN = 500
"""Rules that are kept of one file, and characters of a pattern: what the 20,000 origins remembered can take."""

Patterns = tuple[str, ...]


class ReservationKeeper:
    """What origins reserve, for one loop.

    Args:
        load: fetches a file by its URL.
    """

    def __init__(self, load: Load, memory: OriginMemory[Patterns]) -> None:
        self.files = OriginFiles(load, WHERE, _parse, memory)

    async def refusal(self, url: str) -> Dropped | None:
        """Whether a canonical URL is reserved."""
        origin = origin_of(url)
        patterns = await self.files.of(origin)
        path = url[len(origin) :].partition("?")[0]
        match = next((pattern for pattern in patterns if _matches(pattern, path)), None)
        return None if match is None else Dropped(DropReason.OPTED_OUT, f"tdmrep.json: {match}")


def _parse(answer: Answer) -> tuple[Patterns, bool]:
    """The patterns, which are worth remembering unless the file may come next time."""
    outcome = answer.outcome
    if isinstance(outcome, Fetched):
        return reserved_paths(outcome.body), True
    return (), not outcome.reason.transient


def reserved_paths(body: bytes) -> Patterns:
    """The patterns of paths that a tdmrep.json reserves: `*` stands for anything, `$` for the end of the path."""
    try:
        rules = json.loads(body)
    except (ValueError, RecursionError):
        return ()
    if not isinstance(rules, list):
        return ()
    result = []
    for rule in rules[:MAX_RULES]:
        if isinstance(rule, dict) and rule.get("tdm-reservation") in (1, "1", True):
            pattern = rule.get("location")
            if isinstance(pattern, str) and len(pattern) <= MAX_PATTERN:
                result.append(pattern if pattern.startswith(("/", "*")) else f"/{pattern}")
    return tuple(result)


def _matches(pattern: str, path: str) -> bool:
    """Whether a path begins as a pattern says. Each piece between stars is sought where it first occurs, which finds a
    match if there is one, in time proportional to both lengths."""
    anchored = pattern.endswith("$")
    first, *rest = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    at = len(first)
    if not rest:
        return not anchored or at == len(path)
    *middle, last = rest
    for piece in middle:
        at = path.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return len(path) - len(last) >= at and path.endswith(last) if anchored else path.find(last, at) >= 0
