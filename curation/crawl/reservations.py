"""`/.well-known/tdmrep.json`: what an origin reserves from text and data mining (TDM Reservation Protocol of the W3C
community group), asked once per origin and remembered for a day, as robots.txt is.

The file is a list of rules, each a pattern of paths and whether what it matches is reserved. A path is reserved if any
rule that matches it says so: where rules contradict each other, the cautious reading holds. None there, none that can
be read, and none that can be had reserve nothing: the header and the meta tag still count, see `optout.py`.
"""

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from curation.crawl.request import Answer, Fetched
from curation.crawl.urls import origin_of
from curation.drops import Dropped, DropReason

__all__ = ["MAX_TDMREP_BYTES", "ReservationKeeper", "ReservationMemory", "reserved_paths"]

WHERE = "/.well-known/tdmrep.json"
MAX_TDMREP_BYTES = 64 * 1024
"""Longest file that is read; a rule takes about a hundred bytes."""
MAX_RULES = 200
MAX_PATTERN = 500
"""Rules that are kept of one file, and characters of a pattern: what the 20,000 origins remembered can take."""
DAY = 24 * 3600.0

Load = Callable[[str], Awaitable[Answer]]
Patterns = tuple[str, ...]


class ReservationMemory:
    """What the origins last met reserve. One process, any number of loops."""

    def __init__(self, size: int = 20_000) -> None:
        self._size = size
        self._patterns: OrderedDict[str, tuple[float, Patterns]] = OrderedDict()

    def get(self, origin: str) -> Patterns | None:
        known = self._patterns.get(origin)
        return None if known is None or known[0] < time.monotonic() else known[1]

    def put(self, origin: str, patterns: Patterns) -> None:
        self._patterns[origin] = (time.monotonic() + DAY, patterns)
        while len(self._patterns) > self._size:
            self._patterns.popitem(last=False)


class ReservationKeeper:
    """Answers for one loop, asking each origin once, however many requests wait for the answer.

    Args:
        load: fetches a file by its URL.
    """

    def __init__(self, load: Load, memory: ReservationMemory) -> None:
        self._load = load
        self._memory = memory
        self._known: dict[str, Patterns] = {}
        self._asking: dict[str, asyncio.Task[Patterns]] = {}

    async def refusal(self, url: str) -> Dropped | None:
        """Whether a canonical URL is reserved."""
        origin = origin_of(url)
        patterns = self._known.get(origin)
        if patterns is None:
            patterns = await self._ask(origin)
        if not patterns:
            return None
        path = url[len(origin) :].partition("?")[0]
        match = next((pattern for pattern in patterns if _matches(pattern, path)), None)
        return None if match is None else Dropped(DropReason.OPTED_OUT, f"tdmrep.json: {match}")

    async def close(self) -> None:
        """Stop asking."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def _ask(self, origin: str) -> Patterns:
        task = self._asking.get(origin)
        if task is None:
            task = self._asking[origin] = asyncio.create_task(self._learn(origin))
        return await asyncio.shield(task)

    async def _learn(self, origin: str) -> Patterns:
        patterns = self._memory.get(origin)
        if patterns is None:
            outcome = (await self._load(f"{origin}{WHERE}")).outcome
            patterns = reserved_paths(outcome.body) if isinstance(outcome, Fetched) else ()
            if isinstance(outcome, Fetched) or not outcome.reason.transient:
                self._memory.put(origin, patterns)
        self._known[origin] = patterns
        self._asking.pop(origin, None)
        return patterns


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
