"""Removing entries that have expired, and those of a deleted inbox.

Each transaction removes only a few, so that no delivery waits long. Several processes sweep at the same time: rows of
inboxes that another one holds are left for the next round.
"""

from collections.abc import Awaitable, Iterable, Sequence
from functools import partial
from typing import Final, Protocol

from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.store.contract import FORGOTTEN_AT_ONCE, weeks_of
from inbox_server.store.postgres.links import Links
from inbox_server.store.postgres.log import leave_numbers, move_base, move_bases
from inbox_server.store.postgres.outages import note_seen, read_seen, rounded
from inbox_server.store.postgres.primary import Connection
from inbox_server.store.postgres.sealing import Sealing
from inbox_server.store.postgres.text_days import drop_days, drop_texts
from inbox_server.store.postgres.vacuum import vacuum_gone

BATCH_ROWS: Final = 200  # some milliseconds
_BATCH_LOGS: Final = 20
_BATCH_SHEETS: Final = 4  # of up to some thousand tickets each


async def drop_expired(db: Connection, inbox: bytes, now: UnixTime, *, most: int) -> None:
    """Drop at most so many of an inbox's unread entries that have expired."""
    rows = await db.fetch(
        "SELECT change FROM message WHERE inbox = $1 AND day IS NOT NULL AND forget_at <= $2 LIMIT $3",
        *(inbox, now, most),
    )
    await _remove(db, [(inbox, change) for (change,) in rows])


async def drop_entries(db: Connection, inbox: bytes) -> bool:
    """Drop a batch of everything in an inbox, its log last; returns whether that was the last."""
    rows = await db.fetch("SELECT change FROM message WHERE inbox = $1 LIMIT $2", inbox, BATCH_ROWS)
    await _remove(db, [(inbox, change) for (change,) in rows], logged=False)
    most = BATCH_ROWS - len(rows)
    return most > 0 and await move_base(db, inbox, most=most) < most


async def drop_oldest_tombstones(db: Connection, inbox: bytes) -> None:
    """Drop a batch of those that were read first; of whose deliveries a repeat is the least likely."""
    rows = await db.fetch(
        "SELECT change FROM message WHERE inbox = $1 AND day IS NULL ORDER BY change LIMIT $2",
        *(inbox, FORGOTTEN_AT_ONCE),
    )
    await _remove(db, [(inbox, change) for (change,) in rows])


async def drop_entry(db: Connection, inbox: bytes, change: int) -> None:
    """Drop one unread entry."""
    await _remove(db, [(inbox, change)])


async def _remove(db: Connection, rows: Sequence[tuple[bytes, int]], *, logged: bool = True, today: int = 0) -> None:
    """Delete entries, given by inbox and change number, and keep the inboxes' counts; the caller has locked these.

    A tombstone that goes moves the horizon. What is `logged` stays so. Texts of days before `today` are left for those
    who drop their tables.
    """
    if not rows:
        return
    inboxes, changes = [inbox for inbox, _ in rows], [change for _, change in rows]
    if logged:
        await leave_numbers(db, inboxes, changes)
    gone = await db.fetch(
        "DELETE FROM message USING unnest($1::bytea[], $2::bigint[]) AS old (inbox, change)"
        " WHERE message.inbox = old.inbox AND message.change = old.change"
        " RETURNING message.inbox, message.change, id, day, size",
        *(inboxes, changes),
    )
    if not gone:
        return
    await drop_texts(db, [(i, id, day) for i, _, id, day, _ in gone if day is not None and day >= today])
    await db.execute(
        """
        UPDATE inbox SET tombstones = tombstones - read, horizon = greatest(horizon, newest),
            unread = inbox.unread - old.unread, unread_bytes = unread_bytes - bytes,
            refused = refused AND old.unread = 0
        FROM (
            SELECT inbox, count(*) FILTER (WHERE day IS NULL) AS read, max(change) FILTER (WHERE day IS NULL) AS newest,
                count(day) AS unread, coalesce(sum(size) FILTER (WHERE day IS NOT NULL), 0) AS bytes
            FROM unnest($1::bytea[], $2::bigint[], $3::integer[], $4::integer[]) AS gone (inbox, change, day, size)
            GROUP BY inbox
        ) AS old WHERE inbox.inbox = old.inbox
        """,
        *(list(column) for column in zip(*((i, c, day, size) for i, c, _, day, size in gone), strict=True)),
    )


async def sweep(reading: Links, writing: Links, sealing: Sealing, now: UnixTime) -> None:
    """Drop what has expired, and with it the keys and the tables of days that are over; remember that `now` was seen.

    Also takes what is gone out of the files.
    """
    if await reading.run(partial(_is_due, now=now)):
        for kind in (_sweep_messages, _sweep_logs, _sweep_sheets):
            await _sweep_all(writing, partial(kind, now=now))
        await writing.transaction(partial(_sweep_invites, now=now))
    if await reading.run(read_seen) != rounded(now):
        await writing.run(partial(note_seen, now=now))
    await drop_days(reading, writing, sealing, now)
    await vacuum_gone(reading, writing)


class _Kind(Protocol):
    """Drops a batch of what has expired. Returns how many inboxes it concerns, and of how many it had the rows."""

    def __call__(self, db: Connection, *, wait: bool) -> Awaitable[tuple[int, int]]: ...


async def _sweep_all(writing: Links, kind: _Kind) -> None:
    """Drop all of a kind, batch by batch. When others hold all the rows of a batch, wait for one of them."""
    due, held = await writing.transaction(partial(kind, wait=False))
    while due:
        wait = not held
        due, held = await writing.transaction(partial(kind, wait=wait))
        if wait and not held:
            break  # and so is the rest of its inbox


async def _lock(db: Connection, inboxes: Iterable[bytes], *, wait: bool) -> list[bytes]:
    """Lock inboxes' rows, in order; without `wait` only those that nobody holds, and else the first."""
    asked = sorted(set(inboxes))
    sql = "SELECT inbox FROM inbox WHERE inbox = ANY ($1) ORDER BY inbox FOR UPDATE"
    found = await db.fetch(sql if wait else f"{sql} SKIP LOCKED", asked[:1] if wait else asked)
    return [inbox for (inbox,) in found]


async def _is_due(db: Connection, now: UnixTime) -> bool:
    """Whether anything has expired."""
    return bool(
        await db.fetchval(
            "SELECT EXISTS (SELECT FROM message WHERE forget_at <= $1)"
            " OR EXISTS (SELECT FROM log_mark WHERE until <= $1) OR EXISTS (SELECT FROM invite WHERE expires <= $1)"
            " OR EXISTS (SELECT FROM sheet WHERE week < $2)",
            *(now, weeks_of(now)[0]),
        )
    )


async def _sweep_messages(db: Connection, now: UnixTime, *, wait: bool) -> tuple[int, int]:
    rows = await db.fetch(
        "SELECT inbox, change FROM message WHERE forget_at <= $1 ORDER BY forget_at LIMIT $2", now, BATCH_ROWS
    )
    held = set(await _lock(db, {inbox for inbox, _ in rows}, wait=wait))
    ours = [row for row in rows if row[0] in held]
    # They may have been changed before they were locked. To ask for the time here would be to look at all that is due.
    again = await db.fetch(
        "SELECT inbox, change, forget_at FROM message"
        " JOIN unnest($1::bytea[], $2::bigint[]) AS old (inbox, change) USING (inbox, change)",
        *([inbox for inbox, _ in ours], [change for _, change in ours]),
    )
    due = [(inbox, change) for inbox, change, forget_at in again if forget_at <= now]
    await _remove(db, due, today=now // DAY_SECONDS)
    return len(rows), len(held)


async def _sweep_logs(db: Connection, now: UnixTime, *, wait: bool) -> tuple[int, int]:
    due = "SELECT inbox FROM log_mark WHERE until <= $1 ORDER BY until LIMIT $2"
    rows = await db.fetch(due, now, _BATCH_LOGS)
    held = await _lock(db, {inbox for (inbox,) in rows}, wait=wait)
    await move_bases(db, held, most=BATCH_ROWS, now=now)
    return len(rows), len(held)


async def _sweep_sheets(db: Connection, now: UnixTime, *, wait: bool) -> tuple[int, int]:
    week = weeks_of(now)[0]
    rows = await db.fetch("SELECT inbox FROM sheet WHERE week < $1 ORDER BY week LIMIT $2", week, _BATCH_SHEETS)
    held = await _lock(db, {inbox for (inbox,) in rows}, wait=wait)
    for table in ("ticket", "sheet"):
        await db.execute(f"DELETE FROM {table} WHERE inbox = ANY ($1) AND week < $2", held, week)  # noqa: S608 — above
    return len(rows), len(held)


async def _sweep_invites(db: Connection, now: UnixTime) -> None:
    await db.execute(
        "DELETE FROM invite WHERE code IN (SELECT code FROM invite WHERE expires <= $1 FOR UPDATE SKIP LOCKED)", now
    )
