"""One URL to its bytes: redirects followed by hand, every hop checked, every limit kept."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp import ClientSession
from yarl import URL

from curation.config import CrawlConfig
from curation.crawl.addresses import PrivateAddressError, is_public, literal_address
from curation.crawl.body import Pace, read_body
from curation.crawl.optout import opt_out
from curation.crawl.urls import canonical_url, host_of
from curation.drops import Dropped, DropReason
from curation.errors import cause_of

__all__ = ["Answer", "Fetched", "Judge", "Requester"]

logger = logging.getLogger(__name__)

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LAST = {"Connection": "close"}
_SMALL = 16 * 1024
"""Bytes of an answer that is not wanted, up to which it is read all the same, so that its connection can be kept."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The bytes behind a URL."""

    body: bytes = field(repr=False)
    final_url: str
    """After redirects."""
    status: int
    seconds: float
    """From the first request to the last byte, redirects included."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a URL, and what its host should be treated like from now on."""

    outcome: Fetched | Dropped
    url: str
    """The last URL that was asked for."""
    retry_after: float | None = None
    """Seconds after which the host asked to be tried again."""
    asked: bool = True
    """False when the first URL was refused before any request."""


Judge = Callable[[str], Awaitable[Dropped | None]]
"""Whether a URL may be requested at all: rules and robots.txt."""


class Requester:
    """Makes requests over one session.

    Args:
        judge: asked about each URL before its request, redirects included.
    """

    def __init__(self, session: ClientSession, settings: CrawlConfig, judge: Judge | None = None) -> None:
        self._session = session
        self._settings = settings
        self._judge = judge

    async def get(self, url: str, keep: bool = True) -> Answer:
        """Request a canonical URL; whatever happens on the way is an answer, never an exception.

        Args:
            keep: leave the connection open for the next request. In a crawl most hosts are asked for one picture, and
                idle connections would use up all file descriptors.
        """
        settings = self._settings
        asked = [url]
        try:
            if refusal := await self._refusal(url):
                return Answer(refusal, url, asked=False)
            start = time.monotonic()  # finer than the loop's clock
            end = asyncio.get_running_loop().time() + settings.timeout_seconds
            async with asyncio.timeout_at(end) as limit:
                pace = Pace(limit, end, settings.min_bytes_per_second, settings.rate_grace_seconds)
                try:
                    answer = await self._follow(asked, pace, start, None if keep else _LAST)
                except aiohttp.ClientError as error:
                    answer = Answer(_explain(error), asked[-1])
                except Exception as error:  # no answer of one server may end the work on all others
                    logger.debug("%s: %r", asked[-1], error, exc_info=True)
                    answer = Answer(Dropped(DropReason.CONNECTION_FAILED, cause_of(error)), asked[-1])
            return answer
        except TimeoutError:
            seconds = time.monotonic() - start
            return Answer(Dropped(pace.verdict(), f"after {seconds:.1f} s"), asked[-1])

    async def _follow(self, asked: list[str], pace: Pace, start: float, headers: dict[str, str] | None) -> Answer:
        """Go from hop to hop; `asked` gathers the URLs."""
        while True:
            url = asked[-1]
            async with self._session.get(URL(url, encoded=True), allow_redirects=False, headers=headers) as response:
                if response.status not in _REDIRECTS:
                    return await self._judged(response, url, pace, start)
                location = response.headers.get("Location")
                await _drain(response)
            if location is None:
                return Answer(Dropped(DropReason.BAD_RESPONSE, f"{response.status} without a Location"), url)
            target = canonical_url(location, url)
            if target is None:
                return Answer(Dropped(DropReason.INVALID_URL, f"redirect to {location[:200]}"), url)
            if len(asked) > self._settings.max_redirects:
                return Answer(Dropped(DropReason.TOO_MANY_REDIRECTS, f"{len(asked)}, the last to {target}"), url)
            asked.append(target)
            if refusal := await self._refusal(target):
                return Answer(Dropped(refusal.reason, f"redirect to {target}: {refusal.detail}"), target)

    async def _refusal(self, url: str) -> Dropped | None:
        host = host_of(url)
        address = literal_address(host)
        if address is not None and not self._settings.allow_private_addresses and not is_public(address):
            return Dropped(DropReason.PRIVATE_ADDRESS, address)
        return await self._judge(url) if self._judge is not None else None

    async def _judged(self, response: aiohttp.ClientResponse, url: str, pace: Pace, start: float) -> Answer:
        """The verdict on an answer that is no redirect."""
        status = response.status
        if status not in (200, 203):
            reason = _status_reason(status)
            retry_after = _seconds_to_wait(response.headers.get("Retry-After")) if status in (429, 503) else None
            await _drain(response)
            return Answer(Dropped(reason, str(status)), url, retry_after)
        if self._settings.respect_opt_outs:
            robots = response.headers.getall("X-Robots-Tag", [])
            if said := opt_out(robots, response.headers.get("TDM-Reservation")):
                return Answer(Dropped(DropReason.OPTED_OUT, said), url)
        body = await read_body(response, self._settings, pace)
        if isinstance(body, Dropped):
            response.close()
            return Answer(body, url)
        return Answer(Fetched(body, url, status, time.monotonic() - start), url)


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read a short answer out, so that its connection serves the next request; cut a long one off."""
    length = response.content_length
    if length is not None and length <= _SMALL:
        await response.read()
    elif not response.content.is_eof():
        response.close()


def _status_reason(status: int) -> DropReason:
    if status == 429:
        return DropReason.RATE_LIMITED
    if status in (408, 425) or status >= 500:
        return DropReason.HTTP_SERVER_ERROR
    if status >= 400:
        return DropReason.HTTP_CLIENT_ERROR
    return DropReason.EMPTY_BODY if status in (204, 205) else DropReason.BAD_RESPONSE


def _seconds_to_wait(retry_after: str | None) -> float | None:
    """A `Retry-After` header, in seconds or as a date, as seconds from now."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _explain(error: aiohttp.ClientError) -> Dropped:
    """The drop that a client error amounts to."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PrivateAddressError):
            return Dropped(DropReason.PRIVATE_ADDRESS, str(cause))
        cause = getattr(cause, "os_error", None) or cause.__cause__
    if isinstance(error, aiohttp.InvalidURL):
        return Dropped(DropReason.INVALID_URL, cause_of(error))
    if isinstance(error, aiohttp.ClientPayloadError):
        cause = error.__cause__
        cut_short = cause is None or "Not enough data" in str(cause) or isinstance(cause, OSError)
        reason = DropReason.CONNECTION_FAILED if cut_short else DropReason.BAD_RESPONSE
        return Dropped(reason, cause_of(error))
    if isinstance(error, aiohttp.ClientResponseError):
        return Dropped(DropReason.BAD_RESPONSE, cause_of(error))
    return Dropped(DropReason.CONNECTION_FAILED, cause_of(error))
