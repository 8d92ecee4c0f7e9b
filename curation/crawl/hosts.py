"""Whose turn it is: URLs by host, so that no host is asked too often and none holds up the others.

A pure data structure: time comes in as an argument, and nothing here waits or talks to a network.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from curation.config import CrawlConfig
from curation.crawl.request import Answer
from curation.crawl.urls import host_of
from curation.drops import Dropped, DropReason

__all__ = ["Schedule"]

BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 16.0

# Failures that speak of the host rather than of one URL.
_HOST_FAILURES = frozenset(
    {
        DropReason.CONNECTION_FAILED,
        DropReason.TIMEOUT,
        DropReason.TOO_SLOW,
        DropReason.HTTP_SERVER_ERROR,
        DropReason.RATE_LIMITED,
    }
)


@dataclass(slots=True)
class _Host:
    name: str
    waiting: deque[int] = field(default_factory=deque)
    active: int = 0
    connections: int = 1
    """Requests it may have under way: one until it has answered, then as many as the settings allow."""
    last_start: float = 0.0
    next_start: float = 0.0
    listed: bool = False
    failures: int = 0
    """In a row, up to now."""


class Schedule:
    """Hands out the indices of URLs, each when its host may be asked again.

    Args:
        indices: which of the URLs are to be fetched.
        crawl_delay: seconds between requests that a URL's host asks for, as far as known.
        now: the time that budgets start at; any clock, in seconds, as long as it is the same in every call.
    """

    def __init__(
        self,
        urls: Sequence[str],
        indices: Iterable[int],
        settings: CrawlConfig,
        crawl_delay: Callable[[str], float],
        now: float,
    ) -> None:
        self._urls = urls
        self._settings = settings
        self._crawl_delay = crawl_delay
        self._end = now + settings.host_budget_seconds
        hosts: dict[str, _Host] = {}
        self._of: dict[int, _Host] = {}
        self._attempts: dict[int, int] = {}
        self._turns: list[tuple[float, int, _Host]] = []
        self._count = 0
        self.waiting = 0
        """URLs not handed out."""
        for index in indices:
            name = host_of(urls[index])
            host = hosts.setdefault(name, _Host(name, next_start=now))
            host.waiting.append(index)
            self.waiting += 1
        # Hosts with most URLs take longest, and so come first.
        self._fresh = deque(sorted(hosts.values(), key=lambda host: -len(host.waiting)))

    def take(self, now: float) -> int | None:
        """The next index whose host may be asked now; None if there is none at this moment."""
        host = self._due(now)
        if host is None:
            return None
        index = host.waiting.popleft()
        self.waiting -= 1
        self._of[index] = host
        host.active += 1
        host.last_start = now
        host.next_start = now + self._delay(index)
        self._list(host)
        return index

    def has_more(self, index: int) -> bool:
        """Whether more URLs of the host of one that was handed out wait for their turn."""
        return bool(self._of[index].waiting)

    def next_time(self) -> float | None:
        """When `take` may give something again, as far as no answer comes before; None if that needs an answer."""
        return self._turns[0][0] if self._turns else None

    def done(self, index: int, answer: Answer, now: float) -> list[tuple[int, Answer]]:
        """Note an answer; returns all (index, answer) that are final by it.

        That is the answer itself, unless the URL is tried again later, and those of the URLs of a host given up.
        """
        host = self._of.pop(index)
        host.active -= 1
        final = [(index, answer)]
        reason = answer.outcome.reason if isinstance(answer.outcome, Dropped) else None
        # The first request is under way before robots.txt, and with it the crawl delay, is known.
        host.next_start = max(host.next_start, host.last_start + self._delay(index))
        if not answer.asked:
            pass  # nothing was learned of the host
        elif reason not in _HOST_FAILURES or host_of(answer.url) != host.name:
            host.failures = 0
            host.connections = self._settings.host_connections
        else:
            host.failures += 1
            wait = self._pause(host, answer)
            host.next_start = max(host.next_start, now + wait)
            if wait > self._settings.max_wait_seconds:
                final += self._give_up(host, DropReason.RATE_LIMITED, f"asks to wait {wait:.0f} s")
            elif host.failures >= self._settings.host_failures:
                why = f"{host.failures} failures in a row, the last: {reason}"
                final += self._give_up(host, DropReason.HOST_GIVEN_UP, why)
            elif self._try_again(index, answer):
                host.waiting.appendleft(index)
                self.waiting += 1
                final = []
        saturated = host.next_start > now or host.active + 1 >= host.connections
        if host.waiting and max(host.next_start, now) > self._end and saturated:
            why = f"its turns take longer than {self._settings.host_budget_seconds:g} s"
            final += self._give_up(host, DropReason.RATE_LIMITED, why)
        self._list(host)
        return final

    def _due(self, now: float) -> _Host | None:
        """Take the host whose turn it is off the list; turns put off since they were entered are entered again.

        Hosts that were asked before go first, while their connections are open.
        """
        while self._turns and self._turns[0][0] <= now:
            _, _, host = heapq.heappop(self._turns)
            host.listed = False
            if host.next_start <= now and host.waiting and host.active < host.connections:
                return host
            self._list(host)
        return self._fresh.popleft() if self._fresh else None

    def _list(self, host: _Host) -> None:
        """Enter a host's next turn, if it has one and has not been entered."""
        if host.waiting and not host.listed and host.active < host.connections:
            host.listed = True
            self._count += 1
            heapq.heappush(self._turns, (host.next_start, self._count, host))

    def _delay(self, index: int) -> float:
        return max(self._settings.host_delay_seconds, self._crawl_delay(self._urls[index]))

    def _pause(self, host: _Host, answer: Answer) -> float:
        """Seconds to leave a failing host alone."""
        if answer.retry_after is not None:
            host.connections = 1
            return answer.retry_after
        doublings = host.failures - 2
        if isinstance(answer.outcome, Dropped) and answer.outcome.reason == DropReason.RATE_LIMITED:
            host.connections = 1
            doublings += 2
        return min(BACKOFF_SECONDS * 2.0**doublings, MAX_BACKOFF_SECONDS) if doublings >= 0 else 0.0

    def _try_again(self, index: int, answer: Answer) -> bool:
        outcome = answer.outcome
        limited = isinstance(outcome, Dropped) and outcome.reason == DropReason.RATE_LIMITED
        if not (limited or answer.retry_after is not None):
            return False
        self._attempts[index] = self._attempts.get(index, 1) + 1
        return self._attempts[index] <= self._settings.attempts

    def _give_up(self, host: _Host, reason: DropReason, why: str) -> list[tuple[int, Answer]]:
        given_up = [(index, Answer(Dropped(reason, why), self._urls[index])) for index in host.waiting]
        self.waiting -= len(given_up)
        host.waiting.clear()
        return given_up
