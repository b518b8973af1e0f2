"""Every outgoing request of the server, behind one door.

Profile and bucket URLs come from strangers. They are checked as text, again when the name is resolved, and a last time
at the socket, for every address that is dialled: aiohttp does not ask a resolver about numeric hosts, so only the
socket sees them all. What the operator wrote into the configuration is trusted as written.

What leaves here is bytes or one of two failures; an upstream's status, address or text never does, because that would
make a port scanner of us.
"""

import asyncio
import contextlib
import errno
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from inbox_server.budget import Hosts, Monotonic
from inbox_server.guard import HTTPS_PORT, NotAllowed, check_stranger_url, may_dial, read_url

_TOTAL_SECONDS: Final = 8  # over all redirects; a sender is waiting for the answer
_CONNECT_SECONDS: Final = 3
_READ_SECONDS: Final = 4
_RESOLVE_SECONDS: Final = 3
_RESOLVER_THREADS: Final = 8  # getaddrinfo cannot be cancelled, so what is stuck in it stays few
_MAX_ADDRESSES: Final = 16
_CONNECTIONS: Final = 64  # more than there are look-ups in flight
_CONNECTIONS_PER_HOST: Final = 4
# More than all look-ups together ask for (resolver/cache.py): here only a single look-up's many requests count.
_HOST_PER_SECOND: Final = 45.0
_HOST_BURST: Final = 400
_SERVICE_PER_SECOND: Final = 100.0
_SERVICE_BURST: Final = 1000
_MAX_HEADER_BYTES: Final = 4096
_READ_BUFFER_BYTES: Final = 16 * 1024
_ABSENT_STATUSES: Final = frozenset({403, 404, 410})  # S3 answers 403 for a file that is not there
_GONE_STATUSES: Final = frozenset({404, 410})
_REDIRECT_STATUSES: Final = frozenset({301, 302, 303, 307, 308})

T = TypeVar("T")
MayDial = Callable[[str, int], bool]


class Absent(Exception):
    """The host answered, and has nothing there."""


class Unreachable(Exception):
    """The host failed, was too slow, sent too much, or may not be asked."""


class Refusal(OSError):
    """The guard refuses to dial an address. An OSError, because that is what aiohttp expects of a socket."""


class Fetcher:
    """GET, and POST that reads no answer: no cookies, no decompression, no proxy from the environment.

    `guarded` is for URLs that strangers named, `trusted` for the operator's own and the origins in `allow`.
    """

    def __init__(
        self,
        *,
        guarded: aiohttp.ClientSession,
        trusted: aiohttp.ClientSession,
        allow: frozenset[str],
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        self._guarded = guarded
        self._trusted = trusted
        self._allow = allow
        self._monotonic = monotonic
        # Apart, so that what strangers name at a configured service's host is not held against the service.
        self._services = Hosts(_SERVICE_PER_SECOND, _SERVICE_BURST, monotonic=monotonic)
        self._hosts = Hosts(_HOST_PER_SECOND, _HOST_BURST, monotonic=monotonic)

    async def get(
        self,
        url: str,
        *,
        max_bytes: int,
        redirects: int = 0,
        configured: bool = False,
        absent: frozenset[int] = _ABSENT_STATUSES,
    ) -> bytes:
        """The body at `url`. `configured` says that the operator wrote this URL, so it is trusted as written.

        A redirect leads to a URL that nobody configured. `absent` are the statuses by which this kind of host says
        that there is nothing. Raises `Absent` or `Unreachable`.
        """
        try:
            async with asyncio.timeout(_TOTAL_SECONDS):
                return await self._follow(read_url(url), max_bytes, redirects, absent, configured=configured)
        except (NotAllowed, TimeoutError):
            raise Unreachable from None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, configured: bool = False) -> None:
        """Send `body` there, once; no redirect is followed and no answer read. A host that says 429 is left alone.

        Raises `Absent` for 404 and 410, or `Unreachable`.
        """
        try:
            async with asyncio.timeout(_TOTAL_SECONDS):
                target = read_url(url)
                status, retry_after = await self._answer(
                    target, lambda session: _send(session, target, body, headers), configured=configured
                )
        except (NotAllowed, TimeoutError):
            raise Unreachable from None
        if status == 429:
            self._hosts_of(configured=configured).rest(str(target.origin()), retry_after)
        if status in _GONE_STATUSES:
            raise Absent
        if not 200 <= status < 300:
            raise Unreachable

    async def _follow(
        self, url: URL, max_bytes: int, redirects: int, absent: frozenset[int], *, configured: bool
    ) -> bytes:
        status, said = await self._answer(url, lambda session: _ask(session, url, max_bytes), configured=configured)
        if status == 200:
            return said
        if status in absent:
            raise Absent
        if status in _REDIRECT_STATUSES and redirects > 0:
            target = read_location(url, said.decode())
            return await self._follow(target, max_bytes, redirects - 1, absent, configured=False)
        raise Unreachable

    async def _answer(
        self, url: URL, ask: Callable[[aiohttp.ClientSession], Awaitable[tuple[int, T]]], *, configured: bool
    ) -> tuple[int, T]:
        """The status, below 500, and what `ask` made of the answer; the host is spared what it cannot take."""
        session = self._session(url, configured=configured)
        host = str(url.origin())
        hosts = self._hosts_of(configured=configured)
        if not await hosts.may_ask(host):
            raise Unreachable
        start = self._monotonic()
        try:
            status, said = await ask(session)
        except asyncio.CancelledError:  # the time of all hops is over; this one is to blame if it had its own
            if self._monotonic() - start >= _READ_SECONDS:
                hosts.failed(host)
            raise
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            if not _is_ours(error):
                hosts.failed(host)
            raise Unreachable from None
        if status >= 500:
            hosts.failed(host)
            raise Unreachable
        hosts.answered(host)
        return status, said

    def _hosts_of(self, *, configured: bool) -> Hosts:
        return self._services if configured else self._hosts

    def _session(self, url: URL, *, configured: bool) -> aiohttp.ClientSession:
        if configured or str(url.origin()) in self._allow:
            return self._trusted
        check_stranger_url(url)
        return self._guarded


def read_location(base: URL, text: str) -> URL:
    """A redirect's target, which may be relative to `base`. Raises `NotAllowed`."""
    if not text or not text.isascii() or not text.isprintable() or "\\" in text or " " in text:
        raise NotAllowed("redirects to what is not a URL")
    try:
        return read_url(str(base.join(URL(text))))
    except ValueError:
        raise NotAllowed("redirects to what is not a URL") from None


class GuardedResolver(AbstractResolver):
    """Names as the system resolves them; one address that may not be dialled refuses the whole name."""

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


@contextlib.asynccontextmanager
async def open_fetcher(
    *, allow: frozenset[str], keep: bool = True, guard: MayDial = may_dial, monotonic: Monotonic = time.monotonic
) -> AsyncIterator[Fetcher]:
    """`guard` is `guard.may_dial` outside tests, which let a part of loopback play the public Internet.

    `keep` lets trusted connections be used again. One that its host meanwhile closed is noticed too late, and aiohttp
    sends a GET once more but never a POST.
    """
    connector = guarded_connector(guard, GuardedResolver(lambda address: guard(address, HTTPS_PORT)))
    plain = aiohttp.TCPConnector(limit=_CONNECTIONS, force_close=not keep)
    async with _session(connector) as guarded, _session(plain) as trusted:
        yield Fetcher(guarded=guarded, trusted=trusted, allow=allow, monotonic=monotonic)


def guarded_connector(guard: MayDial, resolver: AbstractResolver) -> aiohttp.TCPConnector:
    """A connector that makes no socket to where `guard` does not let it: no address escapes this, resolved or not."""

    def make_socket(address: tuple[Any, ...]) -> socket.socket:
        family, kind, proto, _, target = address
        if not guard(_numeric(target), target[1]):
            raise Refusal("the address may not be dialled")
        return socket.socket(family, kind, proto)

    return aiohttp.TCPConnector(
        resolver=resolver,
        socket_factory=make_socket,
        use_dns_cache=False,  # a name may point elsewhere the next time
        force_close=True,  # no connection is used again under another decision
        limit=_CONNECTIONS,
        limit_per_host=_CONNECTIONS_PER_HOST,
    )


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", "User-Agent": "inbox-server"},
        timeout=aiohttp.ClientTimeout(total=_TOTAL_SECONDS, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS),
        trust_env=False,
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
        max_headers=64,
        read_bufsize=_READ_BUFFER_BYTES,
    )


def _is_ours(error: Exception) -> bool:
    """Whether a request failed for a reason that is not its host's: our guard, our limits, no more files to open."""
    cause = getattr(error, "os_error", error)
    return isinstance(cause, (ValueError, Refusal)) or getattr(cause, "errno", None) in (errno.EMFILE, errno.ENFILE)


def _numeric(address: tuple[Any, ...]) -> str:
    """The address in a socket's address; an IPv6 one with a scope keeps it, and is refused for it."""
    scoped = len(address) > 3 and address[3]
    return f"{address[0]}%{address[3]}" if scoped and "%" not in str(address[0]) else str(address[0])


async def _ask(session: aiohttp.ClientSession, url: URL, max_bytes: int) -> tuple[int, bytes]:
    """The status, and with it the body of a 200, or where a redirect leads. Raises ValueError for too much."""
    async with session.get(url, allow_redirects=False) as response:
        if response.status in _REDIRECT_STATUSES:
            return response.status, response.headers.get("Location", "").encode()
        return response.status, await _read(response, max_bytes) if response.status == 200 else b""


async def _send(
    session: aiohttp.ClientSession, url: URL, body: bytes, headers: Mapping[str, str]
) -> tuple[int, int | None]:
    """The status, and the seconds of a `Retry-After`; one that names a date is read as none."""
    async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
        wait = response.headers.get("Retry-After", "")
        return response.status, int(wait) if re.fullmatch("[0-9]{1,9}", wait) else None


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise NotAllowed("is encoded")
    body = b""
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            raise NotAllowed("is too large")
    return body
