"""Names to addresses that have been checked, and sockets to those only.

A name is resolved here and nowhere else, and the connection goes to the addresses returned, so an answer that
changes between check and use (DNS rebinding) changes nothing. The socket factory checks once more: it also sees
addresses written in URLs, for which aiohttp asks no resolver.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Mapping
from functools import partial

from aiohttp.abc import AbstractResolver, ResolveResult

from curation.crawl.addresses import PrivateAddressError, is_public
from curation.errors import ConfigError

__all__ = ["GuardedResolver", "guarded_socket", "parse_targets"]

Addresses = list[tuple[socket.AddressFamily, str]]
AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]]


class GuardedResolver(AbstractResolver):  # type: ignore[misc, unused-ignore]
    """Resolves names for aiohttp.

    Args:
        connect_to: `host` or `host:port` -> (address, port): where to connect instead of asking DNS.
        allow_private: let addresses pass that are not public.
        threads: most lookups under way at once.
    """

    def __init__(self, connect_to: Mapping[str, tuple[str, int]], allow_private: bool, threads: int = 32) -> None:
        self._connect_to = connect_to
        self._allow_private = allow_private
        self._free_threads = asyncio.Semaphore(threads)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses of a name.

        Raises:
            PrivateAddressError: any of them is not public. One is enough: nobody mixes the two in good faith.
            OSError: there are none.
        """
        target = self._connect_to.get(f"{host}:{port}") or self._connect_to.get(host)
        if target is not None:
            address, port = target
            result: Addresses = [(socket.AF_INET6 if ":" in address else socket.AF_INET, address)]
        else:
            result = await self._look_up(host)
        for _, address in result:
            if not self._allow_private and not is_public(address):
                raise PrivateAddressError(f"{host} is at {address}")
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
            for kind, address in result
        ]

    async def close(self) -> None:
        pass

    async def _look_up(self, host: str) -> Addresses:
        """`getaddrinfo` in a daemon thread of its own: a name server that never answers must not keep the process, as
        the threads of an executor would."""
        await self._free_threads.acquire()
        answer: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
        threading.Thread(target=self._ask, args=(host, answer), name="lvd-dns", daemon=True).start()
        return await answer

    def _ask(self, host: str, answer: "asyncio.Future[Addresses]") -> None:
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            settle = partial(answer.set_result, list(dict.fromkeys((info[0], str(info[4][0])) for info in infos)))
        except (OSError, UnicodeError) as error:
            settle = partial(answer.set_exception, error if isinstance(error, OSError) else OSError(str(error)))

        def finish() -> None:
            self._free_threads.release()
            if not answer.done():
                settle()

        with contextlib.suppress(RuntimeError):  # the loop is closed; nobody waits any more
            answer.get_loop().call_soon_threadsafe(finish)


def guarded_socket(allow_private: bool, info: AddressInfo) -> socket.socket:
    """A socket for a connection to `info`'s address.

    Raises:
        PrivateAddressError: the address is not public.
    """
    family, kind, protocol, _, address = info
    if not allow_private and not is_public(str(address[0])):
        raise PrivateAddressError(f"{address[0]}")
    return socket.socket(family, kind, protocol)


def parse_targets(connect_to: Mapping[str, str]) -> dict[str, tuple[str, int]]:
    """`host[:port]` -> `address:port` as `host[:port]` -> (address, port).

    Raises:
        ConfigError: a value is no address with a port.
    """
    targets = {}
    for name, value in connect_to.items():
        address, colon, port = value.rpartition(":")
        address = address.removeprefix("[").removesuffix("]")
        try:
            socket.getaddrinfo(address, None, flags=socket.AI_NUMERICHOST)
            number = int(port)
        except (OSError, ValueError):
            number = -1
        if not (colon and address and 0 < number < 65536):
            raise ConfigError(f"crawl.connect_to: {name}: expected ADDRESS:PORT, as in 127.0.0.1:8080, got {value!r}")
        targets[name.lower()] = (address, number)
    return targets
