"""tdmrep.json: what an origin reserves is not asked for, and no such file can do harm."""

import json
import time

import pytest

from curation.crawl.fetch import Fetched, fetch_all
from curation.crawl.origins import OriginMemory
from curation.crawl.reservations import MAX_TDMREP_BYTES, reserved_paths
from curation.crawl.robots import RobotsMemory
from curation.drops import Dropped, DropReason

from .conftest import Web, answer, settings

HOST = "pics.test"
WHERE = f"{HOST}/.well-known/tdmrep.json"


def rules(*pairs: tuple[str, object]) -> bytes:
    return json.dumps([{"location": place, "tdm-reservation": value} for place, value in pairs]).encode()


def outcome_of(web: Web, path: str, **changes: object) -> Fetched | Dropped:
    [(_, outcome)] = fetch_all([f"http://{HOST}{path}"], settings(web, HOST, **changes))
    return outcome


@pytest.mark.parametrize(
    ("pattern", "path", "reserved"),
    [
        ("/", "/a.jpg", True),
        ("/a", "/a.jpg", True),
        ("/b", "/a.jpg", False),
        ("/photos/*.jpg$", "/photos/x/1.jpg", True),
        ("/photos/*.jpg$", "/photos/x/1.jpg.png", False),
        ("/photos/*.jpg", "/photos/x/1.jpg.png", True),
        ("/a.jpg$", "/a.jpg", True),
        ("/a$", "/a.jpg", False),
        ("*.png", "/x/y.png", True),
        ("photos", "/photos/1.jpg", True),
        ("/a*a$", "/a", False),
        ("/*/*/x", "/1/2/x", True),
    ],
)
def test_a_rule_reserves_the_paths_that_its_pattern_matches(web: Web, pattern: str, path: str, reserved: bool) -> None:
    web.on(f"{HOST}{path}", answer())
    web.on(WHERE, answer(rules((pattern, 1)), headers={"Content-Type": "application/json"}))
    outcome = outcome_of(web, path)
    assert isinstance(outcome, Dropped) == reserved
    if isinstance(outcome, Dropped):
        assert outcome.reason == DropReason.OPTED_OUT
        assert web.paths(HOST) == []  # it was never asked for


def test_a_reservation_holds_against_another_rule_that_allows(web: Web) -> None:
    web.on(f"{HOST}/open/a.jpg", answer())
    web.on(WHERE, answer(rules(("/open/", 0), ("/", 1))))
    assert outcome_of(web, "/open/a.jpg") == Dropped(DropReason.OPTED_OUT, "tdmrep.json: /")


def test_who_ignores_opt_outs_does_not_ask(web: Web) -> None:
    web.on(f"{HOST}/a.jpg", answer())
    web.on(WHERE, answer(rules(("/", 1))))
    assert isinstance(outcome_of(web, "/a.jpg", respect_opt_outs=False), Fetched)
    assert "/.well-known/tdmrep.json" not in [request.path for request in web.requests]


def test_each_origin_is_asked_once_also_by_the_next_part(web: Web) -> None:
    for number in range(20):
        web.on(f"{HOST}/{number}.jpg", answer())
    memory = RobotsMemory()
    for part in range(2):
        urls = [f"http://{HOST}/{number}.jpg" for number in range(10 * part, 10 * part + 10)]
        assert all(isinstance(outcome, Fetched) for _, outcome in fetch_all(urls, settings(web, HOST), memory))
    assert [request.path for request in web.requests].count("/.well-known/tdmrep.json") == 1


def test_a_redirect_to_a_reserved_place_is_not_followed(web: Web) -> None:
    web.on(f"{HOST}/a.jpg", answer(b"", "302 Found", {"Location": "http://other.test/b.jpg"}))
    web.on("other.test/.well-known/tdmrep.json", answer(rules(("/", 1))))
    [(_, outcome)] = fetch_all([f"http://{HOST}/a.jpg"], settings(web, HOST, "other.test"))
    assert isinstance(outcome, Dropped)
    assert outcome.reason == DropReason.OPTED_OUT
    assert web.paths("other.test") == []


@pytest.mark.parametrize(
    "handler",
    [
        answer(b"", "404 Not Found"),
        answer(b"", "500 Internal Server Error"),
        answer(b"<html>all is well</html>", headers={"Content-Type": "text/html"}),
        answer(b"not json"),
        answer(b"[" * 20_000),
        answer(b'{"location": "/", "tdm-reservation": 1}'),
        answer(b'[1, null, {"location": 7, "tdm-reservation": 1}, {"tdm-reservation": 1}]'),
        answer(rules(("/", 1)) + b" " * MAX_TDMREP_BYTES),
        answer(b"\xff\xfe" * 100),
        answer(b"", "302 Found", {"Location": "/.well-known/tdmrep.json"}),
    ],
)
def test_a_file_that_says_nothing_reserves_nothing(web: Web, handler: object) -> None:
    web.on(f"{HOST}/a.jpg", answer())
    web.on(WHERE, handler)  # type: ignore[arg-type]
    assert isinstance(outcome_of(web, "/a.jpg"), Fetched)


def test_hostile_patterns_cost_no_time(web: Web) -> None:
    patterns = reserved_paths(rules(*[("*a" * 200 + "b$", 1)] * 500))
    assert len(patterns) == 200
    web.on(WHERE, answer(rules(*[("*a" * 200 + "b$", 1)] * 140)))
    path = "/" + "a" * 3000
    web.on(f"{HOST}{path}", answer())
    start = time.process_time()  # what other processes take of the machine does not count
    assert isinstance(outcome_of(web, path), Fetched)
    assert time.process_time() - start < 10  # trying all ways to split the path would not end in a lifetime
    assert reserved_paths(rules(("/" + "x" * 1000, 1))) == ()


def test_what_is_remembered_is_bounded() -> None:
    memory: OriginMemory[tuple[str, ...]] = OriginMemory(size=2)
    for origin in ("http://a", "http://b", "http://c"):
        memory.put(origin, ("/",))
    assert [memory.get(origin) for origin in ("http://a", "http://b", "http://c")] == [None, ("/",), ("/",)]
