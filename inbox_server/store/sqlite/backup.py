"""Copies of the database: made while the server runs, and restored so that no client mistakes old state for new.

A copy is written beside its final name, checked, and only then given that name. An existing file is never overwritten.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.identity.layer import ONLY_ONE, Layers
from inbox_server.store.contract import BadDatabase
from inbox_server.store.migrating import refuse_partial
from inbox_server.store.sqlite.database import check_copy, copy_database, schema_steps, upgrade_steps
from inbox_server.store.sqlite.files import keep_owner, make_private, new_file
from inbox_server.store.sqlite.opening import DATABASE_NAME, check_file, only_server, read_mark

_GENERATION_BYTES: Final = 8
_SETTINGS_TABLES: Final = (
    *("inbox", "name", "listed", "subscription", "sheet", "invite", "secret_check"),
    *("suspended", "draining"),
)
# No entry is copied, so no earlier cursor may count as one that has seen them.
_FORGET_MESSAGES: Final = (
    "UPDATE inbox SET horizon = change, unread = 0, unread_bytes = 0, tombstones = 0, refused = 0,"
    " base_n = log_n, base_head = log_head, log_until = 0"
)
# Which ticket was used for which of them goes too.
_FORGET_USES: Final = "UPDATE sheet SET used = zeroblob(length(used))"


@dataclass(frozen=True, slots=True)
class Copied:
    """What is in a copy."""

    inboxes: int
    unread: int


def back_up(
    folder: Path, target: Path, *, check_value: bytes, layers: Layers = ONLY_ONE, settings_only: bool
) -> Copied:
    """Copy the database in `folder`, of a running server or not, as it is at one moment. Raises `BadDatabase`.

    A database of another secret is refused: the operator could not use the copy with the secret kept beside it.
    With `settings_only`, no row and no page that ever held a message is copied.
    """
    path = folder / DATABASE_NAME
    if not path.exists():
        raise BadDatabase(f"There is no database at {path}. Is server.data_dir right?")
    check_file(path, check_value, layers, advice="Is server.data_dir right?")
    with new_file(target) as partial, _opened(path) as source:
        _check_version(path, source)
        refuse_partial(read_mark(source), str(path))
        if settings_only:
            _copy_settings(path, partial)
            check_copy(partial)
        else:
            copy_database(source, partial)
        return _content(partial)


def restore(
    folder: Path,
    source: Path,
    *,
    check_value: bytes,
    layers: Layers = ONLY_ONE,
    random_bytes: Callable[[int], bytes],
    now: UnixTime,
) -> Copied:
    """Make `source` the database of the server in `folder`, which has none. Raises `BadDatabase`.

    Every inbox gets a new generation, because what a client remembers of the old one may be ahead of the copy. Its log
    says on which day that was, because an owner may remember a head that the copy has not reached. A copy from before a
    rotation of the secret stays under the layer that it has until the server starts.
    """
    check_file(source, check_value, layers, advice="Take another copy.")
    make_private(folder)
    with only_server(folder), _place(folder) as partial, _opened(source) as copy:
        copy_database(copy, partial)
        with contextlib.closing(sqlite3.connect(partial, isolation_level=None)) as database:
            database.execute("PRAGMA secure_delete=ON").fetchall()
            upgrade_steps(database, partial, schema_steps(), random_bytes)  # an older copy has no place for the day
            refuse_partial(read_mark(database), str(source))
            database.execute("BEGIN")
            database.execute("DELETE FROM migration")  # with new generations, one that was moved may be used again
            renew_generations(database, random_bytes, now // DAY_SECONDS)
            database.execute("COMMIT")
        keep_owner(partial, folder)
        return _content(partial)


def renew_generations(db: sqlite3.Connection, random_bytes: Callable[[int], bytes], day: int) -> None:
    """Make all cursors invalid, and let each log say that it may be older than what its owner remembers."""
    for (inbox,) in db.execute("SELECT inbox FROM inbox").fetchall():
        generation = random_bytes(_GENERATION_BYTES)
        db.execute("UPDATE inbox SET generation = ?, restored = ? WHERE inbox = ?", (generation, day, inbox))


def _place(folder: Path) -> AbstractContextManager[Path]:
    """Where to write the database of a folder that has none. Raises `BadDatabase`."""
    if (folder / DATABASE_NAME).exists():
        raise BadDatabase(
            f"{folder} holds a database already, which was left as it is. Move everything in that directory away first,"
            " the log too."
        )
    return new_file(folder / DATABASE_NAME)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection to a database."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            yield db
    except sqlite3.Error as error:
        raise BadDatabase(f"{path} cannot be copied: {error}.") from error


def _copy_settings(path: Path, partial: Path) -> None:
    with contextlib.closing(sqlite3.connect(partial, isolation_level=None, uri=True)) as copy:
        copy.execute("PRAGMA auto_vacuum=INCREMENTAL")  # as in every database, and heeded only before the first table
        upgrade_steps(copy, partial, schema_steps())
        copy.execute("ATTACH ? AS source", (f"{path.absolute().as_uri()}?mode=ro",))
        copy.execute("BEGIN")
        for table in _SETTINGS_TABLES:
            copy.execute(f"INSERT INTO main.{table} SELECT * FROM source.{table}")  # noqa: S608 — names above
        copy.execute(_FORGET_MESSAGES)
        copy.execute(_FORGET_USES)
        copy.execute("COMMIT")


def _check_version(path: Path, db: sqlite3.Connection) -> None:
    """A copy of the settings is made in today's schema, so the database must have it."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version != len(schema_steps()):
        raise BadDatabase(f"{path} is of another version of inbox-server. Back it up with that version.")


def _content(path: Path) -> Copied:
    with _opened(path) as db:
        inboxes, unread = db.execute("SELECT count(*), coalesce(sum(unread), 0) FROM inbox").fetchone()
        return Copied(inboxes, unread)
