"""The client's connections: one kind to servers that the user chose, another to servers that strangers named.

A recipient's card says where to deliver, so it could point into the sender's own network. Such URLs go through the same
guard as the server's look-ups do: https, public addresses, the usual port; checked at the socket.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import aiohttp

from inbox_server.outgoing.dialling import GuardedResolver, guarded_connector
from inbox_server.outgoing.guard import HTTPS_PORT, check_stranger_url, may_dial, read_url

SILENCE_SECONDS: Final = 30.0
LONGEST_PAUSE_SECONDS: Final = 86_400  # a longer `Retry-After` is not believed
SLOWEST_BYTES: Final = 16 * 1024  # a second; a peer that is slower on average is cut off
_MOST_UNDER_WAY: Final = 4 << 20  # bytes that operating systems buffer before the other side has them
_PIECE_BYTES: Final = 64 * 1024
_CONNECT_SECONDS: Final = 5.0
# Each request is paced instead: a limit on the whole would be one on how much a slow line can carry.
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)


class TooMuch(OSError):
    """The answer is larger than any answer of the protocol."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """`allow`: origins that strangers may name although they are not on the public web.

    `is_local`: the user's own hub is on this machine, as in the local world, and so may others' servers be.
    """

    trusted: aiohttp.ClientSession
    guarded: aiohttp.ClientSession
    allow: frozenset[str] = field(default_factory=frozenset)
    is_local: bool = False
    traces: tuple[aiohttp.TraceConfig, ...] = ()

    @contextlib.asynccontextmanager
    async def alone(self, url: str, *, is_trusted: bool = False) -> AsyncIterator[aiohttp.ClientSession]:
        """For one request to an origin from somebody's card, on a connection that no other request uses.

        It resumes no TLS session: Python's ssl does so only when it is given one. `is_trusted`: the user chose it, too.
        Raises `NotAllowed`.
        """
        is_trusted = is_trusted or self.to_stranger(url) is self.trusted
        connector = aiohttp.TCPConnector(force_close=True) if is_trusted else _guarded()
        async with _session(connector, self.traces) as session:
            yield session

    def to_stranger(self, url: str) -> aiohttp.ClientSession:
        """The session for an origin from somebody's card. Raises `NotAllowed`."""
        if url in self.allow or (self.is_local and is_loopback(url)):
            return self.trusted
        check_stranger_url(read_url(url))
        return self.guarded


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content_type: str
    headers: Mapping[str, str]
    body: bytes


@contextlib.asynccontextmanager
async def open_sessions(
    allow: frozenset[str], *, is_local: bool = False, traces: tuple[aiohttp.TraceConfig, ...] = ()
) -> AsyncIterator[Sessions]:
    """`traces` see every request except look-ups, so that a test can cut one off."""
    async with _session(aiohttp.TCPConnector(), traces) as trusted, _session(_guarded(), traces) as of_strangers:
        yield Sessions(trusted, of_strangers, allow, is_local, traces)


def _guarded() -> aiohttp.TCPConnector:
    return guarded_connector(may_dial, GuardedResolver(lambda address: may_dial(address, HTTPS_PORT)))


def is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")


async def ask(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    most: int,
    headers: Mapping[str, str] = MappingProxyType({}),
    content: bytes | None = None,
    silence_seconds: float = SILENCE_SECONDS,
) -> Answer:
    """One request, and an answer of limited size. Follows no redirect, because that would send a token elsewhere.

    Raises `TooMuch`, TimeoutError for silence, `aiohttp.ClientError` or OSError.
    """
    async with _Pace(silence_seconds) as pace:
        length = {} if content is None else {"Content-Length": str(len(content))}
        async with session.request(
            method,
            url,
            data=None if content is None else pace.pieces(content),
            headers={**headers, **length},
            allow_redirects=False,
            timeout=_TIMEOUT,
        ) as response:
            return await answer_of(response, most, pace.moved)


async def answer_of(
    response: aiohttp.ClientResponse, most: int, moved: Callable[[int], None] = lambda _: None
) -> Answer:
    """With the whole body. Raises `TooMuch`."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        moved(len(chunk))
        if len(body) > most:
            raise TooMuch(f"the answer has more than {most} bytes")
    return Answer(response.status, response.content_type, response.headers, bytes(body))


def seconds_of(text: str) -> int | None:
    """A `Retry-After` in seconds. Inbox servers and hubs do not send it as a date."""
    return min(int(text), LONGEST_PAUSE_SECONDS) if text.isascii() and text.isdecimal() and len(text) < 10 else None


class _Pace:
    """A request that continues while bytes move and the average speed is not below the minimum."""

    def __init__(self, silence_seconds: float) -> None:
        self._silence = silence_seconds

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._begun, self._bytes = self._loop.time(), 0
        self._limit = await asyncio.timeout(self._silence).__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self._limit.__aexit__(*raised)

    def moved(self, count: int, under_way: int = 0) -> None:
        self._bytes += count
        silent = self._loop.time() + self._silence + under_way / SLOWEST_BYTES
        self._limit.reschedule(min(silent, self._begun + self._silence + self._bytes / SLOWEST_BYTES))

    async def pieces(self, content: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(content), _PIECE_BYTES):
            piece = content[start : start + _PIECE_BYTES]
            yield piece
            self.moved(len(piece))
        self.moved(0, under_way=min(len(content), _MOST_UNDER_WAY))


def _session(connector: aiohttp.TCPConnector, traces: tuple[aiohttp.TraceConfig, ...]) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "inbox-server-client"},
        timeout=_TIMEOUT,
        trace_configs=list(traces),
    )
