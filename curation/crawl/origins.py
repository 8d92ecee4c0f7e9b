"""A small file of each origin (robots.txt, tdmrep.json): asked for once, remembered for a day."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from curation.crawl.request import Answer

__all__ = ["Load", "OriginFiles", "OriginMemory"]

DAY = 24 * 3600.0

Load = Callable[[str], Awaitable[Answer]]
"""Fetch a file by its URL."""
Content = TypeVar("Content")


class OriginMemory(Generic[Content]):
    """What the files of the origins last met say, so that the next part need not ask again. One process, any number of
    loops."""

    def __init__(self, size: int = 20_000) -> None:
        self._size = size
        self._known: OrderedDict[str, tuple[float, Content]] = OrderedDict()

    def get(self, origin: str) -> Content | None:
        known = self._known.get(origin)
        return None if known is None or known[0] < time.monotonic() else known[1]

    def put(self, origin: str, content: Content) -> None:
        self._known[origin] = (time.monotonic() + DAY, content)
        while len(self._known) > self._size:
            self._known.popitem(last=False)


class OriginFiles(Generic[Content]):
    """Answers for one loop, asking each origin once, however many requests wait for the answer.

    Args:
        path: of the file, from the root of an origin.
        parse: what an answer says, and whether it is to be remembered.
    """

    def __init__(
        self, load: Load, path: str, parse: Callable[[Answer], tuple[Content, bool]], memory: OriginMemory[Content]
    ) -> None:
        self._load = load
        self._path = path
        self._parse = parse
        self._memory = memory
        self._asked: dict[str, asyncio.Task[Content]] = {}

    async def of(self, origin: str) -> Content:
        if origin not in self._asked:
            self._asked[origin] = asyncio.create_task(self._learn(origin))
        return await asyncio.shield(self._asked[origin])

    async def close(self) -> None:
        """Stop asking."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)

    async def _learn(self, origin: str) -> Content:
        content = self._memory.get(origin)
        if content is None:
            content, lasting = self._parse(await self._load(f"{origin}{self._path}"))
            if lasting:
                self._memory.put(origin, content)
        return content
