"""The log of an inbox in SQLite. An entry's number is in its message's row, and in `logged` once that row is gone."""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from inbox_server.clock import DAY_SECONDS, UnixTime, end_of_day
from inbox_server.inbox_log import LogEntry, LogPoint, is_logged, next_head
from inbox_server.store.contract import FORGOTTEN_AT_ONCE, LogPage, Quota, no_inbox

_LEAVE = (
    "INSERT INTO logged (inbox, n, id) SELECT inbox, n, id FROM message"
    " WHERE inbox = ?1 AND {} = ?2 AND n > (SELECT base_n FROM inbox WHERE inbox = ?1)"
)


class Life(Protocol):
    """A delivery, or a longer life of one: until when it was said to last, and when that was said."""

    @property
    def inbox(self) -> bytes: ...

    @property
    def id(self) -> bytes: ...

    @property
    def expires(self) -> UnixTime: ...

    @property
    def now(self) -> UnixTime: ...


class LongerLife(NamedTuple):
    """Of a message that is there."""

    inbox: bytes
    id: bytes
    expires: UnixTime
    now: UnixTime


@dataclass(slots=True)
class LogEnd:
    """Where a log ends while entries are added; and the latest `until` of its marks, and the number of its base."""

    n: int
    head: bytes
    until: int
    base: int


def log_new(
    db: sqlite3.Connection, lives: Iterable[tuple[Life, int, int | None]], ends: Mapping[bytes, LogEnd], quota: Quota
) -> None:
    """Move the ends over new messages, each with the change number and the log number that its row was given.

    A log number is wrong when a row before it turned out to be a repeat. The caller writes the ends, and then calls
    `shorten`.
    """
    for life, change, given in lives:
        if given is not None:
            n = _add(db, ends[life.inbox], life, quota)
            if n != given:
                db.execute("UPDATE message SET n = ? WHERE inbox = ? AND change = ?", (n, life.inbox, change))


def log_longer(db: sqlite3.Connection, lives: Iterable[LongerLife], quota: Quota) -> None:
    """Log lives that became longer, in this order: each message gets a new number, and leaves its old one behind."""
    for life in lives:
        if is_logged(life.expires, life.now):
            end = LogEnd(
                *db.execute("SELECT log_n, log_head, log_until, base_n FROM inbox WHERE inbox = ?", life[:1]).fetchone()
            )
            db.execute(_LEAVE.format("id"), life[:2])
            n = _add(db, end, life, quota)
            db.execute("UPDATE message SET n = ? WHERE inbox = ? AND id = ?", (n, *life[:2]))
            db.execute("UPDATE inbox SET log_n = ?, log_head = ? WHERE inbox = ?", (n, end.head, life.inbox))
            shorten(db, {life.inbox: end}, quota)


def leave_number(db: sqlite3.Connection, inbox: bytes, change: int) -> None:
    """Keep the number and the id of a message whose row is about to go."""
    db.execute(_LEAVE.format("change"), (inbox, change))


def _add(db: sqlite3.Connection, end: LogEnd, life: Life, quota: Quota) -> int:
    """The number of a new entry."""
    end.n += 1
    end.head = next_head(end.head, end.n, life.id)
    kept = UnixTime(life.now + quota.max_retention)
    if max(kept, life.expires) > end.until:  # the first of its day
        end.until = max(end_of_day(kept), life.expires)
        db.execute("INSERT INTO log_mark (inbox, n, until) VALUES (?, ?, ?)", (life.inbox, end.n, end.until))
        db.execute("UPDATE inbox SET log_until = ? WHERE inbox = ?", (end.until, life.inbox))
        db.execute("INSERT OR IGNORE INTO due (inbox, at) VALUES (?, ?)", (life.inbox, end.until))
    return end.n


def shorten(db: sqlite3.Connection, ends: Mapping[bytes, LogEnd], quota: Quota) -> None:
    """Let logs that are much too long lose their oldest entries."""
    for inbox, end in ends.items():
        too_many = end.n - end.base - quota.log
        if too_many > FORGOTTEN_AT_ONCE:
            move_base(db, inbox, most=too_many)


def move_base(db: sqlite3.Connection, inbox: bytes, *, most: int, now: UnixTime | None = None) -> int:
    """Drop at most so many of the oldest entries, with `now` only those whose time is over; returns how many went."""
    row = db.execute(
        "SELECT base_n, base_head, coalesce((SELECT min(n) - 1 FROM log_mark WHERE inbox = ?1 AND until > ?2), log_n)"
        " FROM inbox WHERE inbox = ?1",
        (inbox, now),
    ).fetchone()
    if row is None:
        return 0
    base, head, last = row
    going = _entries(db, inbox, base, min(last, base + most))
    if going:
        for n, id in going:
            head = next_head(head, n, id)
        db.execute("DELETE FROM logged WHERE inbox = ? AND n <= ?", (inbox, going[-1].n))
        db.execute("UPDATE inbox SET base_n = ?, base_head = ? WHERE inbox = ?", (going[-1].n, head, inbox))
    if base + most > last:
        db.execute("DELETE FROM log_mark WHERE inbox = ? AND until <= ?", (inbox, now))
    return len(going)


def read_log(db: sqlite3.Connection, inbox: bytes, after: int, limit: int, quota: Quota, now: UnixTime) -> LogPage:
    """Raises `Refused` no_inbox."""
    row = db.execute(
        "SELECT base_n, base_head, log_n, log_head, restored FROM inbox WHERE inbox = ?", (inbox,)
    ).fetchone()
    if row is None:
        raise no_inbox()
    base_n, base_head, log_n, log_head, restored = row
    after = max(after, base_n)
    entries = _entries(db, inbox, after, min(after + limit, log_n))
    if restored is not None and end_of_day(UnixTime(restored * DAY_SECONDS + quota.max_retention)) < now:
        restored = None
    return LogPage(
        LogPoint(base_n, base_head),
        tuple(entries),
        LogPoint(log_n, log_head),
        more=bool(entries) and entries[-1].n != log_n,
        restored=restored,
    )


def _entries(db: sqlite3.Connection, inbox: bytes, after: int, last: int) -> list[LogEntry]:
    """Those with the numbers after one and up to another, in order. Only what is not in `logged` is looked for."""
    numbers = (inbox, after, last)
    found = db.execute("SELECT n, id FROM logged WHERE inbox = ? AND n > ? AND n <= ?", numbers).fetchall()
    if len(found) < last - after:
        found += db.execute("SELECT n, id FROM message WHERE inbox = ? AND n > ? AND n <= ?", numbers).fetchall()
    return [LogEntry(n, id) for n, id in sorted(found)]
