"""Hosts are asked no faster, no oftener and no longer than they bear."""

import asyncio
import time

from curation.crawl.fetch import Fetched, fetch_all
from curation.drops import Dropped, DropReason

from .conftest import Request, Web, answer, settings

HOST = "pics.test"
CLOCK = 0.002  # an event loop counts whole milliseconds


def urls(count: int, host: str = HOST) -> list[str]:
    return [f"http://{host}/{number}.jpg" for number in range(count)]


def reasons(outcomes: dict[int, Fetched | Dropped]) -> list[DropReason | None]:
    return [out.reason if isinstance(out, Dropped) else None for _, out in sorted(outcomes.items())]


def test_no_more_connections_to_a_host_than_allowed(web: Web) -> None:
    now = most = asked = 0

    async def count(request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most, asked
        now, most, asked = now + 1, max(most, now + 1), asked + 1
        # After the first answer, by which the host shows that it lives, each waits until three have been there at once.
        while asked > 1 and most < 3:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)  # for a fourth to come
        now -= 1
        await answer()(request, writer)

    for number in range(30):
        web.on(f"{HOST}/{number}.jpg", count)
    outcomes = dict(fetch_all(urls(30), settings(web, HOST, host_connections=3)))
    assert reasons(outcomes) == [None] * 30
    assert most == 3


def test_requests_to_a_host_start_apart(web: Web) -> None:
    starts: list[float] = []

    async def note(request: Request, writer: asyncio.StreamWriter) -> None:
        starts.append(time.monotonic())
        await answer()(request, writer)

    for number in range(5):
        web.on(f"{HOST}/{number}.jpg", note)
    begin = time.monotonic()  # not the first arrival: a busy machine may bring that late, and the next in time
    list(fetch_all(urls(5), settings(web, HOST, host_delay_seconds=0.1)))
    assert [start - begin >= 0.1 * number - CLOCK for number, start in enumerate(starts)] == [True] * 5


def test_a_slow_host_does_not_hold_up_the_others(web: Web) -> None:
    order: list[int] = []

    async def slow(request: Request, writer: asyncio.StreamWriter) -> None:
        while len(order) < 4:  # however long that takes
            await asyncio.sleep(0.005)
        await answer()(request, writer)

    for number in range(4):
        web.on(f"slow.test/{number}.jpg", slow)
        web.on(f"{HOST}/{number}.jpg", answer())
    asked = urls(4, "slow.test") + urls(4)
    config = settings(web, HOST, "slow.test", concurrency=2, host_connections=1, timeout_seconds=30.0)
    order.extend(index for index, _ in fetch_all(asked, config))
    assert order[:4] == [4, 5, 6, 7]
    assert sorted(order[4:]) == [0, 1, 2, 3]


def test_a_url_is_asked_for_again_after_the_wait_that_the_host_asked_for(web: Web) -> None:
    times: list[float] = []

    async def limited(request: Request, writer: asyncio.StreamWriter) -> None:
        times.append(time.monotonic())
        first = len(times) == 1
        await (answer(b"", "429 Too Many Requests", {"Retry-After": "1"}) if first else answer())(request, writer)

    web.on(f"{HOST}/0.jpg", limited)
    [(_, outcome)] = fetch_all(urls(1), settings(web, HOST))
    assert isinstance(outcome, Fetched)
    assert times[1] - times[0] >= 1 - CLOCK


def test_a_host_that_asks_for_a_long_wait_is_left_alone(web: Web) -> None:
    busy = answer(b"", "503 Service Unavailable", {"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"})
    for number in range(20):
        web.on(f"{HOST}/{number}.jpg", busy)
    outcomes = dict(fetch_all(urls(20), settings(web, HOST)))
    assert reasons(outcomes) == [DropReason.HTTP_SERVER_ERROR] + [DropReason.RATE_LIMITED] * 19
    assert len(web.paths(HOST)) == 1


def test_a_host_that_only_fails_is_given_up(web: Web) -> None:
    for number in range(30):
        web.on(f"{HOST}/{number}.jpg", answer(b"", "500 Internal Server Error"))
    outcomes = dict(fetch_all(urls(30), settings(web, HOST, host_failures=3, host_connections=1)))
    assert reasons(outcomes) == [DropReason.HTTP_SERVER_ERROR] * 3 + [DropReason.HOST_GIVEN_UP] * 27
    assert len(web.paths(HOST)) == 3


def test_opt_outs_may_be_disregarded_only_when_told_so(web: Web) -> None:
    web.on(f"{HOST}/0.jpg", answer(headers={"X-Robots-Tag": "noai"}))
    [(_, kept)] = fetch_all(urls(1), settings(web, HOST))
    [(_, taken)] = fetch_all(urls(1), settings(web, HOST, respect_opt_outs=False))
    assert kept == Dropped(DropReason.OPTED_OUT, "noai")
    assert isinstance(taken, Fetched)


def test_url_rules_hold_for_redirects_too(web: Web) -> None:
    web.on(f"{HOST}/0.jpg", answer(b"", "302 Found", {"Location": "/logo.svg"}))
    [(_, outcome)] = fetch_all(urls(1), settings(web, HOST))
    assert isinstance(outcome, Dropped)
    assert outcome.reason == DropReason.BLOCKED_URL
    assert web.paths(HOST) == ["/0.jpg"]
