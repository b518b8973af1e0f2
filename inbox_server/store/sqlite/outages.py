"""Outages: the newest time that the database has seen, and what expired while no server ran."""

import sqlite3
from typing import Final

from inbox_server.clock import UnixTime, end_of_day
from inbox_server.store.contract import PROLONGED_SECONDS, Quota
from inbox_server.store.sqlite.expiry import BATCH_ROWS
from inbox_server.store.sqlite.log import LongerLife, log_longer

_SEEN_SECONDS: Final = 600  # each is a commit; and when it stopped is nobody's business to the second
# A life of a day or more ends with a UTC day, and is known by that: so does one in 86,400 of the shorter ones.
_LAPSED: Final = (
    "SELECT change, id FROM message WHERE inbox = ?1 AND forget_at > ?2 AND forget_at <= ?3"
    " AND slot IS NOT NULL AND expires % 86400 = 86399 LIMIT ?4"
)


def read_seen(db: sqlite3.Connection) -> UnixTime | None:
    row = db.execute("SELECT time FROM seen").fetchone()
    return None if row is None else UnixTime(row[0])


def note_seen(db: sqlite3.Connection, now: UnixTime) -> None:
    db.execute("DELETE FROM seen")
    db.execute("INSERT INTO seen (time) VALUES (?)", (rounded(now),))


def rounded(now: UnixTime) -> UnixTime:
    return UnixTime(now // _SEEN_SECONDS * _SEEN_SECONDS)


def lapsed_inboxes(db: sqlite3.Connection, since: UnixTime, now: UnixTime) -> list[bytes]:
    """Those in which something may have lapsed between the two that lived a day or more."""
    return [inbox for (inbox,) in db.execute("SELECT DISTINCT inbox FROM due WHERE at > ? AND at <= ?", (since, now))]


def prolong(db: sqlite3.Connection, inbox: bytes, since: UnixTime, now: UnixTime, quota: Quota) -> bool:
    """Keep for some more days a batch of what expired in an inbox; returns whether that was the last.

    A longer lifetime is a change that every device must see, and is logged.
    """
    rows = db.execute(_LAPSED, (inbox, since, now, BATCH_ROWS)).fetchall()
    until = end_of_day(UnixTime(now + PROLONGED_SECONDS))
    for change, _ in rows:
        db.execute("UPDATE inbox SET change = change + 1 WHERE inbox = ?", (inbox,))
        db.execute(
            "UPDATE message SET expires = ?1, forget_at = ?1, change = (SELECT change FROM inbox WHERE inbox = ?2)"
            " WHERE inbox = ?2 AND change = ?3",
            (until, inbox, change),
        )
    log_longer(db, [LongerLife(inbox, id, until, now) for _, id in rows], quota)
    return len(rows) < BATCH_ROWS
