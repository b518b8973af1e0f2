"""The database file under asyncio: its thread, its pragmas, its schema."""

import asyncio
import contextlib
import itertools
import os
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Final, TypeVar, cast

import aiosqlite

from inbox_server.inbox_log import next_head
from inbox_server.store.contract import BadDatabase
from inbox_server.store.sqlite.files import keep_owner, new_file
from inbox_server.store.texts import base64url

T = TypeVar("T")

RESERVE_BYTES: Final = 16 << 20  # of a small disk a quarter; the log has about 4 MB before it is copied
BUSY_TIMEOUT_MS: Final = 5000  # `inbox-server invite` writes from another process


class Connection(aiosqlite.Connection):
    """aiosqlite's thread, given a whole function instead of one statement at a time.

    A subclass, against the style's rule, because aiosqlite offers this only to subclasses (`_execute`); the
    alternative is a thread hop for every statement, 60 µs each (docs/decisions/0002-one-writer.md).
    """

    opened: tuple[Path, os.stat_result] | None = None

    def in_place(self) -> bool:
        """Whether the file that was opened still has its name. What is written to one without a name is lost."""
        if self.opened is None:
            return True
        path, file = self.opened
        try:
            return os.path.samestat(file, path.stat())
        except OSError:
            return False

    def has_reserve(self) -> bool:
        """Whether the disk has more left than erasing may need: the log first grows by what then becomes free."""
        if self.opened is None:
            return True
        left, reserve = room(self.opened[0].parent)
        return not reserve or left > reserve

    async def end_thread(self) -> None:
        """Wait for the thread of a connection that could not be opened; aiosqlite only tells it to stop."""
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return cast("T", await self._execute(lambda: work(self._conn)))  # type: ignore[no-untyped-call]


def room(folder: Path) -> tuple[int, int]:
    """Bytes that the disk of `folder` has left, and how many of them are kept back; 0 where a disk has no size."""
    disk = os.statvfs(folder)
    size, left = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    return left, min(RESERVE_BYTES, size // 4)


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
        connection.opened = path, os.stat(path)  # noqa: PTH116 — a Path's own is thought to block, and this one as little
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
    folder = resources.files("inbox_server.store.sqlite") / "schema"
    return [step.read_text(encoding="utf-8") for step in sorted(folder.iterdir(), key=lambda file: file.name)]


def copy_database(source: sqlite3.Connection, target: Path) -> None:
    """Copy a database as it is at one moment, and read the copy through. Raises `BadDatabase`."""
    try:
        with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy:
            source.backup(copy)
        check_copy(target)
    except sqlite3.Error as error:
        raise BadDatabase(
            f"No copy could be made: {error}. Has the disk that it is written to room, and is the original intact?"
        ) from error


def check_copy(path: Path) -> None:
    """Read a database through that was just written, and leave it as one that can be read without writing beside it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as copy:
        copy.execute("PRAGMA journal_mode=DELETE").fetchall()
        (verdict,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise BadDatabase("The copy is damaged, because the original is. No copy was kept.")


def upgrade_steps(
    db: sqlite3.Connection,
    path: Path,
    steps: Sequence[str],
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if 0 < version < len(steps):
        with new_file(_free_name(path.with_name(f"{path.name}.before-step-{version + 1}"))) as copy:
            copy_database(db, copy)
            keep_owner(copy, path.parent)
    db.create_function("base64url", 1, base64url, deterministic=True)  # SQLite has none, and step 5 needs it
    db.create_function("next_head", 3, next_head, deterministic=True)  # the others are for step 7
    db.create_function("random_bytes", 1, random_bytes)
    db.create_function("random_number", 1, lambda size: int.from_bytes(random_bytes(size), "big"))
    for number, step in enumerate(steps[version:], version + 1):
        db.executescript(f"BEGIN IMMEDIATE;\n{step}\nPRAGMA user_version={number};\nCOMMIT;")


def _free_name(path: Path) -> Path:
    """This name, or with a number behind it, whichever is free: the copies of earlier upgrades are not ours to drop."""
    names = (path.with_name(f"{path.name}.{number}") for number in itertools.count(2))
    return next(name for name in itertools.chain([path], names) if not name.exists())


async def upgrade(
    connection: Connection, path: Path, random_bytes: Callable[[int], bytes] = secrets.token_bytes
) -> None:
    """Run the schema steps that this file has not seen, after copying it. Raises `BadDatabase`."""
    try:
        await connection.run(lambda db: upgrade_steps(db, path, schema_steps(), random_bytes))
    except sqlite3.Error as error:
        raise BadDatabase(f"{path} could not be brought up to date: {error}. It was left as it is.") from error
