"""A PostgreSQL database as a migration sees it (`store/migrating.py`)."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final

from inbox_server.clock import Clock, system_clock
from inbox_server.identity.layer import Layers
from inbox_server.store.contract import BadDatabase
from inbox_server.store.migrating import AGAIN, Mark
from inbox_server.store.postgres.opening import connected, prepare, read_mark
from inbox_server.store.postgres.primary import APPLICATION_NAME, Cluster, Connection
from inbox_server.store.postgres.restored import mark_restored
from inbox_server.store.postgres.sealing import Sealing
from inbox_server.store.postgres.whole_inboxes import next_batch, read_inboxes, read_rest, write_inboxes, write_rest
from inbox_server.store.whole_inbox import Rest, WholeInbox

_ENDING_SECONDS: Final = 3  # what was killed may still be there for a moment
_LOOK_SECONDS: Final = 0.1
_OTHERS: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND (application_name = ANY ($1) OR starts_with(application_name, $2))"
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
    async with connected(cluster, then=AGAIN, idle_in_transaction_session_timeout="0") as db:
        if not new and await db.fetchval("SELECT to_regclass('inbox') IS NULL"):
            raise BadDatabase(f"There are no tables of this server in the database at {cluster.places()}.")
        prepared = await prepare(db, day_keys_file, check_value, layers, clock(), secrets.token_bytes, migrating=True)
        if await db.fetchval("SELECT EXISTS (SELECT FROM shard)"):
            raise BadDatabase(f"The database at {cluster.places()} is one of several clusters, and cannot be moved so.")
        yield PostgresDatabase(db, Sealing(prepared.keys), cluster)


class PostgresDatabase:
    """Implements `migrating.Database`."""

    def __init__(self, db: Connection, sealing: Sealing, cluster: Cluster) -> None:
        self.place = f"PostgreSQL at {cluster.places()}"
        self._db = db
        self._sealing = sealing
        self._name = cluster.session_name()

    async def mark(self) -> Mark | None:
        return await read_mark(self._db)

    async def set_mark(self, mark: Mark | None) -> None:
        async with self._db.transaction():
            await self._db.execute("DELETE FROM migration")
            if mark:
                await self._db.execute("INSERT INTO migration VALUES (1, $1, $2)", mark.id, mark.state)

    async def check_unused(self) -> None:
        """Also by a command, or another migration; what is in other schemas of the database is somebody else's."""
        names = [APPLICATION_NAME, self._name], APPLICATION_NAME if self._name == APPLICATION_NAME else None
        end = time.monotonic() + _ENDING_SECONDS
        while await self._db.fetchval(_OTHERS, *names):
            if time.monotonic() > end:
                raise BadDatabase(f"{self.place} is in use by a server or a command. Stop all of them first.")
            await asyncio.sleep(_LOOK_SECONDS)

    async def holdings(self) -> int:
        count: int = await self._db.fetchval(
            "SELECT (SELECT count(*) FROM inbox) + (SELECT count(*) FROM invite) + (SELECT count(*) FROM suspended)"
        )
        return count

    async def secret_check(self) -> tuple[bytes, ...]:
        return tuple(row[0] for row in await self._db.fetch("SELECT value FROM secret_check ORDER BY value"))

    async def set_secret_check(self, values: tuple[bytes, ...]) -> None:
        async with self._db.transaction():
            await self._db.execute("DELETE FROM secret_check")
            await self._db.executemany("INSERT INTO secret_check VALUES ($1)", [(value,) for value in values])

    async def last_inbox(self) -> bytes:
        last: bytes | None = await self._db.fetchval("SELECT inbox FROM inbox ORDER BY inbox DESC LIMIT 1")
        return last or b""

    async def next_batch(self, after: bytes) -> bytes | None:
        return await next_batch(self._db, after)

    async def read(self, after: bytes, last: bytes) -> Sequence[WholeInbox]:
        async with self._db.transaction(isolation="repeatable_read", readonly=True):
            return await read_inboxes(self._db, self._sealing, after, last)

    async def write(self, inboxes: Sequence[WholeInbox]) -> None:
        async with self._db.transaction():
            await write_inboxes(self._db, self._sealing, inboxes)

    async def read_rest(self) -> Rest:
        return await read_rest(self._db)

    async def write_rest(self, rest: Rest) -> None:
        async with self._db.transaction():
            await write_rest(self._db, rest)

    async def count_inboxes(self) -> int:
        count: int = await self._db.fetchval("SELECT count(*) FROM inbox")
        return count

    async def renew_generations(self, random_bytes: Callable[[int], bytes], day: int) -> None:
        await mark_restored(self._db, day=day, settings_only=False, random_bytes=random_bytes)
