"""Reading: every group of reads sees one snapshot of the database, which no write changes under it."""

import contextlib
import sqlite3
from collections.abc import Sequence
from typing import Any, Self, cast

from inbox_server.errors import Unavailable
from inbox_server.store.groups import Groups
from inbox_server.store.sqlite.database import Connection
from inbox_server.store.sqlite.health import Health
from inbox_server.store.sqlite.jobs import GROUP_LIMIT, Job, T, Work

_RETRY_SECONDS = 30


class Reader:
    """Runs reads on a connection of its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._groups = Groups[Job](self._read_group, most=GROUP_LIMIT)
        self._health = Health("reading")

    async def __aenter__(self) -> Self:
        await self._groups.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._groups.__aexit__()

    async def read(self, work: Work[T]) -> T:
        """What `work` returns or raises, or `Unavailable`."""
        try:
            return cast("T", await self._groups.run(Job(work)))
        except sqlite3.Error as error:
            raise Unavailable(
                "storage_full", "The server's disk could not be read.", retry_after=_RETRY_SECONDS
            ) from error

    async def _read_group(self, jobs: list[Job]) -> list[Any]:
        works = [job.work for job in jobs]
        outcomes = await self._connection.run(lambda db: _outcomes(db, works))
        self._health.note(outcomes)
        return outcomes


def _outcomes(db: sqlite3.Connection, works: Sequence[Work[Any]]) -> list[Any]:
    db.execute("BEGIN")
    try:
        return [_attempt(db, work) for work in works]
    finally:
        with contextlib.suppress(sqlite3.Error):  # after a damaged page; the snapshot has ended all the same
            db.rollback()


def _attempt(db: sqlite3.Connection, work: Work[Any]) -> Any:
    try:
        return work(db)
    except Exception as error:  # noqa: BLE001 — a worker's loop: it is raised again where the work was asked for
        return error
