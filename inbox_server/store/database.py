"""SQLite under asyncio: units of work on a thread, one writer that commits groups, and the file's own care.

A unit of work is a function of a `sqlite3.Connection`, run whole on the connection's thread, so that no other task's
statements come between its own. One writer task owns the write connection. It takes everything that waits, commits it
as one transaction with `synchronous=FULL`, and only then answers: one fsync serves many deliveries.
"""

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final, Self, TypeVar, cast

import aiosqlite

from inbox_server.errors import Refused, Unavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_BUSY_TIMEOUT_MS: Final = 5000  # `inbox-server invite` writes from another process
_GROUP_LIMIT: Final = 512  # a group's answers wait for its slowest work
_SCRUB_PAUSE_SECONDS: Final = 0.2  # acknowledgements share one checkpoint; the promise is gone within 1 s
_LONGEST_SCRUB_PAUSE_SECONDS: Final = 3.2  # while somebody reads the file
_STORAGE_RETRY_SECONDS: Final = 30

log = logging.getLogger(__name__)


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

    async def run(self, work: Work[T]) -> T:
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
    for pragma in (
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        "auto_vacuum=INCREMENTAL",  # heeded only before the first table is made
        "journal_mode=WAL",
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


@dataclass(frozen=True, slots=True)
class _Job:
    work: Work[Any]
    answer: asyncio.Future[Any]
    erases: bool


class Writer:
    """The one task that writes. `write` returns when the work's group is on disk."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: list[_Job] = []
        self._arrived = asyncio.Event()
        self._erased = asyncio.Event()
        self._closing = False
        self._failing = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._erased.set()  # a crash may have left acknowledged bytes in the write-ahead log
        self._tasks = [asyncio.create_task(self._commit_groups()), asyncio.create_task(self._scrub_remnants())]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish what waits, then stop."""
        self._closing = True
        self._arrived.set()
        commits, scrubs = self._tasks
        await commits
        scrubs.cancel()
        await asyncio.wait([scrubs])
        await self._connection.run(_checkpoint)

    async def write(self, work: Work[T], *, erases: bool = False) -> T:
        """Run `work` in a group's transaction. A caller that is cancelled does not cancel the work.

        `work` raises `Refused` only before it writes. `erases` says that its old bytes must leave the files soon.
        """
        if self._closing:
            raise Unavailable("stopping", "The server is stopping.", retry_after=5)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Job(work, answer, erases))
        self._arrived.set()
        try:
            return cast("T", await answer)
        except sqlite3.Error as error:
            raise Unavailable(
                "storage_full", "The server's disk refused to write.", retry_after=_STORAGE_RETRY_SECONDS
            ) from error

    async def _commit_groups(self) -> None:
        while True:
            await self._arrived.wait()
            group, self._waiting = self._waiting[:_GROUP_LIMIT], self._waiting[_GROUP_LIMIT:]
            if not self._waiting and not self._closing:
                self._arrived.clear()
            if not group:
                return
            await self._commit_group(group)

    async def _commit_group(self, group: list[_Job]) -> None:
        works = [job.work for job in group]
        try:
            outcomes = await self._connection.run(lambda db: _outcomes(db, works))
        except Exception as error:  # noqa: BLE001 — the writer's loop outlives whatever a group meets
            outcomes = [error] * len(group)
        self._tell_health(any(isinstance(outcome, sqlite3.Error) for outcome in outcomes))
        for job, outcome in zip(group, outcomes, strict=True):
            if job.answer.done():  # its caller went away; the work is done all the same
                continue
            if isinstance(outcome, Exception):
                job.answer.set_exception(outcome)
            else:
                job.answer.set_result(outcome)
        if any(job.erases for job in group):
            self._erased.set()

    def _tell_health(self, failing: bool) -> None:
        """One line in the log when writing begins to fail, and one when it works again."""
        if failing != self._failing:
            self._failing = failing
            log.log(logging.ERROR if failing else logging.INFO, "writing %s", "fails" if failing else "works again")

    async def _scrub_remnants(self) -> None:
        """Move erased bytes out of the write-ahead log. `secure_delete` has already blanked them in the pages."""
        pause = _SCRUB_PAUSE_SECONDS
        while True:
            await self._erased.wait()
            self._erased.clear()
            await asyncio.sleep(pause)
            try:
                busy = await self._connection.run(_checkpoint)
            except sqlite3.Error:
                busy = True
            pause = min(2 * pause, _LONGEST_SCRUB_PAUSE_SECONDS) if busy else _SCRUB_PAUSE_SECONDS
            if busy:
                self._erased.set()


def _outcomes(db: sqlite3.Connection, works: Sequence[Work[Any]]) -> list[Any]:
    """The outcome of each work, a value or an exception. A work that fails does not take the others with it."""
    try:
        return _transaction(db, works)
    except Exception as error:  # noqa: BLE001 — a worker's loop: the failure becomes the outcome of the work
        if len(works) == 1:
            return [error]
    return [_outcomes(db, [work])[0] for work in works]


def _transaction(db: sqlite3.Connection, works: Sequence[Work[Any]]) -> list[Any]:
    db.execute("BEGIN IMMEDIATE")
    try:
        outcomes = [_attempt(db, work) for work in works]
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite has already rolled back when the disk is full
            db.execute("ROLLBACK")
        raise
    return outcomes


def _attempt(db: sqlite3.Connection, work: Work[Any]) -> Any:
    before = db.total_changes
    try:
        return work(db)
    except Refused as refusal:
        if db.total_changes != before:
            raise  # half a work must not be committed: the group is rolled back and run one by one
        return refusal


def _checkpoint(db: sqlite3.Connection) -> bool:
    """Copy the write-ahead log into the file and empty it. True when a reader was in the way.

    It does not wait for the reader, which may be a backup: every delivery would wait with it.
    """
    db.execute("PRAGMA busy_timeout=0").fetchall()
    try:
        busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        db.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}").fetchall()
    return bool(busy)


def make_private(folder: Path) -> None:
    """Make a directory that only its owner can read, or take the one that is there. Raises `BadDatabase`."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadDatabase(f"{folder} cannot be made: {error.strerror}. Make it, or set server.data_dir.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadDatabase(f"{folder} cannot be written. Give it to the user that runs the server.")
