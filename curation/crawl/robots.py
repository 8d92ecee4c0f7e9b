"""robots.txt by RFC 9309: asked once per origin, parsed by Protego, remembered for a day.

None there (4xx) allows everything; one that cannot be had (5xx, no connection) allows nothing for now.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from protego import Protego

from curation.crawl.request import Answer, Fetched
from curation.crawl.reservations import ReservationMemory
from curation.crawl.urls import origin_of
from curation.drops import Dropped, DropReason

__all__ = ["MAX_ROBOTS_BYTES", "RobotsKeeper", "RobotsMemory", "Rules"]

MAX_ROBOTS_BYTES = 512 * 1024
"""Longest robots.txt that is read; the RFC asks for at least 500 KiB."""
DAY = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What an origin's robots.txt says."""

    parsed: Protego | None = None
    """None: no rules."""
    refusal: Dropped | None = None
    """Set when it could not be had: then nothing may be asked for."""

    def refuses(self, url: str, agent: str) -> Dropped | None:
        if self.parsed is None:
            return self.refusal
        return None if self.parsed.can_fetch(url, agent) else Dropped(DropReason.ROBOTS_DISALLOWED)

    def crawl_delay(self, agent: str) -> float:
        """Seconds between two requests that the origin asks for; 0 if it does not say."""
        delay = self.parsed.crawl_delay(agent) if self.parsed is not None else None
        return max(0.0, float(delay or 0.0))


class RobotsMemory:
    """Rules of the origins last met, so that the next part need not ask again. One process, any number of loops.

    Attributes:
        reservations: the same for what they reserve in their tdmrep.json.
    """

    def __init__(self, size: int = 20_000) -> None:
        self._size = size
        self._rules: OrderedDict[str, tuple[float, Rules]] = OrderedDict()
        self.reservations = ReservationMemory(size)

    def get(self, origin: str) -> Rules | None:
        known = self._rules.get(origin)
        if known is None or known[0] < time.monotonic():
            return None
        return known[1]

    def put(self, origin: str, rules: Rules) -> None:
        """Remember for a day; rules that could not be had, not at all."""
        if rules.refusal is not None:
            return
        self._rules[origin] = (time.monotonic() + DAY, rules)
        while len(self._rules) > self._size:
            self._rules.popitem(last=False)


Load = Callable[[str], Awaitable[Answer]]
"""Fetch a robots.txt by its URL."""

# Answers that mean that there is none; of redirects, the RFC asks to follow five.
_NONE_THERE = frozenset(
    {DropReason.HTTP_CLIENT_ERROR, DropReason.EMPTY_BODY, DropReason.NOT_AN_IMAGE, DropReason.TOO_MANY_REDIRECTS}
)


class RobotsKeeper:
    """Answers for one loop, asking each origin once, however many requests wait for the answer.

    Args:
        load: fetches a robots.txt.
        agent: the user agent; its first word up to a slash is the name that rules are looked up by.
    """

    def __init__(self, load: Load, agent: str, memory: RobotsMemory) -> None:
        self._load = load
        self._agent = agent.partition("/")[0].partition(" ")[0]
        self._memory = memory
        self._known: dict[str, Rules] = {}
        self._delays: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[Rules]] = {}

    async def refusal(self, url: str) -> Dropped | None:
        """Why a URL may not be asked for, or None."""
        origin = origin_of(url)
        rules = self._known.get(origin)
        if rules is None:
            rules = await self._ask(origin)
        if rules.parsed is None and rules.refusal is None:
            return None
        return rules.refuses(url, self._agent)

    def crawl_delay(self, url: str) -> float:
        """The delay that a URL's origin, as far as its rules are known, asks for."""
        return self._delays.get(origin_of(url), 0.0) if self._delays else 0.0

    async def close(self) -> None:
        """Stop asking."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def _ask(self, origin: str) -> Rules:
        task = self._asking.get(origin)
        if task is None:
            task = self._asking[origin] = asyncio.create_task(self._learn(origin))
        return await asyncio.shield(task)

    async def _learn(self, origin: str) -> Rules:
        rules = self._memory.get(origin)
        if rules is None:
            rules = _parse(await self._load(f"{origin}/robots.txt"))
            self._memory.put(origin, rules)
        self._known[origin] = rules
        if delay := rules.crawl_delay(self._agent):
            self._delays[origin] = delay
        self._asking.pop(origin, None)
        return rules


def _parse(answer: Answer) -> Rules:
    outcome = answer.outcome
    if isinstance(outcome, Fetched):
        text = outcome.body.decode("utf-8", "replace").removeprefix("\ufeff")
        return Rules(Protego.parse(text))
    if outcome.reason in _NONE_THERE:
        return Rules()
    if outcome.reason == DropReason.PRIVATE_ADDRESS and answer.url.endswith("/robots.txt"):
        return Rules(refusal=outcome)
    reason = outcome.reason if outcome.reason.transient else DropReason.ROBOTS_DISALLOWED
    return Rules(refusal=Dropped(reason, f"robots.txt: {outcome.detail or outcome.reason.meaning}"))
