"""Every outgoing request of the server, through one guarded fetcher.

Profile and bucket URLs come from strangers. They are checked as text, again when the name is resolved, and a last time
at the socket, for every address that is dialled (`dialling.py`). What the operator configured is trusted as written.

Callers get bytes or one of two failures. They never see an upstream's status, address or text, because that would turn
us into a port scanner. Only for APIs that the operator configured they see the status.
"""

import asyncio
import contextlib
import errno
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final, TypeVar

import aiohttp
from yarl import URL

from inbox_server.lru import Lru
from inbox_server.outgoing.budget import Hosts, Monotonic
from inbox_server.outgoing.dialling import (
    READ_SECONDS,
    TOTAL_SECONDS,
    Connector,
    GuardedResolver,
    MayDial,
    Refusal,
    guarded_connector,
    open_session,
)
from inbox_server.outgoing.exchange import REDIRECT_STATUSES, Answer, Came, ask, call, send
from inbox_server.outgoing.guard import (
    HTTPS_PORT,
    NotAllowed,
    check_stranger_url,
    may_dial,
    read_url,
    read_url_to_the_byte,
)

# More than all look-ups together ask for (resolver/cache.py): here only a single look-up's many requests count.
_HOST_PER_SECOND: Final = 45.0
_HOST_BURST: Final = 400
_SERVICE_PER_SECOND: Final = 100.0
_SERVICE_BURST: Final = 1000
_REST_SECONDS: Final = 30.0  # for a URL that answered 429 without saying how long
_LONGEST_REST_SECONDS: Final = 3600.0
_MOST_RESTING: Final = 10_000
_ABSENT_STATUSES: Final = frozenset({403, 404, 410})  # S3 answers 403 for a missing file
_GONE_STATUSES: Final = frozenset({404, 410})
_FULL_STATUS: Final = 507  # about one URL, not its host: ntfy answers it for a phone that was long offline
REDIRECTS: Final = 2  # public hubs moved, and a subdomain's registrar is asked by way of the name service

T = TypeVar("T")


class Absent(Exception):
    """The host answered that there is nothing at this URL."""


class Unreachable(Exception):
    """The host failed, was too slow, sent too much, or may not be asked."""


class Forbidden(Unreachable):
    """The URL itself is not allowed: not https, an address, or a name that is not public. A later try will not help."""


class Fetcher:
    """GET, POST without reading the answer, and calls of the operator's own APIs.

    No cookies, no tokens of our own accord, no proxy from the environment.
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
        # Kept apart, so that strangers' URLs at a configured service's host do not count against the service.
        self._services = Hosts(_SERVICE_PER_SECOND, _SERVICE_BURST, monotonic=monotonic)
        self._hosts = Hosts(_HOST_PER_SECOND, _HOST_BURST, monotonic=monotonic)
        self._resting: Lru[str, float] = Lru(_MOST_RESTING)

    async def get(
        self,
        url: str,
        *,
        max_bytes: int,
        redirects: int = REDIRECTS,
        configured: bool = False,
        absent: frozenset[int] = _ABSENT_STATUSES,
        slowest: int | None = None,
    ) -> bytes:
        """The body at `url`. `configured` says that the operator wrote this URL, so it is trusted as written.

        A redirect leads to a URL that nobody configured, so it goes through the whole guard. `absent` are the statuses
        that mean "nothing here" from this kind of host. `slowest`, in bytes a second, allows more time as more bytes
        arrive, for a large file on a slow line. Raises `Absent` or `Unreachable` (`Forbidden` when the URL itself is
        at fault).
        """
        begun = asyncio.get_running_loop().time()
        try:
            target = read_url(url)
            self._session(target, configured=configured)
        except NotAllowed:
            raise Forbidden from None
        try:
            async with asyncio.timeout(TOTAL_SECONDS) as limit:
                grow = slowest and (lambda count: limit.reschedule(begun + TOTAL_SECONDS + count / slowest))
                came = grow or None
                return await self._follow(target, max_bytes, redirects, absent, configured=configured, came=came)
        except (NotAllowed, TimeoutError):
            raise Unreachable from None

    async def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        configured: bool = False,
        absent: frozenset[int] = _GONE_STATUSES,
    ) -> None:
        """Send `body` there once. Follow no redirect and read no answer. A URL that answers 429 is left alone.

        Path and query are sent exactly as written: they belong to the push service and must not be normalised.
        Raises `Absent` for a status in `absent`, or `Unreachable`.
        """
        if (self._resting.get(url) or 0.0) > self._monotonic():
            raise Unreachable
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                target = read_url_to_the_byte(url)
                status, retry_after = await self._answer(
                    target, lambda session: send(session, target, body, headers), configured=configured
                )
        except (NotAllowed, TimeoutError):
            raise Unreachable from None
        if status == 429:  # a limit of this resource (RFC 8030 section 8.4), not of others on the host
            rest = _REST_SECONDS if retry_after is None else min(retry_after, _LONGEST_REST_SECONDS)
            self._resting.keep(url, self._monotonic() + rest)
        if status in absent:
            raise Absent
        if not 200 <= status < 300:
            raise Unreachable

    async def call(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """One request to an API of the operator's own. Follow no redirect.

        Only for URLs that the operator configured, because the caller sees the status. Raises `Unreachable`, also for
        a status of 500 or more.
        """
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                target = read_url_to_the_byte(url)
                status, (said, wait) = await self._answer(
                    target, lambda session: call(session, method, target, body, headers), configured=True
                )
        except (NotAllowed, TimeoutError):
            raise Unreachable from None
        return Answer(status, said, wait)

    async def _follow(
        self,
        url: URL,
        max_bytes: int,
        redirects: int,
        absent: frozenset[int],
        *,
        configured: bool,
        came: Came | None,
    ) -> bytes:
        status, said = await self._answer(
            url, lambda session: ask(session, url, max_bytes, came), configured=configured
        )
        if status == 200:
            return said
        if status in absent:
            raise Absent
        if status in REDIRECT_STATUSES and redirects > 0:
            target = read_location(url, said.decode())
            return await self._follow(target, max_bytes, redirects - 1, absent, configured=False, came=came)
        raise Unreachable

    async def _answer(
        self, url: URL, ask: Callable[[aiohttp.ClientSession], Awaitable[tuple[int, T]]], *, configured: bool
    ) -> tuple[int, T]:
        """The status, below 500, and what `ask` made of the answer; the host is spared what it cannot take."""
        session = self._session(url, configured=configured)
        host = str(url.origin())
        hosts = self._services if configured else self._hosts
        if not await hosts.may_ask(host):
            raise Unreachable
        start = self._monotonic()
        try:
            status, said = await ask(session)
        except asyncio.CancelledError:  # the time for all hops is over; blame this hop if it had its full share
            if self._monotonic() - start >= READ_SECONDS:
                hosts.failed(host)
            raise
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            if not _is_ours(error):
                hosts.failed(host)
            raise Unreachable from None
        if status >= 500:
            if status != _FULL_STATUS:
                hosts.failed(host)
            raise Unreachable
        hosts.answered(host)
        return status, said

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


@contextlib.asynccontextmanager
async def open_fetcher(
    *, allow: frozenset[str], keep: bool = True, guard: MayDial = may_dial, monotonic: Monotonic = time.monotonic
) -> AsyncIterator[Fetcher]:
    """`guard` is `guard.may_dial` outside tests. Tests let a part of loopback play the public Internet.

    `keep` lets trusted connections be reused. If the host has closed one meanwhile, we notice too late; aiohttp then
    repeats a GET, but never a POST.
    """
    connector = guarded_connector(guard, GuardedResolver(lambda address: guard(address, HTTPS_PORT)))
    plain = Connector(force_close=not keep)
    async with open_session(connector) as guarded, open_session(plain) as trusted:
        yield Fetcher(guarded=guarded, trusted=trusted, allow=allow, monotonic=monotonic)


def _is_ours(error: Exception) -> bool:
    """Whether a request failed for a reason that is not its host's: our guard, our limits, no more files to open."""
    cause = getattr(error, "os_error", error)
    return isinstance(cause, (ValueError, Refusal)) or getattr(cause, "errno", None) in (errno.EMFILE, errno.ENFILE)
