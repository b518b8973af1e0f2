"""Connections to the primary: the one of several PostgreSQL hosts that takes writes, wherever it is now."""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from inbox_server.errors import Unavailable

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection


class NotServed(Exception):
    """The database is there, and this server may not use it; the message says why and what its operator does."""


Failure: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # neither of the two before: "cannot switch to state", when a connection is lost
    OSError,
    TimeoutError,
    NotServed,
)
"""Everything by which asyncpg, or we, say that the database did not do it."""

CONNECT_SECONDS: Final = 2.0  # of each host by itself: a frozen one must not hide the new primary
_RETRY_SECONDS: Final = 5
_NOT_SERVED_SECONDS: Final = 30
_FIXED: Final = 3  # two for the groups of deliveries and of acknowledgements, one that listens
APPLICATION_NAME: Final = "inbox-server"
_NAME_LENGTH: Final = 63  # PostgreSQL cuts a longer one off
_TIMELINE: Final = "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint"
_IDENTIFIER: Final = "SELECT system_identifier FROM pg_control_system()"
SETTINGS: Final = {
    # One plan for all groups, whatever their size; a plan of its own for each takes longer than the group.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "jit": "off",
    "synchronous_commit": "on",  # an answer means that it is on disk, and on the standby where there is one
    "default_transaction_isolation": "read committed",  # what was waited for under a lock is seen
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "5s",
}


def unavailable(failure: BaseException) -> Unavailable:
    if isinstance(failure, NotServed):
        detail = "This server's database was moved, or a copy was put back. Its log tells the operator what to do."
        return Unavailable("moving", detail, retry_after=_NOT_SERVED_SECONDS)
    return Unavailable("storage_full", "The server's database cannot be reached right now.", retry_after=_RETRY_SECONDS)


@dataclass(frozen=True, slots=True)
class Found:
    """A connection to the primary, and its timeline, which is higher after each failover."""

    connection: Connection
    timeline: int


@dataclass(slots=True)
class Newest:
    """The timeline of the last primary that was found, and why it was refused, if it was."""

    timeline: int = 0
    refused: NotServed | None = None


async def _admit(_: Connection) -> None:
    """A command looks by itself."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where a database is: a URL with one or several hosts, and the password if it is not in the URL.

    `connections` is how many a store may have, 6 at least: three of its own, and those of `readers` and `writers`.
    `admit` is asked with each new connection and every two seconds, and raises `NotServed`: while a process could not
    reach its database, it may have become one that no server may use.
    """

    url: str = field(repr=False)
    password: str | None = field(default=None, repr=False)
    connections: int = 8
    newest: Newest = field(default_factory=Newest, compare=False)
    admit: Callable[[Connection], Awaitable[None]] = field(default=_admit, compare=False)

    @property
    def writers(self) -> int:
        return (self.connections - _FIXED) * 2 // 5

    @property
    def readers(self) -> int:
        return self.connections - _FIXED - self.writers

    def hosts(self) -> list[tuple[str, int]]:
        """Each host and port, in the order of the URL. A host that begins with a slash is a folder of Unix sockets."""
        places = urlsplit(self.url).netloc.rpartition("@")[2].split(",")
        found = [re.fullmatch(r"(\[.*\]|[^:]*)(?::([0-9]+))?", place) for place in places]
        return [(unquote(each[1].strip("[]")) or "localhost", int(each[2] or 5432)) for each in found if each]

    def places(self) -> str:
        """The hosts, for a person to read."""
        return ", ".join(f"{host}:{port}" for host, port in self.hosts())

    def session_name(self) -> str:
        """What PostgreSQL shows our sessions as; those of another server may be in another schema of the database."""
        schema = dict(parse_qsl(urlsplit(self.url).query)).get("search_path", "")
        return f"{APPLICATION_NAME} {schema}".rstrip()[:_NAME_LENGTH]

    async def connect(self, **settings: str) -> Connection:
        """As `find`, for who does not keep the connection."""
        return (await self.find(**settings)).connection

    async def find(self, **settings: str) -> Found:
        """A connection to the primary. Raises one of `Failure`.

        All hosts are asked at the same time, each with a time of its own. asyncpg's own search asks them in turn, and
        its time is for all together. A primary that was frozen while another took its place still believes that it is
        one, until somebody tells it: its timeline is the old one, so it is taken only if there is no other.
        """
        asking = [asyncio.ensure_future(self._connect_to(*place, settings)) for place in self.hosts()]
        found: Found | None = None
        failures: list[BaseException] = []
        try:
            for answer in asyncio.as_completed(asking):
                try:
                    one = await answer
                except Failure as error:
                    failures.append(error)
                else:
                    found = max(found or one, one, key=lambda each: each.timeline)
                    if found.timeline >= self.newest.timeline:
                        break
        finally:
            for each in asking:
                each.add_done_callback(partial(_close, unless=found))
        if found:
            self.newest.timeline = found.timeline
            await self.ask_to_admit(found.connection)
            return found
        # What PostgreSQL itself says is worth more than that a host is down.
        raise next((each for each in failures if isinstance(each, asyncpg.PostgresError)), failures[0])

    async def count_databases(self) -> int:
        """Of how many the hosts are primaries. During a failover several may say that they are, of the same one."""
        if len(self.hosts()) == 1:
            return 1
        found = await asyncio.gather(*(self._identify(*place) for place in self.hosts()))
        return len(set(found) - {None})

    async def _identify(self, host: str, port: int) -> int | None:
        """What the primary there has in common with its standbys, and with no other; None without one."""
        with contextlib.suppress(*Failure):
            connection = (await self._connect_to(host, port, {})).connection
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    identifier: int = await connection.fetchval(_IDENTIFIER)
                    return identifier
            finally:
                connection.terminate()
        return None

    async def ask_to_admit(self, connection: Connection) -> None:
        """Raises one of `Failure`, and closes the connection. Of `NotServed`, all other links learn as well."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self.admit(connection)
            self.newest.refused = None
        except BaseException as error:
            self.newest.refused = error if isinstance(error, NotServed) else None
            connection.terminate()
            raise

    async def _connect_to(self, host: str, port: int, settings: dict[str, str]) -> Found:
        connection: Connection = await asyncpg.connect(
            self.url,
            host=host,
            port=port,
            password=self.password,
            timeout=CONNECT_SECONDS,
            target_session_attrs=SessionAttribute.primary,
            server_settings={**SETTINGS, "application_name": self.session_name(), **settings},
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return Found(connection, await connection.fetchval(_TIMELINE))
        except BaseException:
            connection.terminate()
            raise


def _close(connecting: "asyncio.Future[Found]", unless: Found | None) -> None:
    """Two hosts can both say that they are the primary, for a moment: one of them is used."""
    with contextlib.suppress(*Failure, asyncio.CancelledError):
        if (found := connecting.result()) is not unless:
            found.connection.terminate()
