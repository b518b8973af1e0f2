"""A SQLite database as a migration sees it (`store/migrating.py`). The lock of its directory keeps servers out."""

import contextlib
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from inbox_server.identity.layer import Layers
from inbox_server.store.contract import BadDatabase
from inbox_server.store.migrating import AGAIN, Mark
from inbox_server.store.sqlite.backup import renew_generations
from inbox_server.store.sqlite.database import Connection
from inbox_server.store.sqlite.files import keep_owner, make_private
from inbox_server.store.sqlite.opening import DATABASE_NAME, only_server, open_marked, read_mark
from inbox_server.store.sqlite.recent_uses import RecentUses
from inbox_server.store.sqlite.slots import Slots
from inbox_server.store.sqlite.whole_inboxes import next_batch, read_inboxes, read_rest, write_inboxes, write_rest
from inbox_server.store.whole_inbox import Rest, WholeInbox

T = TypeVar("T")


@contextlib.asynccontextmanager
async def open_for_migration(
    folder: Path, *, check_value: bytes, layers: Layers, new: bool
) -> AsyncIterator["SqliteDatabase"]:
    """The database in `folder`; with `new`, an empty one if there is none. Raises `BadDatabase`."""
    _prepare(folder, new=new)
    with only_server(folder):
        async with open_marked(folder, check_value, layers, secrets.token_bytes) as (connection, _):
            database = SqliteDatabase(connection, str(folder / DATABASE_NAME))
            await database.put_in_order()
            yield database


def _prepare(folder: Path, *, new: bool) -> None:
    """See that there is a database, or make a directory for a new one."""
    is_there = folder.exists()
    if new:
        make_private(folder)
    elif not (folder / DATABASE_NAME).exists():
        raise BadDatabase(f"There is no database in {folder}.")
    if not is_there:
        keep_owner(folder, folder.parent)


class SqliteDatabase:
    """Implements `migrating.Database`."""

    def __init__(self, connection: Connection, place: str) -> None:
        self.place = place
        self._connection = connection
        self._slots = Slots()

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """In one transaction."""

        def whole(db: sqlite3.Connection) -> T:
            db.execute("BEGIN IMMEDIATE")
            try:
                outcome = work(db)
                db.execute("COMMIT")
            except BaseException:
                self._slots.forget()
                if db.in_transaction:  # SQLite has already rolled back when the disk is full
                    db.execute("ROLLBACK")
                raise
            return outcome

        try:
            return await self._connection.run(whole)
        except sqlite3.Error as error:
            raise BadDatabase(f"{self.place} could not be used: {error}. Has its disk room? {AGAIN}") from error

    async def put_in_order(self) -> None:
        """See that sheets say all that was used of them."""
        await self._run(RecentUses().empty)

    async def mark(self) -> Mark | None:
        return await self._run(read_mark)

    async def set_mark(self, mark: Mark | None) -> None:
        def write(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM migration")
            if mark:
                db.execute("INSERT INTO migration (one, mark, state) VALUES (1, ?, ?)", (mark.id, mark.state))

        await self._run(write)

    async def check_unused(self) -> None:
        """The lock is held from opening to the end."""

    async def holdings(self) -> int:
        select = (
            "SELECT (SELECT count(*) FROM inbox) + (SELECT count(*) FROM invite) + (SELECT count(*) FROM suspended)"
        )
        count: int = await self._run(lambda db: db.execute(select).fetchone()[0])
        return count

    async def secret_check(self) -> tuple[bytes, ...]:
        select = "SELECT value FROM secret_check ORDER BY value"
        return tuple(value for (value,) in await self._run(lambda db: db.execute(select).fetchall()))

    async def set_secret_check(self, values: tuple[bytes, ...]) -> None:
        def write(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM secret_check")
            db.executemany("INSERT INTO secret_check (value) VALUES (?)", ((value,) for value in values))

        await self._run(write)

    async def last_inbox(self) -> bytes:
        select = "SELECT coalesce(max(inbox), x'') FROM inbox"
        last: bytes = await self._run(lambda db: db.execute(select).fetchone()[0])
        return last

    async def next_batch(self, after: bytes) -> bytes | None:
        return await self._run(lambda db: next_batch(db, after))

    async def read(self, after: bytes, last: bytes) -> Sequence[WholeInbox]:
        return await self._run(lambda db: read_inboxes(db, after, last))

    async def write(self, inboxes: Sequence[WholeInbox]) -> None:
        await self._run(lambda db: write_inboxes(db, self._slots, inboxes))

    async def read_rest(self) -> Rest:
        return await self._run(read_rest)

    async def write_rest(self, rest: Rest) -> None:
        await self._run(lambda db: write_rest(db, rest))

    async def count_inboxes(self) -> int:
        count: int = await self._run(lambda db: db.execute("SELECT count(*) FROM inbox").fetchone()[0])
        return count

    async def renew_generations(self, random_bytes: Callable[[int], bytes], day: int) -> None:
        await self._run(lambda db: renew_generations(db, random_bytes, day))
