"""Removing entries that have expired, and those of a deleted inbox.

Each commit removes only a few, so that no delivery waits long.
"""

import sqlite3
from typing import Final

from inbox_server.clock import UnixTime
from inbox_server.store.contract import FORGOTTEN_AT_ONCE, weeks_of
from inbox_server.store.sqlite.log import leave_number, move_base
from inbox_server.store.sqlite.recent_uses import RecentUses
from inbox_server.store.sqlite.slots import blank_slot

BATCH_ROWS: Final = 200  # a few milliseconds
_LOOKED_AT_ROWS: Final = 20_000  # of inboxes that are due: a few milliseconds too
_BATCH_SHEETS: Final = 20  # of 10 to 50 pages each
_VACUUM_PAGES: Final = 20  # a tenth of a millisecond each
_BY_SECOND: Final = "forget_at % 86400 <> 86399"  # as the index `message_by_forget_at` has it; the others are in `due`


def is_due(db: sqlite3.Connection, now: UnixTime) -> bool:
    """Whether anything has expired."""
    return bool(
        db.execute(
            f"SELECT EXISTS (SELECT 1 FROM message WHERE {_BY_SECOND} AND forget_at <= ?1)"  # noqa: S608 — above
            " OR EXISTS (SELECT 1 FROM due WHERE at <= ?1) OR EXISTS (SELECT 1 FROM invite WHERE expires <= ?1)"
            " OR EXISTS (SELECT 1 FROM sheet WHERE week < ?2)",
            (now, weeks_of(now)[0]),
        ).fetchone()[0]
    )


def sweep(db: sqlite3.Connection, uses: RecentUses, now: UnixTime) -> None:
    """Drop a batch of what has expired."""
    expired = db.execute(
        f"SELECT inbox, change, slot, size FROM message WHERE {_BY_SECOND} AND forget_at <= ? LIMIT ?",  # noqa: S608
        (now, BATCH_ROWS),
    ).fetchall()
    _remove(db, expired)
    _sweep_due(db, now, most=BATCH_ROWS - len(expired))
    db.execute("DELETE FROM invite WHERE expires <= ?", (now,))
    _drop_old_sheets(db, uses, now)
    give_back(db, _VACUUM_PAGES)


def give_back(db: sqlite3.Connection, most: int) -> bool:
    """Give at most so many free pages back to the file system; whether there are more.

    One by one, because Python 3.11 runs the pragma for one page, whatever number it is given
    (findings/python-incremental-vacuum-one-page.sh).
    """
    for _ in range(most):
        if not db.execute("PRAGMA freelist_count").fetchone()[0]:
            return False
        db.execute("PRAGMA incremental_vacuum(1)").fetchall()
    return True


def _sweep_due(db: sqlite3.Connection, now: UnixTime, *, most: int) -> None:
    """Drop at most so many rows, of as many inboxes as can be looked through in a short time."""
    looked_at = 0
    while most and looked_at < _LOOKED_AT_ROWS:
        row = db.execute(
            "SELECT inbox, at, coalesce(unread + tombstones, 0) FROM due LEFT JOIN inbox USING (inbox)"
            " WHERE at <= ? ORDER BY at LIMIT 1",
            (now,),
        ).fetchone()
        if row is None:
            break
        inbox, at, rows = row
        expired = db.execute(
            "SELECT inbox, change, slot, size FROM message WHERE inbox = ? AND forget_at <= ? LIMIT ?",
            (inbox, now, most),
        ).fetchall()
        _remove(db, expired)
        gone = len(expired) + move_base(db, inbox, most=most - len(expired), now=now)
        looked_at += rows + _LOOKED_AT_ROWS // BATCH_ROWS  # so at most as many inboxes as rows
        if gone < most:
            db.execute("DELETE FROM due WHERE inbox = ? AND at = ?", (inbox, at))
        most -= gone


def _drop_old_sheets(db: sqlite3.Connection, uses: RecentUses, now: UnixTime) -> None:
    """Drop a batch of those whose week is over."""
    old = db.execute("SELECT number FROM sheet WHERE week < ? LIMIT ?", (weeks_of(now)[0], _BATCH_SHEETS)).fetchall()
    uses.leave(db, [number for (number,) in old])
    db.executemany("DELETE FROM sheet WHERE number = ?", old)


def drop_expired(db: sqlite3.Connection, inbox: bytes, now: UnixTime, *, most: int) -> None:
    """Drop at most so many of an inbox's unread entries that have expired."""
    expired = db.execute(
        "SELECT inbox, change, slot, size FROM message WHERE inbox = ? AND slot IS NOT NULL AND forget_at <= ? LIMIT ?",
        (inbox, now, most),
    ).fetchall()
    _remove(db, expired)


def drop_entries(db: sqlite3.Connection, inbox: bytes) -> bool:
    """Drop a batch of everything in an inbox, its log last; returns whether that was the last."""
    rows = db.execute(
        "SELECT inbox, change, slot, size FROM message WHERE inbox = ? LIMIT ?", (inbox, BATCH_ROWS)
    ).fetchall()
    _remove(db, rows, logged=False)
    most = BATCH_ROWS - len(rows)
    return most > 0 and move_base(db, inbox, most=most) < most


def drop_oldest_tombstones(db: sqlite3.Connection, inbox: bytes) -> None:
    """Drop a batch of those that were read first; of whose deliveries a repeat is the least likely.

    A batch, because finding the first is to pass by everything older that is unread.
    """
    rows = db.execute(
        "SELECT inbox, change, slot, size FROM message WHERE inbox = ? AND slot IS NULL ORDER BY change LIMIT ?",
        (inbox, FORGOTTEN_AT_ONCE),
    ).fetchall()
    _remove(db, rows)


def drop_entry(db: sqlite3.Connection, inbox: bytes, change: int, slot: int, size: int) -> None:
    """Drop one unread entry."""
    _remove(db, [(inbox, change, slot, size)])


def _remove(db: sqlite3.Connection, rows: list[tuple[bytes, int, int | None, int]], *, logged: bool = True) -> None:
    """Delete rows and keep the inbox's counts; a tombstone that goes moves the horizon. What is `logged` stays so."""
    for inbox, change, slot, size in rows:
        if logged:
            leave_number(db, inbox, change)
        db.execute("DELETE FROM message WHERE inbox = ? AND change = ?", (inbox, change))
        if slot is None:
            db.execute(
                "UPDATE inbox SET tombstones = tombstones - 1, horizon = max(horizon, ?) WHERE inbox = ?",
                (change, inbox),
            )
        else:
            blank_slot(db, slot)
            db.execute(
                "UPDATE inbox SET unread = unread - 1, unread_bytes = unread_bytes - ?, refused = 0 WHERE inbox = ?",
                (size, inbox),
            )
