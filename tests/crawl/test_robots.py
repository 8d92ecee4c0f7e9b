"""robots.txt by RFC 9309: what it says is done, and what silence means."""

import asyncio
import time

import pytest

from curation.crawl.fetch import Fetched, fetch_all
from curation.crawl.robots import RobotsMemory
from curation.drops import Dropped, DropReason

from .conftest import Handler, Request, Web, answer, raw, settings

HOST = "pics.test"
CLOCK = 0.002  # an event loop counts whole milliseconds


def robots(text: str) -> Handler:
    return answer(text.encode(), headers={"Content-Type": "text/plain"})


def reasons(web: Web, *paths: str, **changes: object) -> list[DropReason | None]:
    """None for paths that were fetched."""
    for path in paths:
        web.on(f"{HOST}{path.partition('?')[0]}", answer())
    outcomes = dict(fetch_all([f"http://{HOST}{path}" for path in paths], settings(web, HOST, **changes)))
    result = [outcomes[index] for index in range(len(paths))]
    return [outcome.reason if isinstance(outcome, Dropped) else None for outcome in result]


RULES = [
    ("User-agent: *\nDisallow: /", ["/a.jpg"], ["no"]),
    ("User-agent: *\nDisallow:", ["/a.jpg"], ["yes"]),
    ("User-agent: *\nDisallow: /private/", ["/private/a.jpg", "/a.jpg"], ["no", "yes"]),
    ("User-agent: *\nDisallow: /\nAllow: /open/", ["/open/a.jpg", "/a.jpg"], ["yes", "no"]),
    ("User-agent: other\nDisallow: /", ["/a.jpg"], ["yes"]),
    ("User-agent: lvd\nDisallow: /\n\nUser-agent: *\nDisallow:", ["/a.jpg"], ["no"]),
    ("User-agent: *\nDisallow: /\n\nUser-agent: LVD\nAllow: /", ["/a.jpg"], ["yes"]),
    ("User-agent: *\nDisallow: /*.jpg$", ["/a.jpg", "/a.png"], ["no", "yes"]),
    ("User-agent: *\nDisallow: /*?size=", ["/a.jpg?size=9", "/a.jpg"], ["no", "yes"]),
    ("\ufeffUser-agent: *\r\nDisallow: /", ["/a.jpg"], ["no"]),
    ("<html>nothing here</html>", ["/a.jpg"], ["yes"]),
    ("\x00\xff nonsense", ["/a.jpg"], ["yes"]),
    ("", ["/a.jpg"], ["yes"]),
]


@pytest.mark.parametrize(("text", "paths", "expected"), RULES)
def test_rules_are_kept(web: Web, text: str, paths: list[str], expected: list[str]) -> None:
    web.on(f"{HOST}/robots.txt", robots(text))
    allowed = {"yes": None, "no": DropReason.ROBOTS_DISALLOWED}
    assert reasons(web, *paths) == [allowed[word] for word in expected]
    refused = {path for path, word in zip(paths, expected, strict=True) if word == "no"}
    assert not refused & set(web.paths(HOST))


async def hang(request: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(600)


SILENCE: list[tuple[Handler, DropReason | None]] = [
    (answer(b"", "404 Not Found"), None),
    (answer(b"", "403 Forbidden"), None),
    (answer(b"<html>", headers={"Content-Type": "text/html"}), None),
    (answer(b"", "302 Found", {"Location": "/robots.txt"}), None),
    (answer(b"", "500 Internal Server Error"), DropReason.HTTP_SERVER_ERROR),
    (answer(b"", "429 Too Many Requests"), DropReason.RATE_LIMITED),
    (raw(b""), DropReason.CONNECTION_FAILED),
    (hang, DropReason.TIMEOUT),
    (answer(bytes(600_000), headers={"Content-Type": "text/plain"}), DropReason.ROBOTS_DISALLOWED),
]


@pytest.mark.parametrize(("handler", "expected"), SILENCE)
def test_none_there_allows_all_and_one_that_cannot_be_had_nothing(
    web: Web, handler: Handler, expected: DropReason | None
) -> None:
    web.on(f"{HOST}/robots.txt", handler)
    seconds = 0.5 if expected == DropReason.TIMEOUT else 60.0
    assert reasons(web, "/a.jpg", "/b.jpg", timeout_seconds=seconds) == [expected] * 2
    assert bool(web.paths(HOST)) == (expected is None)


def test_robots_may_be_left_unasked(web: Web) -> None:
    web.on(f"{HOST}/robots.txt", robots("User-agent: *\nDisallow: /"))
    assert reasons(web, "/a.jpg", respect_robots=False) == [None]
    assert web.paths(HOST) == ["/a.jpg"]
    assert "/robots.txt" not in [request.path for request in web.requests]


def test_each_host_is_asked_once(web: Web) -> None:
    reasons(web, *(f"/{number}.jpg" for number in range(50)))
    assert [request.path for request in web.requests].count("/robots.txt") == 1


def test_what_is_known_is_not_asked_again(web: Web) -> None:
    web.on(f"{HOST}/robots.txt", robots("User-agent: *\nDisallow: /b.jpg"))
    web.on(f"{HOST}/a.jpg", answer())
    memory, config = RobotsMemory(), settings(web, HOST)
    for _ in range(3):
        outcomes = dict(fetch_all([f"http://{HOST}/a.jpg", f"http://{HOST}/b.jpg"], config, memory))
        assert isinstance(outcomes[0], Fetched)
        assert outcomes[1] == Dropped(DropReason.ROBOTS_DISALLOWED)
    assert [request.path for request in web.requests].count("/robots.txt") == 1


def test_a_robots_file_that_could_not_be_had_is_asked_for_again(web: Web) -> None:
    web.on(f"{HOST}/a.jpg", answer())
    memory, config, url = RobotsMemory(), settings(web, HOST), f"http://{HOST}/a.jpg"
    web.on(f"{HOST}/robots.txt", answer(b"", "503 Service Unavailable"))
    [(_, first)] = fetch_all([url], config, memory)
    web.on(f"{HOST}/robots.txt", answer(b"", "404 Not Found"))
    [(_, second)] = fetch_all([url], config, memory)
    assert isinstance(first, Dropped)
    assert isinstance(second, Fetched)


def test_the_rules_of_a_host_redirected_to_are_kept(web: Web) -> None:
    web.on("other.test/robots.txt", robots("User-agent: *\nDisallow: /"))
    web.on(f"{HOST}/a.jpg", answer(b"", "302 Found", {"Location": "http://other.test/a.jpg"}))
    [(_, outcome)] = fetch_all([f"http://{HOST}/a.jpg"], settings(web, HOST, "other.test"))
    assert isinstance(outcome, Dropped)
    assert outcome.reason == DropReason.ROBOTS_DISALLOWED
    assert web.paths("other.test") == []


def test_a_robots_file_may_lie_behind_a_redirect(web: Web) -> None:
    web.on(f"{HOST}/robots.txt", answer(b"", "301 Moved Permanently", {"Location": "http://other.test/r.txt"}))
    web.on("other.test/r.txt", robots("User-agent: *\nDisallow: /"))
    outcomes = fetch_all([f"http://{HOST}/a.jpg"], settings(web, HOST, "other.test"))
    assert [outcome for _, outcome in outcomes] == [Dropped(DropReason.ROBOTS_DISALLOWED)]


def test_a_crawl_delay_is_kept(web: Web) -> None:
    web.on(f"{HOST}/robots.txt", robots("User-agent: *\nCrawl-delay: 0.2"))
    start = time.monotonic()
    assert reasons(web, "/a.jpg", "/b.jpg", "/c.jpg") == [None] * 3
    assert time.monotonic() - start >= 0.4 - CLOCK


def test_the_memory_is_bounded() -> None:
    from curation.crawl.robots import Rules

    memory = RobotsMemory(size=10)
    for number in range(100):
        memory.put(f"http://{number}.test", Rules())
    assert memory.get("http://0.test") is None
    assert memory.get("http://99.test") == Rules()
