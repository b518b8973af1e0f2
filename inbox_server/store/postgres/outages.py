"""Outages: the newest time that the database has seen, and what expired while no server ran."""

from typing import Final

from inbox_server.clock import DAY_SECONDS, UnixTime, end_of_day
from inbox_server.store.contract import PROLONGED_SECONDS, Quota
from inbox_server.store.postgres.log import LongerLife, log_longer
from inbox_server.store.postgres.primary import Connection
from inbox_server.store.postgres.sealing import Sealing
from inbox_server.store.postgres.text_days import ensure_days, move_texts

_BATCH_ROWS: Final = 50  # each is a handful of statements, and others wait for the inbox
_SEEN_SECONDS: Final = 600  # each is a commit; and when it stopped is nobody's business to the second
# A life of a day or more ends with a UTC day, and is known by that: so does one in 86,400 of the shorter ones.
_LAPSED: Final = "forget_at > $1 AND forget_at <= $2 AND day IS NOT NULL AND expires % 86400 = 86399"


async def read_seen(db: Connection) -> UnixTime | None:
    time: int | None = await db.fetchval("SELECT time FROM seen")
    return None if time is None else UnixTime(time)


async def note_seen(db: Connection, now: UnixTime) -> None:
    await db.execute(
        "INSERT INTO seen (one, time) VALUES (1, $1) ON CONFLICT (one) DO UPDATE SET time = excluded.time",
        rounded(now),
    )


def rounded(now: UnixTime) -> UnixTime:
    return UnixTime(now // _SEEN_SECONDS * _SEEN_SECONDS)


async def lapsed_inboxes(db: Connection, since: UnixTime, now: UnixTime) -> list[bytes]:
    """Those in which something lapsed between the two that lived a day or more."""
    found = await db.fetch(f"SELECT DISTINCT inbox FROM message WHERE {_LAPSED}", since, now)  # noqa: S608 — above
    return [inbox for (inbox,) in found]


async def prolong(db: Connection, sealing: Sealing, inbox: bytes, since: UnixTime, now: UnixTime, quota: Quota) -> bool:
    """Keep for some more days a batch of what expired in an inbox; returns whether that was the last.

    A longer lifetime is a change that every device must see, and is logged.
    """
    until = end_of_day(UnixTime(now + PROLONGED_SECONDS))
    day = until // DAY_SECONDS
    await ensure_days(db, {day})
    change: int | None = await db.fetchval("SELECT next_change(change) FROM inbox WHERE inbox = $1 FOR UPDATE", inbox)
    rows = await db.fetch(
        f"SELECT change, id, day FROM message WHERE {_LAPSED} AND inbox = $3 ORDER BY change LIMIT $4",  # noqa: S608
        *(since, now, inbox, _BATCH_ROWS),
    )
    if change is None or not rows:
        return True
    await move_texts(db, sealing, inbox, [(id, old_day) for _, id, old_day in rows], day)
    await db.execute(
        "UPDATE message SET expires = $2, forget_at = $2, day = $3, change = new"
        " FROM unnest($4::bigint[], $5::bigint[]) AS moved (old, new) WHERE inbox = $1 AND change = old",
        *(inbox, until, day, [old for old, _, _ in rows], list(range(change, change + len(rows)))),
    )
    await db.execute("UPDATE inbox SET change = $2 WHERE inbox = $1", inbox, change + len(rows) - 1)
    for _, id, _ in rows:
        await log_longer(db, LongerLife(inbox, id, until, now), quota)
    return len(rows) < _BATCH_ROWS
