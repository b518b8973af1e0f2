"""Whether a server may use a database: at its start, with each new connection, and every two seconds.

While a process cannot reach its database, that may become one that it must not use. What it wrote there would be lost.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from inbox_server.errors import CommandFailed
from inbox_server.store.contract import BadDatabase
from inbox_server.store.migrating import Mark, refuse_marked
from inbox_server.store.postgres.day_check import Check, check_day_keys
from inbox_server.store.postgres.day_keys import DayKeys
from inbox_server.store.postgres.primary import Connection, NotServed
from inbox_server.store.postgres.restored import check_home

_OF_SEVERAL: Final = "This database is one of several clusters. Name them all in store.urls, and restart the server."


class Admitting:
    """Called with a connection: raises `NotServed` for what came over a database since it was prepared."""

    def __init__(self, keys: DayKeys, check: Callable[[Connection], Awaitable[None]] | None) -> None:
        self._keys = keys
        self._check = check
        self._known: Sequence[Check] = ()

    async def __call__(self, db: Connection) -> None:
        try:
            await check_usable(db)
            self._known = await check_day_keys(db, self._keys, self._known)
            if self._check:
                await self._check(db)
        except CommandFailed as error:
            raise NotServed(str(error)) from None


async def check_usable(db: Connection) -> None:
    """Raises `BadDatabase` for one that is part of a migration, or was, and after a dump was put back."""
    refuse_moved(await read_mark(db))
    await check_home(db)


async def check_alone(db: Connection) -> None:
    """Raises `BadDatabase` when some shards are in another cluster: their inboxes would be taken for unknown."""
    if await db.fetchval("SELECT EXISTS (SELECT FROM away)"):
        raise BadDatabase(_OF_SEVERAL)


def refuse_moved(mark: Mark | None) -> None:
    refuse_marked(mark, "The PostgreSQL database")


async def read_mark(db: Connection) -> Mark | None:
    """What the database says of a migration."""
    row = await db.fetchrow("SELECT mark, state FROM migration")
    return None if row is None else Mark(*row)
