"""Opening the database: one server a directory, the right secret, the schema up to date."""

import contextlib
import fcntl
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from inbox_server.clock import UnixTime
from inbox_server.store.database import (
    BadDatabase,
    Connection,
    make_private,
    open_connection,
    schema_steps,
    sync,
    upgrade,
)
from inbox_server.store.reader import Reader
from inbox_server.store.sqlite import Quota, SqliteStore
from inbox_server.store.standings import Standings
from inbox_server.store.writer import Writer

DATABASE_NAME: Final = "inbox.sqlite3"
_RESTORE: Final = "move what is there away and use `inbox-server restore`"


@contextlib.asynccontextmanager
async def open_store(folder: Path, *, check_value: bytes, quota: Quota) -> AsyncIterator[SqliteStore]:
    """Open or make the database in `folder` for as long as the context lasts. Raises `BadDatabase`."""
    make_private(folder)
    standings = Standings()
    with only_server(folder):
        async with (
            _open_database(folder, check_value) as connection,
            open_connection(folder / DATABASE_NAME, read_only=True) as second,
            Reader(second) as reader,
            Writer(connection, standings.changed) as writer,
        ):
            yield SqliteStore(reader, writer, standings, quota)


async def add_invite(folder: Path, code: bytes, *, expires: UnixTime, check_value: bytes) -> None:
    """Remember an invite, beside a running server or without one. Raises `BadDatabase`."""
    make_private(folder)
    async with _open_database(folder, check_value) as connection:
        await connection.run(lambda db: db.execute("INSERT INTO invite (code, expires) VALUES (?, ?)", (code, expires)))


@contextlib.asynccontextmanager
async def _open_database(folder: Path, check_value: bytes) -> AsyncIterator[Connection]:
    path = folder / DATABASE_NAME
    if not path.exists():
        await _make(path)
    check_file(path, check_value)
    async with open_connection(path) as connection:
        await upgrade(connection, path)
        await connection.run(lambda db: db.execute("INSERT OR IGNORE INTO secret_check VALUES (?)", (check_value,)))
        yield connection


async def _make(path: Path) -> None:
    """An empty database, which gets its name when it is whole: one that has the name and is empty lost something."""
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        raise BadDatabase(f"{path} is gone, but {log.name} holds what was written last. Put both back, or {_RESTORE}.")
    new = path.with_name(f"{path.name}.new")
    for left in path.parent.glob(f"{new.name}*"):  # by a start that was broken off
        left.unlink()
    new.touch(mode=0o600)
    async with open_connection(new) as connection:
        await upgrade(connection, new)
    new.rename(path)
    sync(path.parent)


@contextlib.contextmanager
def only_server(folder: Path) -> Iterator[None]:
    """One process serves a data directory: two would each answer for what the other does not know."""
    path = folder / "lock"
    path.touch(mode=0o600)
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadDatabase(f"{folder} is in use by another inbox-server. Stop that one first.") from None
        yield


def check_file(path: Path, check_value: bytes) -> None:
    """Refuse a file that is not ours, and change nothing: not even its log is merged. Raises `BadDatabase`."""
    if not path.stat().st_size:
        raise BadDatabase(f"{path} is empty, which no database of this server is. Put it back, or {_RESTORE}.")
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > len(schema_steps()):
                raise BadDatabase(f"{path} was written by a newer version of inbox-server. Install that version again.")
            kept = db.execute("SELECT value FROM secret_check").fetchall() if version else []
    except sqlite3.Error as error:
        raise BadDatabase(
            f"{path} is not this server's database: {error}. It was left as it is. Put it back, or {_RESTORE}."
        ) from error
    if kept and kept != [(check_value,)]:
        raise BadDatabase(
            "The secret is not the one that this database was made with; nothing in it would be found."
            " Put the right secret file back, or start with an empty data directory."
        )
