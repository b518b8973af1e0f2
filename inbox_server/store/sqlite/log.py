"""The log of an inbox in SQLite: a row for each entry, from the one after the base to the last."""

import sqlite3
from collections.abc import Iterable
from typing import Final, NamedTuple

from inbox_server.clock import DAY_SECONDS, UnixTime, end_of_day
from inbox_server.inbox_log import LogEntry, LogPoint, is_logged, next_head
from inbox_server.store.contract import FORGOTTEN_AT_ONCE, LogPage, Quota, no_inbox

_FOR_EVER: Final = UnixTime(1 << 62)


class Life(NamedTuple):
    """A delivery, or a longer life of one: until when it was said to last, and when that was said."""

    inbox: bytes
    id: bytes
    expires: UnixTime
    now: UnixTime


def log(db: sqlite3.Connection, lives: Iterable[Life], quota: Quota) -> None:
    """Log those that live long enough, in this order. A log that becomes much too long loses its oldest."""
    logged = [life for life in lives if is_logged(life.expires, life.now)]
    if not logged:
        return
    ends = _ends(db, {life.inbox for life in logged})
    rows, due = [], set[tuple[bytes, int]]()
    for inbox, id, expires, now in logged:
        n, head, base = ends[inbox]
        ends[inbox] = n + 1, next_head(head, n + 1, id), base
        until = max(end_of_day(UnixTime(now + quota.max_retention)), expires)
        rows.append((inbox, n + 1, id, until))
        due.add((inbox, until))
    db.executemany("INSERT INTO logged (inbox, n, id, until) VALUES (?, ?, ?, ?)", rows)
    db.executemany("INSERT OR IGNORE INTO due (inbox, at) VALUES (?, ?)", due)
    db.executemany(
        "UPDATE inbox SET log_n = ?, log_head = ? WHERE inbox = ?",
        [(n, head, inbox) for inbox, (n, head, _) in ends.items()],
    )
    for inbox, (n, _, base) in ends.items():
        if n - base > quota.log + FORGOTTEN_AT_ONCE:
            move_base(db, inbox, most=n - base - quota.log)


def move_base(db: sqlite3.Connection, inbox: bytes, *, most: int, now: UnixTime = _FOR_EVER) -> int:
    """Drop at most so many of the oldest entries, those whose time is over; returns how many went."""
    row = db.execute("SELECT base_n, base_head FROM inbox WHERE inbox = ?", (inbox,)).fetchone()
    if row is None:
        return 0
    (n, head), gone = row, 0
    oldest = db.execute("SELECT n, id, until FROM logged WHERE inbox = ? ORDER BY n LIMIT ?", (inbox, most)).fetchall()
    for entry_n, id, until in oldest:
        if until > now:
            break
        n, head, gone = entry_n, next_head(head, entry_n, id), gone + 1
    if gone:
        db.execute("DELETE FROM logged WHERE inbox = ? AND n <= ?", (inbox, n))
        db.execute("UPDATE inbox SET base_n = ?, base_head = ? WHERE inbox = ?", (n, head, inbox))
    return gone


def read_log(db: sqlite3.Connection, inbox: bytes, after: int, limit: int, quota: Quota, now: UnixTime) -> LogPage:
    """Raises `Refused` no_inbox."""
    row = db.execute(
        "SELECT base_n, base_head, log_n, log_head, restored FROM inbox WHERE inbox = ?", (inbox,)
    ).fetchone()
    if row is None:
        raise no_inbox()
    base_n, base_head, log_n, log_head, restored = row
    rows = db.execute(
        "SELECT n, id FROM logged WHERE inbox = ? AND n > ? ORDER BY n LIMIT ?", (inbox, max(after, base_n), limit)
    ).fetchall()
    if restored is not None and end_of_day(UnixTime(restored * DAY_SECONDS + quota.max_retention)) < now:
        restored = None
    return LogPage(
        LogPoint(base_n, base_head),
        tuple(LogEntry(n, id) for n, id in rows),
        LogPoint(log_n, log_head),
        more=bool(rows) and rows[-1][0] != log_n,
        restored=restored,
    )


def _ends(db: sqlite3.Connection, inboxes: Iterable[bytes]) -> dict[bytes, tuple[int, bytes, int]]:
    """The number of the last entry, the head, and the number of the base, by inbox."""
    select = "SELECT log_n, log_head, base_n FROM inbox WHERE inbox = ?"
    return {inbox: db.execute(select, (inbox,)).fetchone() for inbox in inboxes}
