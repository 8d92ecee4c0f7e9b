"""Whatever a server does, each URL ends in exactly one state, on time, and nothing private is reached."""

import asyncio
import gzip
import shutil
import socket
import ssl
import subprocess
import threading
import time
import zlib
from pathlib import Path

import pytest

from curation.crawl.fetch import Fetched, fetch_all
from curation.drops import Dropped
from curation.drops import DropReason as R

from .conftest import JPEG, Handler, Hosting, Request, Web, answer, raw, settings

OK = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def endless(head: bytes, block: bytes, pause: float = 0.0) -> Handler:
    """Send `head`, then `block` for ever."""

    async def handle(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(block)
            await writer.drain()
            await asyncio.sleep(pause)

    return handle


async def silent(request: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(600)


async def reset(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def redirect(location: str) -> Handler:
    return answer(b"", "302 Found", {"Location": location})


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED = {"Content-Encoding": "gzip"}
CASES: dict[str, tuple[Handler, R | bytes]] = {
    # time
    "drip": (endless(OK + b"\r\n", b"x", 0.05), R.TOO_SLOW),
    "drip-of-headers": (endless(OK, b"A: b\r\n", 0.05), R.TIMEOUT),
    "silent": (silent, R.TIMEOUT),
    "silent-after-headers": (endless(OK + b"Content-Length: 9\r\n\r\n", b"", 0.05), R.TOO_SLOW),
    "only-interim-answers": (endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.01), R.TIMEOUT),
    # bytes
    "endless": (endless(OK + b"\r\n", b"x" * 65536), R.TOO_MANY_BYTES),
    "endless-chunks": (endless(CHUNKED, b"400\r\n" + bytes(1024) + b"\r\n"), R.TOO_MANY_BYTES),
    "endless-html": (
        endless(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", b"<p>" * 20000),
        R.NOT_AN_IMAGE,
    ),
    "long-by-its-word": (answer(headers={"Content-Length": "99999999999"}), R.TOO_MANY_BYTES),
    "gzip-bomb": (answer(gzip.compress(bytes(50_000_000), mtime=0), headers=PACKED), R.TOO_MANY_BYTES),
    "deflate-bomb": (
        answer(deflated(bytes(50_000_000)), headers={"Content-Encoding": "deflate"}),
        R.TOO_MANY_BYTES,
    ),
    "gzip": (answer(gzip.compress(JPEG, mtime=0), headers=PACKED), JPEG),
    "deflate": (answer(zlib.compress(JPEG), headers={"Content-Encoding": "deflate"}), JPEG),
    "deflate-raw": (answer(deflated(JPEG), headers={"Content-Encoding": "deflate"}), JPEG),
    "gzip-cut": (answer(gzip.compress(JPEG, mtime=0)[:-12], headers=PACKED), R.BAD_RESPONSE),
    "gzip-not": (answer(JPEG, headers=PACKED), R.BAD_RESPONSE),
    "brotli-unasked": (answer(JPEG, headers={"Content-Encoding": "br"}), R.BAD_RESPONSE),
    "empty": (answer(b""), R.EMPTY_BODY),
    "no-content": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), R.EMPTY_BODY),
    # headers
    "10000-headers": (raw(OK + b"".join(b"H%d: v\r\n" % i for i in range(10_000)) + b"\r\n"), R.BAD_RESPONSE),
    "endless-headers": (endless(OK, b"A: b\r\n" * 99), R.BAD_RESPONSE),
    "long-header": (answer(headers={"Long": "x" * 100_000}), R.BAD_RESPONSE),
    "endless-header": (endless(OK + b"Long: ", b"x" * 9999), R.BAD_RESPONSE),
    "no-http": (raw(b"SSH-2.0-OpenSSH_9.6\r\n"), R.BAD_RESPONSE),
    "two-lengths": (raw(OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"), R.BAD_RESPONSE),
    "negative-length": (answer(headers={"Content-Length": "-5"}), R.BAD_RESPONSE),
    # bodies that end otherwise than announced
    "longer-than-sent": (raw(OK + b"Content-Length: 9999\r\n\r\n" + JPEG[:99]), R.CONNECTION_FAILED),
    "shorter-than-sent": (raw(OK + b"Content-Length: 99\r\n\r\n" + JPEG), R.BAD_RESPONSE),
    "without-length": (raw(OK + b"\r\n" + JPEG), JPEG),
    "bad-chunk": (raw(CHUNKED + b"4\r\nabcd\r\nzz\r\n"), R.BAD_RESPONSE),
    "cut-chunk": (raw(CHUNKED + b"ff\r\nabcd"), R.CONNECTION_FAILED),
    # connections
    "closes": (raw(b""), R.CONNECTION_FAILED),
    "resets": (reset, R.CONNECTION_FAILED),
    # statuses
    "404": (answer(b"gone", "404 Not Found"), R.HTTP_CLIENT_ERROR),
    "403-endless": (endless(b"HTTP/1.1 403 Forbidden\r\n\r\n", b"no" * 9999), R.HTTP_CLIENT_ERROR),
    "451": (answer(b"", "451 Unavailable For Legal Reasons"), R.HTTP_CLIENT_ERROR),
    "408": (answer(b"", "408 Request Timeout"), R.HTTP_SERVER_ERROR),
    "500": (answer(b"", "500 Internal Server Error"), R.HTTP_SERVER_ERROR),
    "206": (answer(JPEG, "206 Partial Content"), R.BAD_RESPONSE),
    "304": (raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"), R.BAD_RESPONSE),
    "999": (answer(b"", "999 Request denied"), R.HTTP_SERVER_ERROR),
    # what it says it is
    "html": (answer(b"<html>not here</html>", headers={"Content-Type": "text/html"}), R.NOT_AN_IMAGE),
    "html-in-name-only": (answer(JPEG, headers={"Content-Type": "text/html; charset=utf-8"}), JPEG),
    "text-in-name-only": (answer(JPEG, headers={"Content-Type": "text/plain"}), JPEG),
    "no-type": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(JPEG) + JPEG), JPEG),
    # redirects
    "redirect-loop": (redirect("/a.jpg?again"), R.TOO_MANY_REDIRECTS),
    "redirect-file": (redirect("file:///etc/passwd"), R.INVALID_URL),
    "redirect-ftp": (redirect("ftp://ftp.test/a.jpg"), R.INVALID_URL),
    "redirect-data": (redirect("data:image/png;base64,AAAA"), R.INVALID_URL),
    "redirect-login": (redirect("http://user:word@login.test/"), R.INVALID_URL),
    "redirect-nowhere": (answer(b"", "302 Found"), R.BAD_RESPONSE),
    "redirect-blank": (redirect("http://"), R.INVALID_URL),
    # opt-outs
    "noai": (answer(headers={"X-Robots-Tag": "noai, noimageai"}), R.OPTED_OUT),
    "noindex": (answer(headers={"X-Robots-Tag": "googlebot: nofollow, noindex"}), JPEG),
    "tdm": (answer(headers={"tdm-reservation": "1"}), R.OPTED_OUT),
}


# Only what must end by a deadline has a short one, and no other that could come first on a busy machine.
DEADLINES = {R.TIMEOUT: {"timeout_seconds": 1.0}, R.TOO_SLOW: {"rate_grace_seconds": 0.3}}


@pytest.fixture
def outcomes(web: Web) -> dict[str, Fetched | Dropped]:
    """All cases of a deadline in one call, and all others in one, each from a host of its own."""
    for name, (handler, _) in CASES.items():
        web.on(f"{name}.test/a.jpg", handler)
    result: dict[str, Fetched | Dropped] = {}
    for ending in (None, *DEADLINES):
        names = [
            name
            for name, (_, end) in CASES.items()
            if (end if isinstance(end, R) and end in DEADLINES else None) == ending
        ]
        config = settings(web, *(f"{name}.test" for name in names), **(DEADLINES[ending] if ending else {}))
        start = time.monotonic()
        for index, outcome in fetch_all([f"http://{name}.test/a.jpg" for name in names], config):
            assert names[index] not in result
            result[names[index]] = outcome
        # Those without a short deadline have one of 60 s, and a silent server would end after 600.
        assert time.monotonic() - start < 50
    assert set(result) == set(CASES)
    return result


def test_every_kind_of_misbehaviour_ends_in_its_own_state(outcomes: dict[str, Fetched | Dropped]) -> None:
    wrong = {}
    for name, (_, expected) in CASES.items():
        outcome = outcomes[name]
        got = outcome.body if isinstance(outcome, Fetched) else outcome.reason
        if got != expected:
            wrong[name] = (outcome, expected)
    assert not wrong


def test_a_port_that_nobody_listens_on_is_a_failed_connection(web: Web) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        [(_, outcome)] = fetch_all([f"http://127.0.0.1:{port}/a.jpg"], settings(web))
    assert isinstance(outcome, Dropped)
    assert outcome.reason == R.CONNECTION_FAILED


@pytest.fixture
def impostor(hosting: Hosting, tmp_path: Path) -> Web:
    """A TLS server with a certificate that nobody vouches for."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=a.test", "-days", "1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return hosting.start(Web(), context)


def test_a_certificate_that_nobody_vouches_for_is_a_failed_connection(impostor: Web) -> None:
    impostor.on("a.test/a.jpg", answer())
    [(_, outcome)] = fetch_all(["https://a.test/a.jpg"], settings(impostor, "a.test", respect_robots=False))
    assert isinstance(outcome, Dropped)
    assert outcome.reason == R.CONNECTION_FAILED
    assert "certificate" in outcome.detail
    assert impostor.requests == []


def test_a_name_that_does_not_resolve_is_a_failed_connection(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    config = settings(web, user_agent="test (crawl@example.org)", respect_robots=False)
    [(_, outcome)] = fetch_all(["http://nowhere.test/a.jpg"], config)
    assert isinstance(outcome, Dropped)
    assert outcome.reason == R.CONNECTION_FAILED


def test_a_name_server_that_never_answers_is_a_timeout(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    answered = []

    def never(*_: object, **__: object) -> list[object]:
        ended.wait(120)
        answered.append(True)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", never)
    try:
        config = settings(web, user_agent="test (crawl@example.org)", timeout_seconds=0.3)
        [(_, outcome)] = fetch_all(["http://nowhere.test/a.jpg"], config)
        assert not answered, "the fetch waited for the name server"
    finally:
        ended.set()
    assert isinstance(outcome, Dropped)
    assert outcome.reason == R.TIMEOUT


def test_bytes_arrive_as_they_are_however_malformed_the_image(web: Web, shared_data: Path) -> None:
    hostile = shared_data / "hostile"
    files = sorted(path for path in hostile.rglob("*") if path.is_file() and 0 < path.stat().st_size < 1024 * 1024)
    for number, path in enumerate(files):
        web.on(f"files.test/{number}.jpg", answer(path.read_bytes()))
    urls = [f"http://files.test/{number}.jpg" for number in range(len(files))]
    seen = 0
    for index, outcome in fetch_all(urls, settings(web, "files.test")):
        assert isinstance(outcome, Fetched), files[index]
        assert outcome.body == files[index].read_bytes()
        seen += 1
    assert seen == len(files)
