"""Asking one server as an app would: plain HTTP requests, answers with their times, failures in words."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy

from inbox_server.outgoing.failures import why

APP: Final = "https://inbox-server-ping.invalid"
"""The app that the checks pose as, in `Origin` and in their tokens. Nobody can own this name (RFC 2606)."""
_MOST_BYTES: Final = 256 * 1024
_WAITS_A_REQUEST: Final = 3  # the limit for a whole request, in single waits


class NoAnswer(Exception):
    """The server could not be asked; the text says why, and follows the server's name."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`moment` is a time while it was on its way, by this machine's clock, in seconds since 1970."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    moment: float

    @property
    def members(self) -> Mapping[str, Any]:
        """The body as a JSON object; empty if it is something else."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    @property
    def code(self) -> str:
        """The refusal's code, if it is one of the protocol's."""
        return str(self.members.get("code", "")) if self.status >= 400 else ""


@dataclass(frozen=True, slots=True)
class Server:
    """A server at an origin; `seconds` is how long each single wait may last, `clock` this machine's time.

    An answer of more than `most_bytes` is not read.
    """

    session: aiohttp.ClientSession
    url: str
    seconds: float
    clock: Callable[[], float]
    most_bytes: int = _MOST_BYTES

    @contextlib.asynccontextmanager
    async def asked(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
        stays_open: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, once it has begun. An open-ended one has no time limit. Raises `NoAnswer`, also while reading."""
        sent = CIMultiDict(headers or ())
        sent.setdefault("Origin", APP)
        if token:
            sent["Authorization"] = f"Bearer {token}"
        try:
            async with self.session.request(
                method,
                self.url + path,
                data=body,
                headers=sent,
                allow_redirects=False,
                timeout=self._stays_open() if stays_open else self._timeout(),
            ) as response:
                yield response
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise NoAnswer(why(error)) from error

    def _timeout(self) -> aiohttp.ClientTimeout:
        total = _WAITS_A_REQUEST * self.seconds
        return aiohttp.ClientTimeout(total=total, connect=self.seconds, sock_read=self.seconds)

    def _stays_open(self) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=None, connect=self.seconds)

    async def ask(self, method: str, path: str, **more: Any) -> Answer:
        """The whole answer. Raises `NoAnswer`."""
        begun = self.clock()
        async with self.asked(method, path, **more) as response:
            moment = (begun + self.clock()) / 2
            return Answer(response.status, response.headers, await _read(response, self.most_bytes), moment)


@contextlib.asynccontextmanager
async def open_server(
    url: str,
    seconds: float,
    clock: Callable[[], float],
    *,
    socket: Path | None = None,
    most_bytes: int = _MOST_BYTES,
    user_agent: str = "inbox-server-ping",
) -> AsyncIterator[Server]:
    """No cookies, no redirects, no proxy from the environment: what an app's `fetch` would meet at this origin.

    `socket` is the Unix socket at which a server on this machine listens.
    """
    connector = aiohttp.UnixConnector(str(socket)) if socket else None
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers={"User-Agent": user_agent}
    ) as session:
        yield Server(session, url, seconds, clock, most_bytes)


async def _read(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    body = b""
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most_bytes:
            raise NoAnswer("answers with more than any answer of this protocol has")
    return body
