"""The demo's web server."""

import http.client
import time

import pytest

from pipelines.demo.server import WebServer
from pipelines.demo.site import Site


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    site = Site(folder)
    site.add("http://a.example/img/one.jpg", b"one", content_type="image/jpeg")
    site.add("http://b.example:8080/img/one.jpg", b"another", content_type="text/plain")
    site.add("http://a.example/view?id=1&size=large", b"asked", content_type="image/gif")
    site.add("http://a.example/p%20q/caf%C3%A9.jpg", b"escaped", content_type="image/jpeg")
    site.add("http://a.example/moved", status=308, location="http://b.example:8080/img/one.jpg")
    site.add("http://a.example/gone", b"sorry", status=410, content_type="text/html")
    site.add("http://a.example/late", b"late", content_type="image/png", delay=0.2)
    site.add("http://slow.example/never", b"x" * 1000, content_type="image/png", stalls=True)
    site.save()
    with WebServer(folder) as server:
        yield server


def get(server, host, path, timeout=60.0):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    connection.request("GET", path, headers={"Host": host})
    response = connection.getresponse()
    try:
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("host", "path", "status", "content_type", "body"),
    [
        ("a.example", "/img/one.jpg", 200, "image/jpeg", b"one"),
        ("b.example:8080", "/img/one.jpg", 200, "text/plain", b"another"),
        ("a.example", "/view?id=1&size=large", 200, "image/gif", b"asked"),
        ("a.example", "/p%20q/caf%C3%A9.jpg", 200, "image/jpeg", b"escaped"),
        ("a.example", "/gone", 410, "text/html", b"sorry"),
    ],
)
def test_each_host_and_path_has_its_own_answer(server, host, path, status, content_type, body):
    answer = get(server, host, path)
    assert (answer[0], answer[1].get("Content-Type"), answer[2]) == (status, content_type, body)


@pytest.mark.parametrize(("host", "path"), [("a.example", "/robots.txt"), ("c.example", "/img/one.jpg"), ("", "/")])
def test_what_is_not_in_the_web_is_not_found(server, host, path):
    assert get(server, host, path)[0] == 404


def test_redirects_say_where_to(server):
    status, headers, body = get(server, "a.example", "/moved")
    assert (status, headers["Location"], body) == (308, "http://b.example:8080/img/one.jpg", b"")


def test_a_slow_answer_takes_its_time(server):
    start = time.monotonic()
    assert get(server, "a.example", "/late")[2] == b"late"
    assert time.monotonic() - start >= 0.2


def test_a_stalled_answer_stops_half_way(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/never", headers={"Host": "slow.example"})
    response = connection.getresponse()
    assert response.read(500) == b"x" * 500
    connection.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        response.read1()
    connection.close()


def test_a_crawler_is_led_to_it_for_every_host(server):
    hosts = ("a.example", "b.example:8080", "slow.example")
    assert server.connect_to == dict.fromkeys(hosts, f"127.0.0.1:{server.port}")


def test_it_closes_at_once_even_while_an_answer_stalls(tmp_path):
    site = Site(tmp_path)
    site.add("http://slow.example/never", b"x" * 1000, stalls=True)
    site.save()
    with WebServer(tmp_path) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("GET", "/never", headers={"Host": "slow.example"})
        connection.getresponse()
        start = time.monotonic()
    assert time.monotonic() - start < 60  # the stall itself would last 300
    connection.close()


def test_no_url_is_planted_twice(tmp_path):
    site = Site(tmp_path)
    site.add("http://a.example/", b"one")
    with pytest.raises(AssertionError, match="planted twice"):
        site.add("http://a.example/", b"two")
