"""The client's connections: one kind to servers that the user chose, another to servers that strangers named.

A recipient's card says where to deliver, so it could point into the sender's own network. Such URLs go through the same
guard as the server's look-ups do: https, public addresses, the usual port; checked at the socket.
"""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from inbox_server.outgoing.dialling import GuardedResolver, guarded_connector
from inbox_server.outgoing.guard import HTTPS_PORT, check_stranger_url, may_dial, read_url

TOTAL_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 5.0


class TooMuch(OSError):
    """An answer is larger than any that the protocol has."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """`allow`: origins that strangers may name though they are not on the public web.

    `is_local`: the user's own hub is on this machine, as in the local world, and so may others' servers be.
    """

    trusted: aiohttp.ClientSession
    guarded: aiohttp.ClientSession
    allow: frozenset[str] = field(default_factory=frozenset)
    is_local: bool = False

    def to_stranger(self, url: str) -> aiohttp.ClientSession:
        """The session for an origin from somebody's card. Raises `NotAllowed`."""
        if url in self.allow or (self.is_local and is_loopback(url)):
            return self.trusted
        check_stranger_url(read_url(url))
        return self.guarded


@contextlib.asynccontextmanager
async def open_sessions(
    allow: frozenset[str], *, is_local: bool = False, traces: tuple[aiohttp.TraceConfig, ...] = ()
) -> AsyncIterator[Sessions]:
    """`traces` see every request but look-ups, so that a test can cut one off."""
    guarded = guarded_connector(may_dial, GuardedResolver(lambda address: may_dial(address, HTTPS_PORT)))
    async with _session(aiohttp.TCPConnector(), traces) as trusted, _session(guarded, traces) as of_strangers:
        yield Sessions(trusted, of_strangers, allow, is_local)


def is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")


async def read_bounded(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The whole body. Raises `TooMuch`."""
    body = b""
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most:
            raise TooMuch(f"the answer has more than {most} bytes")
    return body


def _session(connector: aiohttp.TCPConnector, traces: tuple[aiohttp.TraceConfig, ...]) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "inbox-server-client"},
        timeout=aiohttp.ClientTimeout(total=TOTAL_SECONDS, sock_connect=_CONNECT_SECONDS),
        trace_configs=list(traces),
    )
