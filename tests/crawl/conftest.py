"""A loopback web whose servers may misbehave in any way: handlers write raw bytes to the connection."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import pytest

from curation.config import CrawlConfig
from curation.crawl import request, resolve, rules
from curation.crawl.addresses import is_public

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8


@dataclass
class Request:
    """A request as a handler sees it."""

    host: str
    path: str
    headers: dict[str, str]


Handler = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def answer(
    body: bytes = JPEG, status: str = "200 OK", headers: dict[str, str] | None = None, length: bool = True
) -> Handler:
    """A handler that sends one well-formed answer."""

    async def handle(request: Request, writer: asyncio.StreamWriter) -> None:
        fields = {"Content-Type": "image/jpeg"} | ({"Content-Length": str(len(body))} if length else {})
        fields |= headers or {}
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()

    return handle


def raw(data: bytes) -> Handler:
    """A handler that sends these bytes and closes."""

    async def handle(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()

    return handle


@dataclass
class Web:
    """One server; what it is asked for decides the handler, first by host and path, then by path."""

    address: str = "127.0.0.1"
    port: int = 0
    connections: int = 0
    requests: list[Request] = field(default_factory=list)
    handlers: dict[str, Handler] = field(default_factory=dict)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def on(self, where: str, handler: Handler) -> str:
        """Answer `host/path` or `/path` by a handler; returns the URL."""
        self.handlers[where] = handler
        return f"http://{where}"

    def paths(self, host: str) -> list[str]:
        """What a host was asked for, robots.txt and tdmrep.json left out."""
        rules = ("/robots.txt", "/.well-known/tdmrep.json")
        return [each.path for each in self.requests if each.host == host and each.path not in rules]

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Noted before there is a task, which may be cancelled before its first step."""
        self.connections += 1
        self.writers.append(writer)
        self.tasks.append(asyncio.ensure_future(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        quiet = (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError)
        with contextlib.suppress(*quiet):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
                asked = Request(headers.get("host", "").partition(":")[0], head[0].split(" ")[1], headers)
                self.requests.append(asked)
                path = asked.path.partition("?")[0]
                handler = self.handlers.get(asked.host + path) or self.handlers.get(path)
                await (handler or answer(b"", "404 Not Found"))(asked, writer)
                if headers.get("connection") == "close":
                    break
        writer.close()


class Hosting:
    """Servers on a loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.servers: list[asyncio.Server] = []
        self.webs: list[Web] = []

    def start(self, web: Web, tls: ssl.SSLContext | None = None) -> Web:
        async def begin() -> None:
            server = await asyncio.start_server(web.connected, web.address, 0, limit=1 << 20, ssl=tls)
            web.port = server.sockets[0].getsockname()[1]
            self.servers.append(server)
            self.webs.append(web)

        asyncio.run_coroutine_threadsafe(begin(), self.loop).result()
        return web

    def stop(self) -> None:
        async def end() -> None:
            await asyncio.sleep(0.05)  # a closed server loses, unclosed, a connection that it was about to hand over
            for server in self.servers:
                server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for web in self.webs:
                for writer in web.writers:
                    writer.transport.abort()  # closing waits for what nobody reads any more
            await asyncio.sleep(0.01)

        asyncio.run_coroutine_threadsafe(end(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def hosting() -> Iterator[Hosting]:
    hosting = Hosting()
    yield hosting
    hosting.stop()


@pytest.fixture
def web(hosting: Hosting) -> Web:
    """A server at 127.0.0.1."""
    return hosting.start(Web())


def settings(web: Web, *hosts: str, **changes: object) -> CrawlConfig:
    """Every named host served by `web`; deadlines that no busy machine reaches: tests of deadlines set their own."""
    values: dict[str, object] = {
        "allow_private_addresses": True,
        "connect_to": dict.fromkeys(hosts, f"{web.address}:{web.port}"),
        "timeout_seconds": 60.0,
        "rate_grace_seconds": 60.0,
        "min_bytes_per_second": 4096.0,
        "max_bytes": 1024 * 1024,
    }
    return CrawlConfig.model_validate(values | changes)


@pytest.fixture
def public_loopback(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address of this machine that counts as public, so that only the others are refused."""
    address = "127.0.0.2"
    for module in (request, resolve, rules):
        monkeypatch.setattr(module, "is_public", lambda text: text == address or is_public(text))
    return address
