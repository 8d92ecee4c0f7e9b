"""Every URL comes back exactly once, never faster than the consumer takes it, and all ends when told to."""

import asyncio
import itertools
import threading
import time

import pytest

from curation.crawl.fetch import Fetched, fetch_all
from curation.drops import Dropped, DropReason
from curation.errors import ConfigError

from .conftest import JPEG, Request, Web, answer, settings

HOST = "pics.test"


def urls(count: int) -> list[str]:
    return [f"http://{HOST}/{number}.jpg" for number in range(count)]


@pytest.fixture
def site(web: Web) -> Web:
    """A host whose every picture starts with its own path."""

    async def picture(request: Request, writer: asyncio.StreamWriter) -> None:
        await answer(JPEG + request.path.encode())(request, writer)

    for number in range(400):
        web.on(f"{HOST}/{number}.jpg", picture)
    return web


def fetch_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("lvd-fetch")]


def test_each_url_comes_back_once_with_its_own_bytes(site: Web) -> None:
    asked = urls(400)
    result = list(fetch_all(asked, settings(site, HOST)))
    assert sorted(index for index, _ in result) == list(range(400))
    for index, outcome in result:
        assert isinstance(outcome, Fetched)
        assert outcome.body == JPEG + f"/{index}.jpg".encode()
        assert (outcome.final_url, outcome.status) == (asked[index], 200)
        assert 0 < outcome.seconds < 2


def test_connections_are_kept_and_used_again(site: Web) -> None:
    list(fetch_all(urls(100), settings(site, HOST, host_connections=4)))
    assert site.connections <= 5


def test_the_last_request_to_a_host_lets_its_connection_go(site: Web) -> None:
    list(fetch_all(urls(3), settings(site, HOST, host_connections=1)))
    asked = [request.headers.get("connection") for request in site.requests]
    assert asked == [None, None, None, None, "close"]  # robots.txt, tdmrep.json, and the three


def test_the_same_url_twice_is_answered_twice(site: Web) -> None:
    assert sorted(index for index, _ in fetch_all(urls(1) * 3, settings(site, HOST))) == [0, 1, 2]


def test_nothing_to_do_is_nothing_started(web: Web) -> None:
    assert list(fetch_all([], settings(web))) == []
    assert web.connections == 0


@pytest.mark.parametrize(
    "url", ["", "nonsense", "ftp://pics.test/a.jpg", "file:///etc/passwd", "http://u:p@pics.test/"]
)
def test_what_is_no_url_is_told_apart_without_a_request(web: Web, url: str) -> None:
    assert list(fetch_all([url], settings(web, HOST))) == [(0, Dropped(DropReason.INVALID_URL))]
    assert web.connections == 0


def test_redirects_are_followed_to_where_the_bytes_are(site: Web) -> None:
    site.on(f"{HOST}/old.jpg", answer(b"", "301 Moved Permanently", {"Location": "//other.test/x/../newer.jpg"}))
    site.on("other.test/newer.jpg", answer(b"moved", "307 Temporary Redirect", {"Location": f"http://{HOST}/1.jpg"}))
    [(_, outcome)] = fetch_all([f"http://{HOST}/old.jpg"], settings(site, HOST, "other.test"))
    assert isinstance(outcome, Fetched)
    assert outcome.final_url == f"http://{HOST}/1.jpg"


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_no_more_redirects_are_followed_than_allowed(site: Web, limit: int) -> None:
    site.on(f"{HOST}/loop.jpg", answer(b"", "302 Found", {"Location": "/loop.jpg"}))
    config = settings(site, HOST, max_redirects=limit)
    [(_, outcome)] = fetch_all([f"http://{HOST}/loop.jpg"], config)
    assert isinstance(outcome, Dropped)
    assert outcome.reason == DropReason.TOO_MANY_REDIRECTS
    assert len(site.paths(HOST)) == limit + 1


def test_requests_say_who_asks_and_ask_for_plain_bytes(site: Web) -> None:
    list(fetch_all(urls(1), settings(site, HOST, user_agent="my-crawl/2.0 (+https://example.org)")))
    for request in site.requests:
        assert request.headers["user-agent"] == "my-crawl/2.0 (+https://example.org)"
        assert request.headers["accept-encoding"] == "identity"
        assert "cookie" not in request.headers


def test_somebody_elses_server_is_not_asked_without_a_contact(web: Web) -> None:
    with pytest.raises(ConfigError, match=r"crawl\.user_agent: 'lvd/0\.1' names no contact, and example\.org is"):
        fetch_all(["http://example.org/a.jpg"], settings(web, HOST))


def test_nor_by_way_of_a_redirect(site: Web) -> None:
    site.on(f"{HOST}/0.jpg", answer(b"", "302 Found", {"Location": "http://example.org/a.jpg"}))
    [(_, outcome)] = fetch_all(urls(1), settings(site, HOST))
    assert isinstance(outcome, Dropped)
    assert outcome.reason == DropReason.BLOCKED_URL


@pytest.mark.parametrize("target", ["127.0.0.1", "localhost:80", "127.0.0.1:0", "127.0.0.1:http", "127.0.0.1:70000"])
def test_a_malformed_connect_to_is_a_config_error(web: Web, target: str) -> None:
    with pytest.raises(ConfigError, match=r"crawl\.connect_to: a\.test: expected ADDRESS:PORT"):
        fetch_all(["http://a.test/a.jpg"], settings(web, connect_to={"a.test": target}))


def test_connect_to_can_name_the_port_it_is_for(site: Web) -> None:
    config = settings(site, connect_to={f"{HOST}:8080": f"127.0.0.1:{site.port}"})
    [(_, outcome)] = fetch_all([f"http://{HOST}:8080/1.jpg"], config)
    assert isinstance(outcome, Fetched)


def test_a_slow_consumer_slows_the_requests_down(site: Web) -> None:
    config = settings(site, HOST, concurrency=4, host_connections=4)
    outcomes = fetch_all(urls(200), config)
    for taken in range(1, 4):
        next(outcomes)
        time.sleep(0.1)
        assert len(site.paths(HOST)) <= taken + 2 * config.concurrency
    assert len(list(outcomes)) == 197


def test_bodies_that_wait_are_bounded_in_bytes(site: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curation.crawl.fetch.MAX_WAITING_BYTES", 2 * len(JPEG))
    outcomes = fetch_all(urls(100), settings(site, HOST, concurrency=50, host_connections=1))
    next(outcomes)
    time.sleep(0.2)
    assert len(site.paths(HOST)) <= 6
    assert len(list(outcomes)) == 99


async def hang(request: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(600)


@pytest.mark.parametrize("how", [GeneratorExit, KeyboardInterrupt])
def test_closing_early_ends_all_requests_at_once(site: Web, how: type[BaseException]) -> None:
    for number in range(1, 100):
        site.on(f"{HOST}/{number}.jpg", hang)
    outcomes = fetch_all(urls(100), settings(site, HOST, timeout_seconds=600.0, rate_grace_seconds=600.0))
    assert next(outcomes)[0] == 0
    start = time.monotonic()
    if how is GeneratorExit:
        outcomes.close()
    else:
        with pytest.raises(how):
            outcomes.throw(how())
    assert time.monotonic() - start < 60  # whoever waited for an answer, or for the deadline, would need 600
    assert not fetch_threads()


def test_a_generator_that_is_never_started_starts_nothing(site: Web) -> None:
    fetch_all(urls(3), settings(site, HOST)).close()
    assert site.connections == 0


def test_two_calls_at_once_do_not_disturb_each_other(site: Web) -> None:
    config = settings(site, HOST)
    pairs = list(itertools.zip_longest(fetch_all(urls(50), config), fetch_all(urls(50), config)))
    for side in (0, 1):
        assert sorted(pair[side][0] for pair in pairs) == list(range(50))


def test_a_fault_of_our_own_is_raised_and_does_not_hang(site: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> object:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("curation.crawl.hosts.Schedule.done", broken)
    with pytest.raises(ZeroDivisionError):
        list(fetch_all(urls(3), settings(site, HOST)))
    assert not fetch_threads()
