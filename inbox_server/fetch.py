"""Every outgoing request of the server, behind one door.

Profile and bucket URLs come from strangers. What leaves here is bytes or one of two failures; an upstream's status,
address or text never does, because that would make a port scanner of us.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
from yarl import URL

_TOTAL_SECONDS: Final = 8  # over all redirects; a sender is waiting for the answer
_MAX_URL_CHARACTERS: Final = 2048
_ABSENT_STATUSES: Final = frozenset({403, 404, 410})  # S3 answers 403 for a file that is not there
_REDIRECT_STATUSES: Final = frozenset({301, 302, 303, 307, 308})


class Absent(Exception):
    """The host answered, and has nothing there."""


class Unreachable(Exception):
    """The host failed, was too slow, sent too much, or may not be asked."""


class Fetcher:
    """GET, and nothing else: no cookies, no credentials, no decompression, no proxy from the environment."""

    def __init__(self, session: aiohttp.ClientSession, *, allow: frozenset[str]) -> None:
        self._session = session
        self._allow = allow

    async def get(
        self,
        url: str,
        *,
        max_bytes: int,
        redirects: int = 0,
        configured: bool = False,
        absent: frozenset[int] = _ABSENT_STATUSES,
    ) -> bytes:
        """The body at `url`. `configured` says that the operator wrote this URL, so plain http is taken.

        `absent` are the statuses by which this kind of host says that there is nothing.
        Raises `Absent` or `Unreachable`.
        """
        try:
            async with asyncio.timeout(_TOTAL_SECONDS):
                return await self._follow(url, max_bytes, redirects, absent, configured=configured)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            raise Unreachable from None

    async def _follow(
        self, url: str, max_bytes: int, redirects: int, absent: frozenset[int], *, configured: bool
    ) -> bytes:
        target = self._checked(url, configured=configured)
        async with self._session.get(target, allow_redirects=False) as response:
            if response.status in _REDIRECT_STATUSES and redirects > 0:
                location = str(target.join(URL(response.headers.get("Location", ""))))
            elif response.status == 200:
                return await _read(response, max_bytes)
            elif response.status in absent:
                raise Absent
            else:
                raise Unreachable
        return await self._follow(location, max_bytes, redirects - 1, absent, configured=False)

    def _checked(self, url: str, *, configured: bool) -> URL:
        if len(url) > _MAX_URL_CHARACTERS or not url.isascii() or not url.isprintable() or "\\" in url:
            raise Unreachable
        target = URL(url)
        if target.user or target.password or not target.host:
            raise Unreachable
        if not configured and target.scheme != "https" and str(target.origin()) not in self._allow:
            raise Unreachable
        return target


@contextlib.asynccontextmanager
async def open_fetcher(*, allow: frozenset[str]) -> AsyncIterator[Fetcher]:
    async with aiohttp.ClientSession(
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", "User-Agent": "inbox-server"},
        timeout=aiohttp.ClientTimeout(total=_TOTAL_SECONDS, sock_connect=3),
        trust_env=False,
    ) as session:
        yield Fetcher(session, allow=allow)


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Unreachable
    body = b""
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            raise Unreachable
    return body
