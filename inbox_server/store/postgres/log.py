"""The log of an inbox in PostgreSQL. An entry's number is in its message's row, and in `logged` once that row is gone.

All functions that write are called within a transaction that holds the inbox's row.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from inbox_server.clock import DAY_SECONDS, UnixTime, end_of_day
from inbox_server.inbox_log import LogEntry, LogPoint, is_logged, next_head
from inbox_server.store.contract import FORGOTTEN_AT_ONCE, LogPage, Quota, no_inbox
from inbox_server.store.postgres.primary import Connection

_LEAVE: Final = (
    "INSERT INTO logged (inbox, n, id) SELECT message.inbox, n, message.id"
    " FROM unnest($1::bytea[], {}) JOIN message USING (inbox, {}) JOIN inbox USING (inbox) WHERE n > base_n"
)
_LEAVE_BY_ID: Final = _LEAVE.format("$2::bytea[]) AS old (inbox, id", "id")
_LEAVE_BY_CHANGE: Final = _LEAVE.format("$2::bigint[]) AS old (inbox, change", "change")


class LongerLife(NamedTuple):
    """Of a message that is there: until when it is now said to last, and when that was said."""

    inbox: bytes
    id: bytes
    expires: UnixTime
    now: UnixTime


async def log_longer(db: Connection, life: LongerLife, quota: Quota) -> None:
    """Log a life that became longer: the message gets a new number, and leaves its old one behind."""
    if not is_logged(life.expires, life.now):
        return
    inbox, id = life.inbox, life.id
    ((n, head, until),) = await db.fetch("SELECT log_n, log_head, log_until FROM inbox WHERE inbox = $1", inbox)
    await db.execute(_LEAVE_BY_ID, [inbox], [id])
    n += 1
    kept = UnixTime(life.now + quota.max_retention)
    if max(kept, life.expires) > until:  # the first of its day
        until = max(end_of_day(kept), life.expires)
        await db.execute("INSERT INTO log_mark (inbox, n, until) VALUES ($1, $2, $3)", inbox, n, until)
    await db.execute("UPDATE message SET n = $3 WHERE inbox = $1 AND id = $2", inbox, id, n)
    await db.execute(
        "UPDATE inbox SET log_n = $2, log_head = $3, log_until = $4 WHERE inbox = $1",
        *(inbox, n, next_head(head, n, id), until),
    )
    await shorten(db, inbox, quota)


async def leave_number(db: Connection, inbox: bytes, change: int) -> None:
    """Keep the number and the id of a message whose row is about to go."""
    await leave_numbers(db, [inbox], [change])


async def leave_numbers(db: Connection, inboxes: Sequence[bytes], changes: Sequence[int]) -> None:
    """As `leave_number`, of many messages: of each its inbox and change number."""
    await db.execute(_LEAVE_BY_CHANGE, inboxes, changes)


async def shorten(db: Connection, inbox: bytes, quota: Quota) -> None:
    """Let a log that is much too long lose its oldest entries."""
    length: int = await db.fetchval("SELECT coalesce(max(log_n - base_n), 0) FROM inbox WHERE inbox = $1", inbox)
    if length - quota.log > FORGOTTEN_AT_ONCE:
        await move_base(db, inbox, most=length - quota.log)


async def move_base(db: Connection, inbox: bytes, *, most: int, now: UnixTime | None = None) -> int:
    """Drop at most so many of the oldest entries, with `now` only those whose time is over; returns how many went."""
    row = await db.fetchrow(
        "SELECT base_n, base_head, coalesce((SELECT min(n) - 1 FROM log_mark WHERE inbox = $1 AND until > $2), log_n)"
        " FROM inbox WHERE inbox = $1",
        *(inbox, now),
    )
    if row is None:
        return 0
    base, head, last = row
    going = await _entries(db, inbox, base, min(last, base + most))
    if going:
        for n, id in going:
            head = next_head(head, n, id)
        await db.execute("DELETE FROM logged WHERE inbox = $1 AND n <= $2", inbox, going[-1].n)
        await db.execute("UPDATE inbox SET base_n = $2, base_head = $3 WHERE inbox = $1", inbox, going[-1].n, head)
    if base + most > last:
        await db.execute("DELETE FROM log_mark WHERE inbox = $1 AND until <= $2", inbox, now)
    return len(going)


async def read_log(db: Connection, inbox: bytes, after: int, limit: int, quota: Quota, now: UnixTime) -> LogPage:
    """All of it as it is at one moment. Raises `Refused` no_inbox."""
    async with db.transaction(isolation="repeatable_read", readonly=True):
        row = await db.fetchrow(
            "SELECT base_n, base_head, log_n, log_head, restored FROM inbox WHERE inbox = $1", inbox
        )
        if row is None:
            raise no_inbox()
        base_n, base_head, log_n, log_head, restored = row
        after = max(after, base_n)
        entries = await _entries(db, inbox, after, min(after + limit, log_n))
    if restored is not None and end_of_day(UnixTime(restored * DAY_SECONDS + quota.max_retention)) < now:
        restored = None
    return LogPage(
        LogPoint(base_n, base_head),
        tuple(entries),
        LogPoint(log_n, log_head),
        more=bool(entries) and entries[-1].n != log_n,
        restored=restored,
    )


async def _entries(db: Connection, inbox: bytes, after: int, last: int) -> list[LogEntry]:
    """Those with the numbers after one and up to another, in order. Only what is not in `logged` is looked for."""
    numbers = (inbox, after, last)
    found = await db.fetch("SELECT n, id FROM logged WHERE inbox = $1 AND n > $2 AND n <= $3", *numbers)
    if len(found) < last - after:
        found += await db.fetch("SELECT n, id FROM message WHERE inbox = $1 AND n > $2 AND n <= $3", *numbers)
    return sorted(LogEntry(n, id) for n, id in found)
