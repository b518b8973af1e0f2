"""The server's commands with one fault planted, to see that the states of `make powercut` find it.

    python -m tests.powercut.planted FAULT serve --config …

The faults are planted below the server, in what it calls: so they stay what they are when the store is changed.
"""

import asyncio
import os
import re
import sqlite3
import stat
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from inbox_server.cli import main
from inbox_server.clock import UnixTime
from inbox_server.store.contract import Delivered
from inbox_server.store.sqlite.store import SqliteStore

_CONNECT: Final = sqlite3.connect
_FSYNC: Final = os.fsync


class _Lax(sqlite3.Connection):
    """Commits that are not on disk when they return, on a connection that says they are."""

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        if re.fullmatch(r"PRAGMA synchronous", sql):
            return super().execute("SELECT 2")
        return super().execute(re.sub(r"(PRAGMA synchronous)=\w+", r"\1=NORMAL", sql), *arguments)


def _commit_laxly() -> None:
    sqlite3.connect = partial(_CONNECT, factory=_Lax)  # type: ignore[assignment]


def _answer_early() -> None:
    """Deliveries are answered when they are on their way to the store."""
    deliver, seen, tasks = SqliteStore.deliver, set[tuple[bytes, bytes]](), set[asyncio.Task[Any]]()

    async def early(
        self: SqliteStore, inbox: bytes, id: bytes, text: str, *, expires: UnixTime, **now: Any
    ) -> Delivered:
        tasks.add(asyncio.create_task(deliver(self, inbox, id, text, expires=expires, **now)))
        new = (inbox, id) not in seen
        seen.add((inbox, id))
        return Delivered(new, expires)

    SqliteStore.deliver = early  # type: ignore[method-assign, assignment]


def _sync_no_folders() -> None:
    def fsync(number: int) -> None:
        if not stat.S_ISDIR(os.fstat(number).st_mode):
            _FSYNC(number)

    os.fsync = fsync  # type: ignore[assignment]


def _sync_no_files() -> None:
    def fsync(number: int) -> None:
        if stat.S_ISDIR(os.fstat(number).st_mode):
            _FSYNC(number)

    os.fsync = fsync  # type: ignore[assignment]


FAULTS: Final[dict[str, Callable[[], None]]] = {
    "synchronous=NORMAL": _commit_laxly,
    "no folder is synced": _sync_no_folders,
    "no new file is synced": _sync_no_files,
    "answers before the commit": _answer_early,
}

if __name__ == "__main__":
    FAULTS[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
