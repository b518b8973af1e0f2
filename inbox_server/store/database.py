"""The database file under asyncio: its thread, its pragmas, its schema."""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from importlib import resources
from pathlib import Path
from typing import Final, TypeVar, cast

import aiosqlite

T = TypeVar("T")

BUSY_TIMEOUT_MS: Final = 5000  # `inbox-server invite` writes from another process


class BadDatabase(Exception):
    """The database file must not be used; the message says why and what to do."""


class Connection(aiosqlite.Connection):
    """aiosqlite's thread, given a whole function instead of one statement at a time.

    A subclass, against the style's rule, because aiosqlite offers this only to subclasses (`_execute`); the
    alternative is a thread hop for every statement, 60 µs each (docs/decisions/0002-one-writer.md).
    """

    async def end_thread(self) -> None:
        """Wait for the thread of a connection that could not be opened; aiosqlite only tells it to stop."""
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return cast("T", await self._execute(lambda: work(self._conn)))  # type: ignore[no-untyped-call]


@contextlib.asynccontextmanager
async def open_connection(path: Path, *, read_only: bool = False) -> AsyncIterator[Connection]:
    """A connection with every pragma that the promises rest on. Raises `BadDatabase`."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            _prepare(connection, read_only=read_only)
        except BaseException:
            connection.close()
            raise
        return connection

    connection = Connection(connect, iter_chunk_size=64)
    try:
        await connection
    except sqlite3.Error as error:
        await connection.end_thread()
        raise BadDatabase(f"{path} cannot be opened as a database: {error}. It was left as it is.") from error
    try:
        yield connection
    finally:
        await connection.close()


def _prepare(connection: sqlite3.Connection, *, read_only: bool) -> None:
    new = connection.execute("PRAGMA page_count").fetchone() == (0,)
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        *(["auto_vacuum=INCREMENTAL"] if new else []),  # heeded only then, and it writes to the file each time
        "journal_mode=WAL",
        "cache_size=-16384",  # KiB; SQLite's own 2 MiB do not hold the trees of a few thousand inboxes
        "synchronous=FULL",  # a commit is on disk before it is answered
        "secure_delete=ON",  # not stored in the file, and off in SQLite's own default build
        "temp_store=MEMORY",  # no copy of anything in a temporary file
        f"query_only={'ON' if read_only else 'OFF'}",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    for pragma, expected in (("journal_mode", "wal"), ("synchronous", 2), ("secure_delete", 1)):
        (actual,) = connection.execute(f"PRAGMA {pragma}").fetchone()
        if actual != expected:
            raise sqlite3.OperationalError(f"this SQLite does not do {pragma}={expected}")


def schema_steps() -> list[str]:
    """The numbered SQL files, in order; the database's user_version counts those that ran."""
    folder = resources.files("inbox_server.store") / "schema"
    return [step.read_text(encoding="utf-8") for step in sorted(folder.iterdir(), key=lambda file: file.name)]


async def upgrade(connection: Connection, path: Path) -> None:
    """Run the schema steps that this file has not seen, after copying it. Raises `BadDatabase`."""
    steps = schema_steps()

    def run(db: sqlite3.Connection) -> None:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if 0 < version < len(steps):
            copy = path.with_name(f"{path.name}.before-step-{version + 1}")
            copy.touch(mode=0o600)
            with contextlib.closing(sqlite3.connect(copy)) as target:
                db.backup(target)
        for number, step in enumerate(steps[version:], version + 1):
            db.executescript(f"BEGIN IMMEDIATE;\n{step}\nPRAGMA user_version={number};\nCOMMIT;")

    try:
        await connection.run(run)
    except sqlite3.Error as error:
        raise BadDatabase(f"{path} could not be brought up to date: {error}. It was left as it is.") from error


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def make_private(folder: Path) -> None:
    """Make a directory that only its owner can read, or take the one that is there. Raises `BadDatabase`."""
    try:
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync(folder.parent)
    except OSError as error:
        raise BadDatabase(f"{folder} cannot be made: {error.strerror}. Make it, or set server.data_dir.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadDatabase(f"{folder} cannot be written. Give it to the user that runs the server.")
