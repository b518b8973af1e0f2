"""Writing: one task owns the write connection, commits everything that waits as one transaction, and then answers.

With `synchronous=FULL` an answer means that the work is on disk, and one fsync serves many deliveries.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from typing import Any, Final, Self, cast

from inbox_server.errors import Refused, Unavailable
from inbox_server.store.contract import Changed, Committed
from inbox_server.store.groups import Groups
from inbox_server.store.sqlite.database import BUSY_TIMEOUT_MS, Connection
from inbox_server.store.sqlite.health import Health
from inbox_server.store.sqlite.jobs import GROUP_LIMIT, Job, Kind, Part, T, Work

_SCRUB_PAUSE_SECONDS: Final = 0.2  # acknowledgements share one checkpoint; we promise to erase within 1 s
_LONGEST_SCRUB_PAUSE_SECONDS: Final = 3.2  # while somebody reads the file
_RETRY_SECONDS: Final = 30


class Writer:
    """The one task that writes. `write` returns when the work's group is on disk.

    `changing` is entered with the jobs of a group before it begins, and left before any of it is answered.
    `changed` is called with those that did change, after it was, and `committed` with each group's size and seconds.
    All of `rolled_back` are called on the connection's thread whenever nothing of a group was done.
    """

    def __init__(
        self,
        connection: Connection,
        changing: Callable[[Sequence[Job]], AbstractContextManager[None]],
        changed: Changed = lambda _inboxes: None,
        committed: Committed = lambda _jobs, _seconds: None,
        rolled_back: Collection[Callable[[], None]] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._changing = changing
        self._changed = changed
        self._committed = committed
        self._rolled_back = rolled_back
        self._monotonic = monotonic
        self.remnants = 0
        """Erasing jobs whose old bytes may still be in the write-ahead log."""
        self._groups = Groups[Job](self._commit_group, self._tell, most=GROUP_LIMIT)
        self._erased = asyncio.Event()
        self._health = Health("writing")

    @property
    def failing(self) -> bool:
        """Whether the disk refused the last group."""
        return self._health.failing

    def __len__(self) -> int:
        """How many jobs wait for a commit."""
        return len(self._groups)

    async def __aenter__(self) -> Self:
        self._erased.set()  # a crash may have left acknowledged bytes in the write-ahead log
        self.remnants = 1
        self._scrubs = asyncio.create_task(self._scrub_remnants())
        await self._groups.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish what waits, then stop."""
        await self._groups.__aexit__()
        self._scrubs.cancel()
        await asyncio.wait([self._scrubs])
        with contextlib.suppress(sqlite3.Error):  # a full disk; nothing is lost, the next start finds the log
            await self._connection.run(_checkpoint)

    async def write(
        self, work: Work[T], *, inbox: bytes | None = None, erases: bool = False, settles: bool = True
    ) -> T:
        """Run `work`, which may change `inbox`, in a group. A caller that is cancelled does not cancel the work.

        `work` raises `Refused` only before it writes. What `erases` and `settles` mean, `jobs.Job` says.
        """
        try:
            return cast("T", await self._groups.run(Job(work, inbox, erases, settles)))
        except sqlite3.Error as error:
            raise Unavailable(
                "storage_full", "The server's disk refused to write.", retry_after=_RETRY_SECONDS
            ) from error

    async def _commit_group(self, jobs: list[Job]) -> list[Any]:
        start = self._monotonic()
        try:
            with self._changing(jobs):
                outcomes = await self._connection.run(lambda db: self._run(db, jobs))
        finally:
            if erasing := sum(job.erases for job in jobs):
                self.remnants += erasing
                self._erased.set()
        self._committed(len(jobs), self._monotonic() - start)
        self._health.note(outcomes)
        if self.failing:  # it may be the log that fills the disk
            self._erased.set()
        return outcomes

    def _tell(self, jobs: Sequence[Job], outcomes: Sequence[Any]) -> None:
        """Commit, then answer, then wake."""
        self._changed(
            {
                job.inbox
                for job, outcome in zip(jobs, outcomes, strict=True)
                if job.inbox is not None and not isinstance(outcome, Exception)
            }
        )

    def _run(self, db: sqlite3.Connection, jobs: list[Job]) -> list[Any]:
        """The outcomes of a group. Without reserve space, only erasing jobs run, because they free space."""
        if not self._connection.in_place():
            return [sqlite3.OperationalError("the database file was moved or deleted")] * len(jobs)
        if self._connection.has_reserve():
            return self._outcomes(db, [job.work for job in jobs])
        done = iter(self._outcomes(db, [job.work for job in jobs if job.erases]))
        return [next(done) if job.erases else sqlite3.OperationalError("the reserve is reached") for job in jobs]

    def _outcomes(self, db: sqlite3.Connection, works: Sequence[Work[Any]]) -> list[Any]:
        """The outcome of each job, a value or an exception. One that fails does not affect the others."""
        try:
            return self._transaction(db, works)
        except Exception as error:  # noqa: BLE001 — a worker's loop: the failure becomes the outcome of the job
            if len(works) == 1:
                return [error]
        return [self._outcomes(db, [work])[0] for work in works]

    def _transaction(self, db: sqlite3.Connection, works: Sequence[Work[Any]]) -> list[Any]:
        db.execute("BEGIN IMMEDIATE")
        try:
            outcomes = [outcome for kind, row in groupby(works, _kind_of) for outcome in _do(db, kind, list(row))]
            db.execute("COMMIT")
        except BaseException:
            for forget in self._rolled_back:
                forget()
            if db.in_transaction:  # SQLite has already rolled back when the disk is full
                db.execute("ROLLBACK")
            raise
        return outcomes

    async def _scrub_remnants(self) -> None:
        """Move erased bytes out of the write-ahead log. `secure_delete` has already blanked them in the pages."""
        pause = _SCRUB_PAUSE_SECONDS
        while True:
            await self._erased.wait()
            self._erased.clear()
            await asyncio.sleep(pause)
            remnants = self.remnants
            try:
                busy = await self._connection.run(_checkpoint)
            except sqlite3.Error:
                busy = True
            pause = min(2 * pause, _LONGEST_SCRUB_PAUSE_SECONDS) if busy else _SCRUB_PAUSE_SECONDS
            if busy:
                self._erased.set()
            else:
                self.remnants -= remnants


def _kind_of(work: Work[Any]) -> Kind | None:
    return work.kind if isinstance(work, Part) else None


def _do(db: sqlite3.Connection, kind: Kind | None, works: Sequence[Any]) -> list[Any]:
    """Do jobs of one kind. What is not done together is done alone, after the others: their callers wait together."""
    done = kind.together(db, [part.asked for part in works]) if kind else [None] * len(works)
    return [_attempt(db, work) if outcome is None else outcome for work, outcome in zip(works, done, strict=True)]


def _attempt(db: sqlite3.Connection, work: Work[Any]) -> Any:
    before = db.total_changes
    try:
        return work(db)
    except Refused as refusal:
        if db.total_changes != before:
            raise  # half a job must not be committed: the group is rolled back and run one by one
        return refusal


def _checkpoint(db: sqlite3.Connection) -> bool:
    """Copy the write-ahead log into the file and empty it. True when a reader was in the way.

    It does not wait for the reader, which may be a backup: every delivery would wait with it.
    """
    db.execute("PRAGMA busy_timeout=0").fetchall()
    try:
        busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        db.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}").fetchall()
    return bool(busy)
