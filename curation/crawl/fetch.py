"""URLs to bytes, many at once: an event loop in a thread of its own, and a generator that hands out what it gets.

fetch_all    the calling thread: takes outcomes from the queue
_Crawl       the loop's thread: starts requests as hosts, and the consumer, can take more
hosts.py     whose turn it is            robots.py    what a host allows
request.py   one URL, hop by hop         body.py      bytes within limits
resolve.py   names to checked addresses
"""

import asyncio
import contextlib
import functools
import queue
import threading
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

import aiohttp
import uvloop

from curation.config import CrawlConfig
from curation.crawl.addresses import literal_address
from curation.crawl.hosts import Schedule
from curation.crawl.request import Fetched, Requester
from curation.crawl.reservations import MAX_TDMREP_BYTES, ReservationKeeper
from curation.crawl.resolve import GuardedResolver, guarded_socket, parse_targets
from curation.crawl.robots import MAX_ROBOTS_BYTES, RobotsKeeper, RobotsMemory
from curation.crawl.rules import UrlRules
from curation.crawl.urls import canonical_url, host_of, origin_of
from curation.drops import Dropped, DropReason
from curation.errors import ConfigError

__all__ = ["Fetched", "fetch_all"]

Outcome = Fetched | Dropped

HEADERS = {"Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
MAX_HEADERS = 256
KEEP_ALIVE_SECONDS = 5.0
MAX_WAITING_BYTES = 256 * 1024 * 1024
"""Bodies that wait for the consumer, in all; no request is started while there are more."""


def fetch_all(
    urls: Sequence[str], settings: CrawlConfig, memory: RobotsMemory | None = None
) -> Iterator[tuple[int, Outcome]]:
    """Fetch every URL, and yield (index, outcome) exactly once for each, as they complete.

    At most twice `settings.concurrency` bodies are in memory: a slow consumer slows the requests down. Closing the
    generator ends all requests at once.

    Args:
        memory: what is known of robots.txt and tdmrep.json files from earlier calls; one for all calls of a worker
            saves asking again.

    Raises:
        ConfigError: the user agent names no contact although a URL leads beyond loopback, or a setting is malformed.
    """
    return _Crawl(urls, settings, memory if memory is not None else RobotsMemory()).outcomes()


class _Crawl:
    """One call of `fetch_all`."""

    def __init__(self, urls: Sequence[str], settings: CrawlConfig, memory: RobotsMemory) -> None:
        self._settings = settings
        self._memory = memory
        self._targets = parse_targets(settings.connect_to)
        self._urls = [canonical_url(url) for url in urls]
        self._rules = UrlRules(settings)
        self._anonymous = not ("@" in settings.user_agent or "://" in settings.user_agent)
        self._require_contact()
        self._out: queue.SimpleQueue[list[tuple[int, Outcome]] | BaseException] = queue.SimpleQueue()
        self._batch: list[tuple[int, Outcome]] = []
        # What was made and what was taken, each counted by one thread only.
        self._made = self._taken = self._made_bytes = self._taken_bytes = 0
        self._running: set[asyncio.Task[None]] = set()
        self._stalled = False
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None

    # In the consumer's thread.

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        if not self._urls:
            return
        thread = threading.Thread(target=self._run, name="lvd-fetch", daemon=True)
        thread.start()
        try:
            while self._taken < len(self._urls):
                batch = self._out.get()
                if isinstance(batch, BaseException):
                    raise batch
                for index, outcome in batch:
                    self._taken += 1
                    if isinstance(outcome, Fetched):
                        self._taken_bytes += len(outcome.body)
                    if self._stalled:
                        self._wake_soon()
                    yield index, outcome
        finally:
            self._stopping = True
            self._wake_soon()
            thread.join()

    def _wake_soon(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._look)

    def _require_contact(self) -> None:
        if not self._anonymous:
            return
        agent = self._settings.user_agent
        for origin in dict.fromkeys(origin_of(url) for url in self._urls if url is not None):
            if not self._is_own(origin):
                raise ConfigError(
                    f"crawl.user_agent: {agent!r} names no contact, and {host_of(origin)} is somebody's server; add an "
                    "address or a page, as in 'my-crawl/1.0 (+https://example.org/crawl)'"
                )

    def _is_own(self, origin: str) -> bool:
        """Whether an origin is on this machine."""
        host = host_of(origin)
        target = self._targets.get(host) or self._targets.get(origin.partition("://")[2])
        address = target[0] if target is not None else literal_address(host)
        return host == "localhost" or (address is not None and ip_address(address).is_loopback)

    # In the loop's thread.

    def _run(self) -> None:
        try:
            with (
                contextlib.suppress(asyncio.CancelledError),
                asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
            ):
                runner.run(self._crawl())
        except BaseException as error:
            self._out.put(error)

    async def _crawl(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._main = asyncio.current_task()
        if self._stopping:
            return
        settings = self._settings
        connector = aiohttp.TCPConnector(
            limit=0,
            resolver=GuardedResolver(self._targets, settings.allow_private_addresses),
            ttl_dns_cache=settings.dns_cache_seconds,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            socket_factory=functools.partial(guarded_socket, settings.allow_private_addresses),
        )
        async with aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": settings.user_agent, **HEADERS},
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_line_size=settings.max_header_bytes,
            max_field_size=settings.max_header_bytes,
            max_headers=MAX_HEADERS,
        ) as session:
            await self._fetch_with(session)

    async def _fetch_with(self, session: aiohttp.ClientSession) -> None:
        settings = self._settings
        plain = settings.model_copy(update={"max_bytes": MAX_ROBOTS_BYTES, "respect_opt_outs": False})
        small = plain.model_copy(update={"max_bytes": MAX_TDMREP_BYTES})
        reservations = ReservationKeeper(Requester(session, small).get, self._memory.reservations)
        self._reservations = reservations if settings.respect_opt_outs else None
        keeper = RobotsKeeper(Requester(session, plain).get, settings.user_agent, self._memory)
        self._keeper = keeper if settings.respect_robots else None
        self._requester = Requester(session, settings, self._judge)
        loop = asyncio.get_running_loop()
        indices = [index for index, url in enumerate(self._urls) if url is not None]
        for index, url in enumerate(self._urls):
            if url is None:
                self._emit(index, Dropped(DropReason.INVALID_URL))
        # Of a keeper that is never asked, no delay is known.
        urls = [url or "" for url in self._urls]
        self._schedule = Schedule(urls, indices, settings, keeper.crawl_delay, loop.time())
        try:
            await self._dispatch(loop)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            await keeper.files.close()
            await reservations.files.close()

    async def _dispatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start requests as long as there are any, as fast as hosts, settings and consumer allow."""
        self._changed = asyncio.Event()
        while self._schedule.waiting or self._running:
            self._changed.clear()
            self._hand_over()
            while len(self._running) < self._settings.concurrency and self._has_room():
                index = self._schedule.take(loop.time())
                if index is None:
                    break
                task = loop.create_task(self._one(index))
                self._running.add(task)
                task.add_done_callback(self._ended)
            self._stalled = True
            self._stalled = not self._has_room()
            due = None if self._stalled else self._schedule.next_time()
            if due is not None and len(self._running) < self._settings.concurrency:
                timer = loop.call_at(due, self._changed.set)
                await self._changed.wait()
                timer.cancel()
            else:
                await self._changed.wait()
        self._hand_over()

    async def _one(self, index: int) -> None:
        url = self._urls[index]
        assert url is not None
        answer = await self._requester.get(url, self._schedule.has_more(index))
        now = asyncio.get_running_loop().time()
        for which, final in self._schedule.done(index, answer, now):
            self._emit(which, final.outcome)

    async def _judge(self, url: str) -> Dropped | None:
        if self._anonymous and not self._is_own(origin_of(url)):
            return Dropped(DropReason.BLOCKED_URL, "crawl.user_agent names no contact")
        if refusal := self._rules.refuse_canonical(url):
            return refusal
        if self._keeper is not None and (refusal := await self._keeper.refusal(url)):
            return refusal
        return await self._reservations.refusal(url) if self._reservations is not None else None

    def _emit(self, index: int, outcome: Outcome) -> None:
        self._made += 1
        if isinstance(outcome, Fetched):
            self._made_bytes += len(outcome.body)
        self._batch.append((index, outcome))

    def _hand_over(self) -> None:
        """Give the consumer all that came since the last time: one wake-up of its thread for many outcomes."""
        if self._batch:
            self._out.put(self._batch)
            self._batch = []

    def _has_room(self) -> bool:
        if self._made_bytes - self._taken_bytes > MAX_WAITING_BYTES:
            return False
        return len(self._running) + self._made - self._taken < 2 * self._settings.concurrency

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._out.put(error)

    def _look(self) -> None:
        """Something changed in the consumer's thread."""
        if self._stopping and self._main is not None:
            self._main.cancel()
        else:
            self._changed.set()
