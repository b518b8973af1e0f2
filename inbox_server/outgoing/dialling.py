"""The sockets and sessions that outgoing requests use: where they may lead, and how much of an answer they read.

aiohttp does not ask a resolver about numeric hosts, so only the socket sees every address that is dialled.
"""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

TOTAL_SECONDS: Final = 8  # over all redirects; a sender is waiting for the answer
READ_SECONDS: Final = 4
_CONNECT_SECONDS: Final = 3
_RESOLVE_SECONDS: Final = 3
_RESOLVER_THREADS: Final = 8  # getaddrinfo cannot be cancelled, so limit how many threads can be stuck in it
_MAX_ADDRESSES: Final = 16
_CONNECTIONS: Final = 64  # more than there are look-ups in flight
_CONNECTIONS_PER_HOST: Final = 4
_MAX_HEADER_BYTES: Final = 4096
_MAX_INTERIM: Final = 4  # 100 and 103 come before an answer; nobody needs more
_READ_BUFFER_BYTES: Final = 16 * 1024

MayDial = Callable[[str, int], bool]


class Refusal(OSError):
    """The guard refuses to dial an address. An OSError, because that is what aiohttp expects of a socket."""


class _ResponseHandler(ResponseHandler):
    """aiohttp's handler, with a limit on interim answers (1xx). aiohttp reads them forever, as fast as they come, and
    a host that sends nothing else would block the whole process.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._interim = 0

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        self._interim = self._interim + 1 if 100 <= data[0].code <= 199 else 0
        if self._interim <= _MAX_INTERIM:
            super().feed_data(data, size)
        elif self.transport is not None:
            self.set_exception(aiohttp.ClientPayloadError("interim answers without end"))
            self.transport.abort()


class Connector(aiohttp.TCPConnector):
    """aiohttp's connection, with that handler."""

    def __init__(self, **options: Any) -> None:
        super().__init__(limit=_CONNECTIONS, **options)
        self._factory = partial(self._make_handler)

    def _make_handler(self) -> ResponseHandler:
        return _ResponseHandler(self._loop)


class GuardedResolver(AbstractResolver):
    """Resolves names with the system's resolver. One address that may not be dialled refuses the whole name."""

    def __init__(self, is_allowed: Callable[[str], bool]) -> None:
        self._is_allowed = is_allowed
        self._threads = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="resolve")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await asyncio.wait_for(
            asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
            ),
            _RESOLVE_SECONDS,
        )
        results = [
            ResolveResult(
                hostname=host,
                host=_numeric(address),
                port=port,
                family=of_family,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for of_family, _, proto, _, address in found[:_MAX_ADDRESSES]
        ]
        if len(found) > _MAX_ADDRESSES or not all(self._is_allowed(result["host"]) for result in results):
            raise Refusal("the name has an address that may not be dialled")
        return results

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def guarded_connector(guard: MayDial, resolver: AbstractResolver) -> aiohttp.TCPConnector:
    """A connector that opens sockets only to addresses that `guard` allows, resolved or numeric."""

    def make_socket(address: tuple[Any, ...]) -> socket.socket:
        family, kind, proto, _, target = address
        if not guard(_numeric(target), target[1]):
            raise Refusal("the address may not be dialled")
        return socket.socket(family, kind, proto)

    return Connector(
        resolver=resolver,
        socket_factory=make_socket,
        use_dns_cache=False,  # a name may point elsewhere the next time
        force_close=True,  # no connection is reused after another decision
        limit_per_host=_CONNECTIONS_PER_HOST,
    )


# For callers whose time limit grows with the bytes received: a fixed one would limit how much a slow line can carry.
SLOW_LINE: Final = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=READ_SECONDS)


def open_session(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", "User-Agent": "inbox-server"},
        timeout=aiohttp.ClientTimeout(total=TOTAL_SECONDS, sock_connect=_CONNECT_SECONDS, sock_read=READ_SECONDS),
        trust_env=False,
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
        max_headers=64,
        read_bufsize=_READ_BUFFER_BYTES,
    )


def _numeric(address: tuple[Any, ...]) -> str:
    """The address in a socket's address; an IPv6 one with a scope keeps it, and is refused for it."""
    scoped = len(address) > 3 and address[3]
    return f"{address[0]}%{address[3]}" if scoped and "%" not in str(address[0]) else str(address[0])
