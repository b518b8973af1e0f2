"""Whole inboxes in SQLite, read and written for a migration: each function below is one unit of work."""

import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from inbox_server.store.sqlite.recent_uses import UNUSED
from inbox_server.store.sqlite.sheets import insert_sheet, tickets_of
from inbox_server.store.sqlite.slots import Slots, text_in
from inbox_server.store.texts import as_listed
from inbox_server.store.whole_inbox import (
    PARTS,
    Entry,
    InboxRow,
    Rest,
    WholeInbox,
    WholeSheet,
    batch_of,
    grouped,
    readable,
)

_WEIGHTS: Final = (
    "SELECT inbox, 10 + unread + tombstones + log_n - base_n"
    " + (SELECT coalesce(sum(length(ids)), 0) / 16 FROM sheet WHERE sheet.inbox = inbox.inbox)"
    " FROM inbox WHERE inbox > ? ORDER BY inbox LIMIT 500"
)
_ENTRIES: Final = (
    "SELECT inbox, change, id, slot, body, size, listed, expires, forget_at, n"
    " FROM message LEFT JOIN text USING (slot) WHERE inbox > ? AND inbox <= ? ORDER BY inbox, change"
)


def next_batch(db: sqlite3.Connection, after: bytes) -> bytes | None:
    """The last of the inboxes behind `after` that are moved together."""
    return batch_of(db.execute(_WEIGHTS, (after,)))


def read_inboxes(db: sqlite3.Connection, after: bytes, last: bytes) -> list[WholeInbox]:
    """Those behind `after` up to `last`, in the order of their keys."""
    entries, sheets = grouped(_entries(db, after, last)), grouped(_sheets(db, after, last))
    parts = {table: grouped(_rows(db, table, columns, after, last)) for table, columns in PARTS.items()}
    return [
        WholeInbox(
            _row(inbox, *row),
            {table: tuple(sorted(found.get(inbox, ()))) for table, found in parts.items()},
            tuple(WholeSheet(*sheet) for sheet in sorted(sheets.get(inbox, ()))),
            tuple(Entry(*entry) for entry in entries.get(inbox, ())),
        )
        for inbox, *row in _rows(db, "inbox", InboxRow._fields[1:], after, last)
    ]


def _row(*columns: Any) -> InboxRow:
    row = InboxRow(*columns)
    return row._replace(refused=bool(row.refused))


def _rows(
    db: sqlite3.Connection, table: str, columns: Iterable[str], after: bytes, last: bytes
) -> Iterable[tuple[Any, ...]]:
    select = f"SELECT inbox, {', '.join(columns)} FROM {table} WHERE inbox > ? AND inbox <= ? ORDER BY inbox"  # noqa: S608
    return db.execute(select, (after, last))


def _entries(db: sqlite3.Connection, after: bytes, last: bytes) -> Iterable[tuple[Any, ...]]:
    for inbox, change, id, slot, body, size, listed, expires, forget_at, n in db.execute(_ENTRIES, (after, last)):
        text = None if slot is None else readable(id, text_in(body or b"", size, listed), size)
        yield inbox, change, id, text, size, expires, forget_at, n


def _sheets(db: sqlite3.Connection, after: bytes, last: bytes) -> Iterable[tuple[bytes, int, Any]]:
    for inbox, week, ids, used in _rows(db, "sheet", ("week", "ids", "used"), after, last):
        marked = ((id, None if mark == UNUSED else mark) for id, mark in tickets_of(ids, used))
        yield inbox, week, tuple(marked)


def write_inboxes(db: sqlite3.Connection, slots: Slots, inboxes: Sequence[WholeInbox]) -> None:
    """Add inboxes that are not there, within a transaction."""
    _insert(db, "inbox", InboxRow._fields, (each.row for each in inboxes))
    for table, columns in PARTS.items():
        rows = ((each.row.inbox, *row) for each in inboxes for row in each.parts[table])
        _insert(db, table, ("inbox", *columns), rows)
    # `due` has the days on which something goes: triggers know of messages, and not of logs.
    due = ((each.row.inbox, until) for each in inboxes for _, until in each.parts["log_mark"])
    db.executemany("INSERT OR IGNORE INTO due (inbox, at) VALUES (?, ?)", due)
    for each in inboxes:
        for sheet in each.sheets:
            tickets = [(id, mark or UNUSED) for id, mark in sheet.tickets]
            insert_sheet(db, each.row.inbox, sheet.week, tickets, secrets.randbelow)
    _write_entries(db, slots, inboxes)


def _write_entries(db: sqlite3.Connection, slots: Slots, inboxes: Sequence[WholeInbox]) -> None:
    texts, rows = list[tuple[int, bytes, str]](), list[tuple[Any, ...]]()
    for each in inboxes:
        inbox = each.row.inbox
        for change, id, text, size, expires, forget_at, n in each.entries:
            slot = listed = None
            if text is not None:
                slot, (written, listed) = slots.take(db, inbox), as_listed(text)
                texts.append((slot, id, written))
            rows.append((inbox, change, id, slot, size, expires, forget_at, listed, n))
    columns = ("inbox", "change", "id", "slot", "size", "expires", "forget_at", "listed", "n")
    _insert(db, "message", columns, rows)
    slots.fill(db, texts)


def _insert(db: sqlite3.Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    places = ", ".join("?" * len(columns))
    db.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)  # noqa: S608 — names above


def read_rest(db: sqlite3.Connection) -> Rest:
    seen = db.execute("SELECT time FROM seen").fetchone()
    return Rest(
        suspended=tuple(inbox for (inbox,) in db.execute("SELECT inbox FROM suspended ORDER BY inbox")),
        invites=tuple(db.execute("SELECT code, expires FROM invite ORDER BY code").fetchall()),
        draining=db.execute("SELECT 1 FROM draining").fetchone() is not None,
        seen=seen and seen[0],
    )


def write_rest(db: sqlite3.Connection, rest: Rest) -> None:
    """Put it in place of what is there, within a transaction."""
    for table in ("suspended", "invite", "draining", "seen"):
        db.execute(f"DELETE FROM {table}")  # noqa: S608 — names above
    _insert(db, "suspended", ("inbox",), ((inbox,) for inbox in rest.suspended))
    _insert(db, "invite", ("code", "expires"), rest.invites)
    _insert(db, "draining", ("one",), [(1,)] * rest.draining)
    _insert(db, "seen", ("time",), [(rest.seen,)] if rest.seen is not None else [])
