"""Links to the database: connections that are made again when they are lost, and how work is done on them.

Work that commits is never cancelled: a cancelled commit may have been done, and what waits for a standby is then seen
before the standby has it. Who does not wait any longer closes the connection from this side: then what the standby has
not confirmed stays invisible, and a repeat waits for it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeVar

import asyncpg

from inbox_server.errors import Unavailable
from inbox_server.store.postgres.primary import CONNECT_SECONDS, Cluster, Connection, Failure, NotServed, unavailable

T = TypeVar("T")
Work = Callable[[Connection], Awaitable[T]]
"""What to do on a connection that nobody else uses meanwhile."""

ANSWER_SECONDS: Final = 5.0
ATTEMPTS: Final = 5
AGAIN: Final = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
)
_QUIET_SECONDS: Final = 60
_SESSION: Final = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_IS_KNOWN: Final = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2)"

log = logging.getLogger(__name__)


class Link:
    """One connection to the primary, made when it is needed."""

    def __init__(self, cluster: Cluster, *, seconds: float = ANSWER_SECONDS) -> None:
        self._cluster = cluster
        self._seconds = seconds
        self._connection: Connection | None = None
        self._timeline = 0

    async def run(self, work: Work[T]) -> T:
        """Do work. It may have been done although this raises one of `Failure`; its other exceptions pass through."""
        connection = await self._connected()
        doing = asyncio.ensure_future(work(connection))
        await asyncio.wait([doing], timeout=self._seconds)
        if not doing.done():
            self._drop()
            doing.add_done_callback(_forget)
            raise TimeoutError("the database did not answer")
        try:
            return doing.result()
        except Failure as error:
            if connection.is_closed() or not _is_of_work(error):
                self._drop()
            raise

    async def read(self, work: Work[T]) -> T:
        """As `run`, for work that commits nothing: it costs less, and ends when its caller does."""
        connection = await self._connected()
        try:
            async with asyncio.timeout(self._seconds):
                return await work(connection)
        except (*Failure, asyncio.CancelledError) as error:
            if connection.is_closed() or not _is_of_work(error):
                self._drop()
            raise

    async def _connected(self) -> Connection:
        """One from before a failover is not used any more: it may lead to a primary that has not heard of it.

        Nor is any while we are refused; who listens sees when that is over.
        """
        if refused := self._cluster.newest.refused:
            self._drop()
            raise refused
        if self._timeline != self._cluster.newest.timeline:
            self._drop()
        if self._connection is None or self._connection.is_closed():
            found = await self._cluster.find()
            self._connection, self._timeline = found.connection, found.timeline
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*Failure):
                await connection.close(timeout=CONNECT_SECONDS)


def _forget(doing: "asyncio.Future[Any]") -> None:
    if not doing.cancelled():
        doing.exception()


def _is_of_work(error: BaseException) -> bool:
    """Whether the connection is as good as before: PostgreSQL itself refused a statement, on a primary."""
    is_answer = isinstance(error, asyncpg.PostgresError)
    return is_answer and not isinstance(
        error,
        (
            asyncpg.ReadOnlySQLTransactionError,  # it is a standby now
            asyncpg.PostgresConnectionError,
            asyncpg.OperatorInterventionError,
            asyncpg.InterfaceError,
        ),
    )


class Links:
    """A few links, of which each work takes one."""

    def __init__(self, cluster: Cluster, count: int, what: str, *, look_seconds: float = ANSWER_SECONDS) -> None:
        self._cluster = cluster
        self._look_seconds = look_seconds
        self._links = [Link(cluster) for _ in range(count)]
        self._free: asyncio.LifoQueue[Link] = asyncio.LifoQueue()
        for link in self._links:
            self._free.put_nowait(link)
        self._doing: set[asyncio.Future[Any]] = set()
        self.health = Health(what)

    async def run(self, work: Work[T]) -> T:
        """What `work` returns. It is done again from the start when PostgreSQL says so. Raises `Unavailable`.

        A caller that is cancelled does not cancel it.
        """
        doing = asyncio.ensure_future(self._run(work))
        self._doing.add(doing)
        doing.add_done_callback(self._done)
        return await asyncio.shield(doing)

    def _done(self, doing: "asyncio.Future[Any]") -> None:
        self._doing.discard(doing)
        _forget(doing)

    async def _run(self, work: Work[T]) -> T:
        async with self._one() as link:
            try:
                for _ in range(ATTEMPTS - 1):
                    with contextlib.suppress(*AGAIN):
                        return self.health.worked(await link.run(work))
                return self.health.worked(await link.run(work))
            except Failure as error:
                self.health.failed(error)
                raise unavailable(error) from error

    async def read(self, work: Work[T]) -> T:
        """What `work`, which only reads, returns. Raises `Unavailable`."""
        async with self._one() as link:
            try:
                return self.health.worked(await link.read(work))
            except Failure as error:
                self.health.failed(error)
                raise unavailable(error) from error

    async def transaction(self, work: Work[T]) -> T:
        """As `run`, and all of it at once or nothing. `Refused` leaves everything as it was."""

        async def whole(connection: Connection) -> T:
            async with connection.transaction():
                return await work(connection)

        return await self.run(whole)

    @contextlib.asynccontextmanager
    async def apart(self, **settings: str) -> AsyncIterator[Connection]:
        """A connection of its own, for what may take longer than others shall wait. Raises `Unavailable`."""
        try:
            connection = await self._cluster.connect(**settings)
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    session = await connection.fetchrow(_SESSION)
                watching = asyncio.ensure_future(self._watch(connection, *(session or ())))
                try:
                    yield connection
                    await connection.close(timeout=CONNECT_SECONDS)
                finally:
                    watching.cancel()
            finally:
                connection.terminate()
        except Failure as error:
            self.health.failed(error)
            raise unavailable(error) from error

    async def _watch(self, connection: Connection, *session: object) -> None:
        """End a connection that PostgreSQL knows no more: a host that has lost its power never says so."""
        is_known = True
        while is_known:
            await asyncio.sleep(self._look_seconds)
            try:
                is_known = await self.read(lambda db: db.fetchval(_IS_KNOWN, *session))
            except Unavailable:
                is_known = False
        connection.terminate()

    @contextlib.asynccontextmanager
    async def _one(self) -> AsyncIterator[Link]:
        link = await self._free.get()
        try:
            yield link
        finally:
            self._free.put_nowait(link)

    async def close(self) -> None:
        """Finish what was begun, then stop."""
        if self._doing:
            await asyncio.wait(self._doing)
        for link in self._links:
            await link.close()


class Health:
    """Of `what`, such as "writing": logged for the operator when it fails, and when it works again."""

    def __init__(self, what: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.failing = False
        self._what = what
        self._monotonic = monotonic
        self._told_at = -_QUIET_SECONDS * 1.0
        self._told = ""

    def failed(self, error: BaseException) -> None:
        now, state = self._monotonic(), getattr(error, "sqlstate", None)
        must_act = isinstance(error, NotServed)  # the operator: it does not come and go
        why = str(error) if must_act else f"{type(error).__name__} {state or ''}".strip()
        if not self.failing or (must_act and why != self._told) or now - self._told_at > _QUIET_SECONDS:
            self._told_at, self._told = now, why
            log.error("%s PostgreSQL fails: %s", self._what, why)
        self.failing = True

    def worked(self, outcome: T) -> T:
        """The same outcome."""
        if self.failing:
            log.info("%s PostgreSQL works again", self._what)
        self.failing = False
        return outcome
