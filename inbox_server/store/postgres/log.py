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
    return await move_bases(db, [inbox], most=most, now=now)


async def move_bases(db: Connection, inboxes: Sequence[bytes], *, most: int, now: UnixTime | None = None) -> int:
    """As `move_base`, in many inboxes, and of each so many at most."""
    rows = await db.fetch(
        "SELECT inbox, base_n, base_head, coalesce("
        "(SELECT min(n) - 1 FROM log_mark WHERE log_mark.inbox = inbox.inbox AND until > $2), log_n)"
        " FROM inbox WHERE inbox = ANY ($1)",
        *(inboxes, now),
    )
    going = await _entries(db, [(inbox, base, min(last, base + most)) for inbox, base, _, last in rows])
    moved = [(inbox, going[inbox][-1].n, _head_after(head, going[inbox])) for inbox, _, head, _ in rows if going[inbox]]
    if moved:
        places = list(zip(*moved, strict=True))
        await db.execute(
            "DELETE FROM logged USING unnest($1::bytea[], $2::bigint[]) AS old (inbox, last)"
            " WHERE logged.inbox = old.inbox AND n <= last",
            *places[:2],
        )
        await db.execute(
            "UPDATE inbox SET base_n = n, base_head = head FROM unnest($1::bytea[], $2::bigint[], $3::bytea[])"
            " AS new (inbox, n, head) WHERE inbox.inbox = new.inbox",
            *places,
        )
    at_end = [inbox for inbox, base, _, last in rows if base + most > last]
    await db.execute("DELETE FROM log_mark WHERE inbox = ANY ($1) AND until <= $2", at_end, now)
    return sum(map(len, going.values()))


def _head_after(head: bytes, entries: Sequence[LogEntry]) -> bytes:
    for n, id in entries:
        head = next_head(head, n, id)
    return head


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
        entries = (await _entries(db, [(inbox, after, min(after + limit, log_n))]))[inbox]
    if restored is not None and end_of_day(UnixTime(restored * DAY_SECONDS + quota.max_retention)) < now:
        restored = None
    return LogPage(
        LogPoint(base_n, base_head),
        tuple(entries),
        LogPoint(log_n, log_head),
        more=bool(entries) and entries[-1].n != log_n,
        restored=restored,
    )


async def _entries(db: Connection, parts: Sequence[tuple[bytes, int, int]]) -> dict[bytes, list[LogEntry]]:
    """By inbox, those with the numbers after one and up to another, in order.

    Only of inboxes where some are not in `logged`, messages are looked through.
    """
    found: dict[bytes, list[LogEntry]] = {inbox: [] for inbox, _, _ in parts}
    for table in ("logged", "message"):
        parts = [part for part in parts if len(found[part[0]]) < part[2] - part[1]]
        if parts:
            rows = await db.fetch(
                f"SELECT inbox, n, id FROM unnest($1::bytea[], $2::bigint[], $3::bigint[]) AS part (inbox, after, last)"  # noqa: S608
                f" JOIN {table} USING (inbox) WHERE n > after AND n <= last",
                *map(list, zip(*parts, strict=True)),
            )
            for inbox, n, id in rows:
                found[inbox].append(LogEntry(n, id))
    return {inbox: sorted(entries) for inbox, entries in found.items()}
