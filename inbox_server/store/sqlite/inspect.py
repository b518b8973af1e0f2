"""Inspecting a data directory without a trace, beside a server or without one: no log is merged or created."""

import contextlib
import fcntl
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inbox_server.identity.layer import ONLY_ONE, Layers
from inbox_server.store.contract import BadDatabase
from inbox_server.store.migrating import Mark
from inbox_server.store.sqlite.database import schema_steps
from inbox_server.store.sqlite.opening import DATABASE_NAME, LOCK_NAME, layer_of, read_mark

_STEPS_BETWEEN_LOOKS: Final = 10_000  # of SQLite's machine: about a millisecond


class LeftAlone(Exception):
    """Reading the database would write files beside it; the message says why."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a database file is like.

    `is_newest` says whether it is under the newest of the secret's lines, `mark` what the database says of a migration.
    `damage` is empty when none was found; `read_through` says whether all was looked at.
    """

    version: int
    newest: int
    is_secrets: bool
    is_newest: bool
    mark: Mark | None
    bytes: int
    damage: str
    read_through: bool


def is_served(folder: Path, *, shared: bool = False) -> bool:
    """Whether a server holds this data directory, or one of several that are `shared`.

    Raises OSError when that cannot be seen.
    """
    lock = folder / LOCK_NAME
    if not lock.exists():
        return False
    with lock.open() as file:
        try:
            # for no longer than this; a server that starts waits
            fcntl.flock(file, (fcntl.LOCK_EX if shared else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def inspect(
    folder: Path,
    check_value: bytes,
    layers: Layers = ONLY_ONE,
    *,
    seconds: float,
    monotonic: Callable[[], float] = time.monotonic,
) -> Inspection:
    """Open the database for reading, and look through it for at most `seconds`. Raises `BadDatabase` or `LeftAlone`."""
    path = folder / DATABASE_NAME
    try:
        with contextlib.closing(sqlite3.connect(_traceless(path), uri=True)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            kept = db.execute("SELECT value FROM secret_check").fetchall() if version else []
            layer = layer_of(kept, check_value, layers) if kept else layers[0]
            damage, read_through = _damage(db, seconds, monotonic)
            return Inspection(
                version=version,
                newest=len(schema_steps()),
                is_secrets=layer is not None,
                is_newest=layer is layers[0],
                mark=read_mark(db) if _has_marks(db) else None,
                bytes=path.stat().st_size,
                damage=damage,
                read_through=read_through,
            )
    except (sqlite3.Error, OSError) as error:
        raise BadDatabase(f"{path} cannot be read as a database: {error}") from error


def holds_inboxes(folder: Path) -> bool:
    """Whether there is a database with inboxes that were not moved elsewhere, as far as that can be read."""
    path = folder / DATABASE_NAME
    if not path.exists():
        return False
    try:
        with contextlib.closing(sqlite3.connect(_traceless(path), uri=True)) as db:
            mark = read_mark(db) if _has_marks(db) else None
            (has_inboxes,) = db.execute("SELECT EXISTS (SELECT 1 FROM inbox)").fetchone()
            return bool(has_inboxes) and (mark is None or mark.state != "left")
    except (sqlite3.Error, LeftAlone):
        return False


def _traceless(path: Path) -> str:
    """How to open it. Even a reader makes a log and its index where there are none, and leaves them behind.

    So the index is only read, which needs one; and without it, the file is taken as it is, if no log belongs to it.
    """
    uri, log = path.absolute().as_uri(), path.with_name(f"{path.name}-wal")
    if path.with_name(f"{path.name}-shm").exists():
        return f"{uri}?mode=ro&readonly_shm=1"
    if log.exists() and log.stat().st_size:
        raise LeftAlone(f"{log} holds what was written last, and only a server that starts may merge it")
    return f"{uri}?mode=ro&immutable=1"


def _has_marks(db: sqlite3.Connection) -> bool:
    """An older version's has no table for them."""
    return bool(db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'migration'").fetchone()[0])


def _damage(db: sqlite3.Connection, seconds: float, monotonic: Callable[[], float]) -> tuple[str, bool]:
    end = monotonic() + seconds
    db.set_progress_handler(lambda: monotonic() > end, _STEPS_BETWEEN_LOOKS)
    try:
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return "", False
        raise
    return ("" if verdict == "ok" else str(verdict)), True
