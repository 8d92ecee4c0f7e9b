"""robots.txt by RFC 9309: asked once per origin, parsed by Protego, remembered for a day.

None there (4xx) allows everything; one that cannot be had (5xx, no connection) allows nothing for now.
"""

from dataclasses import dataclass

from protego import Protego

from curation.crawl.origins import Load, OriginFiles, OriginMemory
from curation.crawl.request import Answer, Fetched
from curation.crawl.reservations import Patterns
from curation.crawl.urls import origin_of
from curation.drops import Dropped, DropReason

__all__ = ["MAX_ROBOTS_BYTES", "RobotsKeeper", "RobotsMemory", "Rules"]

MAX_ROBOTS_BYTES = 512 * 1024
"""Longest robots.txt that is read; the RFC asks for at least 500 KiB."""


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


class RobotsMemory(OriginMemory[Rules]):
    """What is remembered of origins.

    Attributes:
        reservations: the same for what they reserve in their tdmrep.json.
    """

    def __init__(self, size: int = 20_000) -> None:
        super().__init__(size)
        self.reservations: OriginMemory[Patterns] = OriginMemory(size)


# Answers that mean that there is none; of redirects, the RFC asks to follow five.
_NONE_THERE = frozenset(
    {DropReason.HTTP_CLIENT_ERROR, DropReason.EMPTY_BODY, DropReason.NOT_AN_IMAGE, DropReason.TOO_MANY_REDIRECTS}
)


class RobotsKeeper:
    """What robots.txt files allow, for one loop.

    Args:
        load: fetches a robots.txt.
        agent: the user agent; its first word up to a slash is the name that rules are looked up by.
    """

    def __init__(self, load: Load, agent: str, memory: RobotsMemory) -> None:
        self.files = OriginFiles(load, "/robots.txt", _parse, memory)
        self._agent = agent.partition("/")[0].partition(" ")[0]
        self._delays: dict[str, float] = {}

    async def refusal(self, url: str) -> Dropped | None:
        """Why a URL may not be asked for, or None."""
        origin = origin_of(url)
        rules = await self.files.of(origin)
        if origin not in self._delays:
            self._delays[origin] = rules.crawl_delay(self._agent)
        return rules.refuses(url, self._agent)

    def crawl_delay(self, url: str) -> float:
        """The delay that a URL's origin, as far as its rules are known, asks for."""
        return self._delays.get(origin_of(url), 0.0)


def _parse(answer: Answer) -> tuple[Rules, bool]:
    """The rules, which are worth remembering where they could be had."""
    outcome = answer.outcome
    if isinstance(outcome, Fetched):
        text = outcome.body.decode("utf-8", "replace").removeprefix("\ufeff")
        return Rules(Protego.parse(text)), True
    if outcome.reason in _NONE_THERE:
        return Rules(), True
    if outcome.reason == DropReason.PRIVATE_ADDRESS and answer.url.endswith("/robots.txt"):
        return Rules(refusal=outcome), False
    reason = outcome.reason if outcome.reason.transient else DropReason.ROBOTS_DISALLOWED
    return Rules(refusal=Dropped(reason, f"robots.txt: {outcome.detail or outcome.reason.meaning}")), False
