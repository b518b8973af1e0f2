"""Giving what is stored another layer, when the secret was rotated: all of it in one transaction.

A kill leaves the database as it was, and the next start does it again. Each table with hashes is written anew and
the old one dropped, whose pages are then written over with zeros: rows that are changed in place leave pieces behind
(docs/decisions/0005-texts-in-slots.md). Texts hold no hash, and stay where they are.
"""

import contextlib
import secrets
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inbox_server.identity.layer import Layer, Layers
from inbox_server.store.contract import BadDatabase
from inbox_server.store.sqlite.opening import DATABASE_NAME, check_file, only_server, open_database
from inbox_server.store.sqlite.recent_uses import RecentUses
from inbox_server.store.sqlite.sheets import rekeyed_tickets

HASHES: Final[Mapping[str, Collection[str]]] = {
    "inbox": ("inbox", "app", "settings_request"),
    "name": ("name", "inbox"),
    "listed": ("inbox", "address"),
    "message": ("inbox",),
    "logged": ("inbox",),
    "log_mark": ("inbox",),
    "due": ("inbox",),
    "subscription": ("inbox", "id"),
    "invite": ("code",),
    "suspended": ("inbox",),
    "sheet": ("inbox",),
    "secret_check": ("value",),
}
"""The columns of keyed hashes."""
TICKETS: Final[Mapping[str, Collection[str]]] = {"sheet": ("ids", "used")}
"""The columns of many hashes: those of tickets are sorted, and what was used of them is in the same order."""
SEALED: Final[Mapping[str, Collection[str]]] = {"subscription": ("sealed",)}
"""The columns of sealed addresses."""
WITHOUT: Final[Mapping[str, Collection[str]]] = {
    "inbox": ("generation", "log_head", "base_head"),
    "message": ("id",),
    "logged": ("id",),
    "text": ("body",),
    "sheet": ("fill",),
    "recent_use": ("body",),
    "migration": ("mark",),
}
"""The other columns of bytes. A test compares all four with the schema."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What a rotation has to put under a new layer; `is_newest` when none waits for the next start."""

    inboxes: int
    entries: int
    is_newest: bool


def extent_of(folder: Path, *, check_value: bytes, layers: Layers) -> Extent:
    """Look at the database in `folder`, of a running server or not. Raises `BadDatabase`."""
    path = folder / DATABASE_NAME
    layer = check_file(path, check_value, layers, advice="Is server.data_dir right?")
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            row = db.execute("SELECT count(*), coalesce(sum(unread + tombstones), 0) FROM inbox").fetchone()
    except sqlite3.Error as error:
        raise BadDatabase(f"{path} cannot be read: {error}") from error
    inboxes, entries = row
    return Extent(inboxes, entries, is_newest=layer is layers[0])


async def finish_rotation(folder: Path, *, check_value: bytes, layers: Layers, announce: Callable[[str], None]) -> None:
    """Put the database in `folder` under the newest layer, if it is under another one. Raises `BadDatabase`.

    When the disk is in the way, it stays as it is, and can be used so.
    """
    path = folder / DATABASE_NAME
    if not path.exists():
        return
    with only_server(folder):
        if check_file(path, check_value, layers) is layers[0]:
            return
        start = time.monotonic()
        async with open_database(folder, check_value, layers, secrets.token_bytes) as (connection, old):
            announce("the secret was rotated; what is stored is put under the new one, which takes a moment")
            try:
                await connection.run(lambda db: rekey(db, old, layers[0]))
            except sqlite3.Error as error:
                announce(f"the rotation is not finished ({error}): the old secret goes on until the next start")
            else:
                announce(f"the rotation is finished after {time.monotonic() - start:.1f} s")


def rekey(db: sqlite3.Connection, old: Layer, new: Layer) -> None:
    """Take the old layer off all that is stored, and put the new one on.

    `db` has the pragmas of `database.open_connection`, and is in no transaction. Raises `sqlite3.Error`; then nothing
    was changed.
    """
    db.create_function("rekeyed", 1, lambda stored: new.hide(old.show(stored)), deterministic=True)
    db.create_function("rekeyed_ids", 2, lambda ids, used: rekeyed_tickets(ids, used, old, new)[0], deterministic=True)
    db.create_function("rekeyed_used", 2, lambda ids, used: rekeyed_tickets(ids, used, old, new)[1], deterministic=True)
    db.create_function("resealed", 1, lambda stored: new.hide_sealed(old.show_sealed(stored)), deterministic=True)
    db.execute("BEGIN IMMEDIATE")
    try:
        RecentUses().empty(db)
        _write_anew(db, old, new)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite has already rolled back when the disk is full
            db.execute("ROLLBACK")
        raise


def _write_anew(db: sqlite3.Connection, old: Layer, new: Layer) -> None:
    of = dict[str, list[tuple[str, str]]]()
    for type, name, table, sql in db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid"):
        if table in HASHES and sql:
            of.setdefault(type, []).append((name, sql))
    for type in ("trigger", "index"):
        for name, _ in of[type]:
            db.execute(f"DROP {type} {name}")
    for name, _ in of["table"]:
        db.execute(f"ALTER TABLE {name} RENAME TO before_{name}")
    for _, sql in of["table"] + of["index"]:
        db.execute(sql)
    for name, _ in of["table"]:
        _copy(db, name, old, new)
    for name, _ in of["table"]:
        db.execute(f"DROP TABLE before_{name}")
    for _, sql in of["trigger"]:
        db.execute(sql)


def _copy(db: sqlite3.Connection, table: str, old: Layer, new: Layer) -> None:
    """Inbox by inbox in their new order, so that rows are only appended, and nothing must be sorted."""
    key = [(place, name) for _, name, _, _, _, place in db.execute(f"PRAGMA table_info({table})") if place]
    columns = [name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")]
    values = ", ".join(_value(table, column) for column in columns)
    insert = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM before_{table}"  # noqa: S608 — the schema's
    if min(key) != (1, "inbox"):
        db.execute(insert)
        return
    inboxes = [inbox for (inbox,) in db.execute(f"SELECT DISTINCT inbox FROM before_{table}")]  # noqa: S608
    inboxes.sort(key=lambda inbox: new.hide(old.show(inbox)))
    order = ", ".join(name for _, name in sorted(key))
    db.executemany(f"{insert} WHERE inbox = ? ORDER BY {order}", ((inbox,) for inbox in inboxes))


def _value(table: str, column: str) -> str:
    if column in HASHES[table]:
        return f"rekeyed({column})"
    if column in TICKETS.get(table, ()):
        return f"rekeyed_{column}(ids, used)"
    return f"resealed({column})" if column in SEALED.get(table, ()) else column
