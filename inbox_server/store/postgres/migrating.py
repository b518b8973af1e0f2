"""A PostgreSQL database as a migration sees it (`store/migrating.py`)."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from inbox_server.clock import Clock, system_clock
from inbox_server.identity.layer import Layers
from inbox_server.store.contract import BadDatabase
from inbox_server.store.migrating import AGAIN, Mark
from inbox_server.store.postgres.opening import check_hosts, connected, failed, prepare
from inbox_server.store.postgres.primary import APPLICATION_NAME, Cluster, Connection, Failure
from inbox_server.store.postgres.restored import mark_restored
from inbox_server.store.postgres.sealing import Sealing
from inbox_server.store.postgres.usable import read_mark
from inbox_server.store.postgres.whole_inboxes import next_batch, read_inboxes, read_rest, write_inboxes, write_rest
from inbox_server.store.whole_inbox import Rest, WholeInbox

T = TypeVar("T")

_ENDING_SECONDS: Final = 3  # what was killed may still be there for a moment
_LOOK_SECONDS: Final = 0.1
_OTHERS: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND (application_name = ANY ($1) OR starts_with(application_name, $2))"
)

_HAS_NOT_ALL: Final = (
    "SELECT EXISTS (SELECT FROM away) OR EXISTS"
    " (SELECT FROM shard WHERE target IS NOT NULL OR cluster IS DISTINCT FROM (SELECT id FROM cluster))"
)


@contextlib.asynccontextmanager
async def open_for_migration(
    cluster: Cluster,
    *,
    day_keys_file: Path,
    check_value: bytes,
    layers: Layers,
    new: bool,
    clock: Clock = system_clock,
) -> AsyncIterator["PostgresDatabase"]:
    """The database at `cluster`; with `new`, its tables are made if there are none. Raises `BadDatabase`."""
    await check_hosts(cluster)
    async with connected(cluster, idle_in_transaction_session_timeout="0") as db:
        if not new and await db.fetchval("SELECT to_regclass('inbox') IS NULL"):
            raise BadDatabase(f"PostgreSQL at {cluster.places()} has no tables of this server.")
        prepared = await prepare(db, day_keys_file, check_value, layers, clock(), secrets.token_bytes, migrating=True)
        if await db.fetchval(_HAS_NOT_ALL):
            raise BadDatabase(
                f"PostgreSQL at {cluster.places()} is one of several clusters. Bring all shards into the first one,"
                " with `inbox-server shard move`, and migrate that one: docs/postgresql.md, Shards"
            )
        yield PostgresDatabase(db, Sealing(prepared.keys), cluster)


class PostgresDatabase:
    """Implements `migrating.Database`."""

    def __init__(self, db: Connection, sealing: Sealing, cluster: Cluster) -> None:
        self.place = f"PostgreSQL at {cluster.places()}"
        self._db = db
        self._sealing = sealing
        self._cluster = cluster

    async def _run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """In one transaction."""
        try:
            async with self._db.transaction():
                return await work(self._db)
        except Failure as error:
            raise failed([self._cluster], error, AGAIN) from error

    async def mark(self) -> Mark | None:
        return await self._run(read_mark)

    async def set_mark(self, mark: Mark | None) -> None:
        async def write(db: Connection) -> None:
            await db.execute("DELETE FROM migration")
            if mark:
                await db.execute("INSERT INTO migration VALUES (1, $1, $2)", mark.id, mark.state)

        await self._run(write)

    async def check_unused(self) -> None:
        """Also by a command, or another migration; what is in other schemas of the database is somebody else's."""
        name = self._cluster.session_name()
        names = [APPLICATION_NAME, name], APPLICATION_NAME if name == APPLICATION_NAME else None
        end = time.monotonic() + _ENDING_SECONDS
        while await self._run(lambda db: db.fetchval(_OTHERS, *names)):
            if time.monotonic() > end:
                raise BadDatabase(f"{self.place} is in use by a server or a command. Stop all of them first.")
            await asyncio.sleep(_LOOK_SECONDS)

    async def holdings(self) -> int:
        return await self._number(
            "SELECT (SELECT count(*) FROM inbox) + (SELECT count(*) FROM invite) + (SELECT count(*) FROM suspended)"
        )

    async def count_inboxes(self) -> int:
        return await self._number("SELECT count(*) FROM inbox")

    async def _number(self, select: str) -> int:
        return int(await self._run(lambda db: db.fetchval(select)))

    async def secret_check(self) -> tuple[bytes, ...]:
        rows = await self._run(lambda db: db.fetch("SELECT value FROM secret_check ORDER BY value"))
        return tuple(row[0] for row in rows)

    async def set_secret_check(self, values: tuple[bytes, ...]) -> None:
        async def write(db: Connection) -> None:
            await db.execute("DELETE FROM secret_check")
            await db.executemany("INSERT INTO secret_check VALUES ($1)", [(value,) for value in values])

        await self._run(write)

    async def last_inbox(self) -> bytes:
        select = "SELECT inbox FROM inbox ORDER BY inbox DESC LIMIT 1"
        return await self._run(lambda db: db.fetchval(select)) or b""

    async def next_batch(self, after: bytes) -> bytes | None:
        return await self._run(lambda db: next_batch(db, after))

    async def read(self, after: bytes, last: bytes) -> Sequence[WholeInbox]:
        return await self._run(lambda db: read_inboxes(db, self._sealing, after, last))

    async def write(self, inboxes: Sequence[WholeInbox]) -> None:
        await self._run(lambda db: write_inboxes(db, self._sealing, inboxes))

    async def read_rest(self) -> Rest:
        return await self._run(read_rest)

    async def write_rest(self, rest: Rest) -> None:
        await self._run(lambda db: write_rest(db, rest))

    async def renew_generations(self, random_bytes: Callable[[int], bytes], day: int) -> None:
        """In several transactions; if it is broken off, it goes on when it is called again."""
        await mark_restored(self._db, day=day, settings_only=False, random_bytes=random_bytes)
