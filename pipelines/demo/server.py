"""Serves the demo's web on a loopback port, for every host name at once."""

import asyncio
import contextlib
import threading
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from aiohttp import web

from pipelines.demo.site import Route, Site

__all__ = ["WebServer"]


class WebServer:
    """A context manager; while it is open, `connect_to` leads a crawler to it for every host of the site.

    It runs in a thread of its own, on a port that the system chooses.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` is the `site` of a web."""
        self._site = Site.load(folder)
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="demo-web", daemon=True)
        self.port = 0

    @property
    def connect_to(self) -> dict[str, str]:
        """`host[:port]` of every URL to this server's address."""
        hosts = sorted({urlsplit(url).netloc for url in self._site.routes})
        return dict.fromkeys(hosts, f"127.0.0.1:{self.port}")

    def __enter__(self) -> Self:
        self._thread.start()
        self._runner = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        self.port = self._runner.addresses[0][1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> web.ServerRunner:
        runner = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    async def _stop(self) -> None:
        self._closing.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        route = self._site.routes.get(f"http://{request.headers.get('Host', '')}{request.raw_path}")
        if route is None:
            return web.Response(status=404, text="no such address in this web")
        await asyncio.sleep(route.delay)
        body = self._site.body(route)
        headers = {"Content-Type": route.content_type} if route.content_type else {}
        if route.location is not None:
            headers["Location"] = route.location
        if route.stalls:
            return await self._stall(request, route, body, headers)
        return web.Response(status=route.status, body=body, headers=headers)

    async def _stall(
        self, request: web.BaseRequest, route: Route, body: bytes, headers: dict[str, str]
    ) -> web.StreamResponse:
        """The first half of the body, then nothing until the client leaves or the server closes."""
        response = web.StreamResponse(status=route.status, headers=headers)
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._closing.wait(), timeout=300)
        return response
