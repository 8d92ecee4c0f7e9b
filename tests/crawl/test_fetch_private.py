"""No URL, redirect, name or answer of a name server leads to an address that is not public."""

import asyncio
import socket

import pytest

from curation.config import CrawlConfig
from curation.crawl.fetch import Fetched, fetch_all
from curation.drops import Dropped, DropReason

from .conftest import Hosting, Request, Web, answer, settings

LITERALS = [
    "http://127.0.0.1:{port}/a.jpg",
    "http://127.1:{port}/a.jpg",
    "http://2130706433:{port}/a.jpg",
    "http://0x7f.0.0.1:{port}/a.jpg",
    "http://0177.0.0.1:{port}/a.jpg",
    "http://0.0.0.0:{port}/a.jpg",
    "http://[::1]:{port}/a.jpg",
    "http://[::ffff:127.0.0.1]:{port}/a.jpg",
    "http://[::127.0.0.1]:{port}/a.jpg",
    "http://[64:ff9b::7f00:1]:{port}/a.jpg",
    "http://\u2460\u2461\u2466.0.0.1:{port}/a.jpg",
    "http://169.254.169.254/latest/meta-data/a.jpg",
    "http://168.63.129.16/a.jpg",
    "http://100.100.100.200/a.jpg",
    "http://192.168.1.1/a.jpg",
    "http://10.0.0.1/a.jpg",
    "http://172.16.0.1/a.jpg",
    "http://224.0.0.1/a.jpg",
    "http://255.255.255.255/a.jpg",
    "http://[fd00:ec2::254]/a.jpg",
    "http://[fe80::1]/a.jpg",
    "http://[ff02::1]/a.jpg",
    "http://[2002:7f00:1::]/a.jpg",
]


def reason(outcome: Fetched | Dropped) -> DropReason:
    assert isinstance(outcome, Dropped)
    return outcome.reason


@pytest.fixture
def public(hosting: Hosting, public_loopback: str) -> Web:
    """A server at an address that counts as public."""
    try:
        return hosting.start(Web(public_loopback))
    except OSError:
        pytest.skip("this machine has one loopback address only")


def test_private_addresses_in_urls_are_refused_however_they_are_written(web: Web) -> None:
    config = CrawlConfig(user_agent="test (crawl@example.org)", timeout_seconds=1.0)
    urls = [url.format(port=web.port) for url in LITERALS]
    outcomes = dict(fetch_all(urls, config))
    assert {urls[index]: reason(outcome) for index, outcome in outcomes.items()} == dict.fromkeys(
        urls, DropReason.PRIVATE_ADDRESS
    )
    assert web.connections == 0


def test_redirects_to_private_addresses_are_refused(web: Web, public: Web) -> None:
    urls = []
    for number, url in enumerate([*LITERALS, "http://inside.test/a.jpg"]):
        location = url.format(port=web.port)
        redirect = answer(b"", "302 Found", {"Location": location})
        urls.append(public.on(f"open.test/{number}.jpg", redirect))
    config = settings(public, "open.test", allow_private_addresses=False)
    config.connect_to["inside.test"] = f"127.0.0.1:{web.port}"
    assert {reason(outcome) for _, outcome in fetch_all(urls, config)} == {DropReason.PRIVATE_ADDRESS}
    assert len(public.paths("open.test")) == len(urls)
    assert web.connections == 0


def test_the_target_of_connect_to_is_held_to_the_rule_too(web: Web) -> None:
    config = settings(web, "inside.test", allow_private_addresses=False)
    [(_, outcome)] = fetch_all(["http://inside.test/a.jpg"], config)
    assert reason(outcome) == DropReason.PRIVATE_ADDRESS
    assert web.connections == 0


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.2", "127.0.0.1"], ["::1"]])
def test_a_name_that_resolves_to_any_private_address_is_refused(
    web: Web, public: Web, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    config = CrawlConfig(user_agent="test (crawl@example.org)", timeout_seconds=1.0)
    outcomes = [outcome for _, outcome in fetch_all([f"http://mixed.test:{web.port}/a.jpg"], config)]
    assert [reason(outcome) for outcome in outcomes] == [DropReason.PRIVATE_ADDRESS]
    assert web.connections == 0


def test_a_name_that_becomes_private_the_second_time_it_is_asked_is_not_followed(
    hosting: Hosting, public: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the first answer is public, every later one private, and nothing is remembered between them."""
    inside = Web("127.0.0.1")

    async def close(request: Request, writer: asyncio.StreamWriter) -> None:
        await answer(headers={"Connection": "close"})(request, writer)
        writer.close()

    public.on("rebind.test/a.jpg", close)
    hosting.start(inside)
    asked = []

    def rebind(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        address = "127.0.0.2" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", rebind)
    config = CrawlConfig(
        user_agent="test (crawl@example.org)",
        timeout_seconds=60.0,
        dns_cache_seconds=0,
        respect_robots=False,
        host_connections=1,
    )
    outcomes = dict(fetch_all([f"http://rebind.test:{public.port}/a.jpg"] * 2, config))
    assert isinstance(outcomes[0], Fetched)
    assert reason(outcomes[1]) == DropReason.PRIVATE_ADDRESS
    assert len(asked) == 2
    assert inside.connections == 0


def test_the_socket_itself_refuses_what_every_check_before_it_let_pass(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    from curation.crawl import request, rules

    for module in (request, rules):
        monkeypatch.setattr(module, "is_public", lambda address: True)
    config = settings(web, allow_private_addresses=False)
    [(_, outcome)] = fetch_all([f"http://127.0.0.1:{web.port}/a.jpg"], config)
    assert reason(outcome) == DropReason.PRIVATE_ADDRESS
    assert web.connections == 0
