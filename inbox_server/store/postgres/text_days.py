"""Texts by day: each day has a table of its own, made before its first text comes, and dropped when the day is over.

A table is made apart and then attached, and detached before it is dropped: neither makes a delivery wait, where
`CREATE TABLE ... PARTITION OF` and dropping an attached table lock the whole of `text`.
"""

import contextlib
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

import asyncpg

from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.store.postgres.links import Links
from inbox_server.store.postgres.primary import Connection
from inbox_server.store.postgres.sealing import Sealing

_LATE_SECONDS: Final = 600  # hosts' clocks differ by less, and no delivery takes as long
_MAKE: Final = """
    DROP TABLE IF EXISTS text_{day};  -- detached once, when a clock was wrong
    CREATE TABLE text_{day} (LIKE text INCLUDING ALL) WITH (
        fillfactor = 50,  -- the other half is for zeros (covering.py)
        autovacuum_vacuum_scale_factor = 0.02
    );
    ALTER TABLE text_{day}
        ALTER inbox SET STATISTICS 0, ALTER id SET STATISTICS 0,
        ALTER body SET STATISTICS 0, ALTER body SET STORAGE PLAIN;
    ALTER TABLE text ATTACH PARTITION text_{day} FOR VALUES FROM ({day}) TO ({day} + 1)
"""

# What is unread has its end on its day, and is forgotten then.
_IS_ANY_LEFT: Final = "SELECT EXISTS (SELECT FROM message WHERE forget_at < $1::bigint * 86400 AND day < $1)"
_IN_THE_WAY: Final = (
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.DeadlockDetectedError,
    asyncpg.UndefinedTableError,
    asyncpg.ObjectNotInPrerequisiteStateError,
)


class _Table(NamedTuple):
    """The table of a day. `leaving` is one that somebody began to detach, and did not end."""

    day: int
    attached: bool
    leaving: bool


async def _tables(db: Connection) -> list[_Table]:
    rows = await db.fetch(
        "SELECT substring(relname FROM '^text_([0-9]+)$')::integer, inhrelid IS NOT NULL,"
        " coalesce(inhdetachpending, false) FROM pg_class"
        " LEFT JOIN pg_inherits ON inhrelid = oid AND inhparent = 'text'::regclass"
        " WHERE relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'text'::regclass)"
        " AND relkind = 'r' AND relname ~ '^text_[0-9]+$'"
    )
    return [_Table(*row) for row in rows]


async def ensure_days(db: Connection, days: Collection[int]) -> None:
    """Make the tables of these days, as far as they are missing. Several processes may do so at once."""
    if not await _missing(db, days):
        return
    async with db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock(hashtext('text_days'), 'text'::regclass::oid::bigint::integer)")
        for day in await _missing(db, days):
            await db.execute(_MAKE.format(day=int(day)))


async def _missing(db: Connection, days: Collection[int]) -> list[int]:
    return sorted(set(days) - {table.day for table in await _tables(db) if table.attached})


async def drop_days(reading: Links, writing: Links, sealing: Sealing, now: UnixTime) -> None:
    """Drop the keys and the tables of days that are over, once nothing unread of them is left."""
    today = now // DAY_SECONDS
    over = [
        table
        for table in await reading.run(_tables)
        if (table.day + 1) * DAY_SECONDS + _LATE_SECONDS <= now or table.leaving
    ]
    if sealing.keys.day >= today and not over:
        return
    if await reading.run(lambda db: db.fetchval(_IS_ANY_LEFT, today)):
        return
    if sealing.keys.day < today:
        sealing.move_on(today)
    if over:
        async with writing.apart(lock_timeout="300ms", statement_timeout="3s") as db:
            for table in sorted(over, key=lambda table: not table.leaving):
                # Who is in our way, such as a dump, or another process that does the same: the next round comes soon.
                with contextlib.suppress(*_IN_THE_WAY):
                    await _drop(db, table)


async def _drop(db: Connection, table: _Table) -> None:
    """Deliveries and readers do not wait for this, but it waits for those that began before."""
    if table.attached:
        how = "FINALIZE" if table.leaving else "CONCURRENTLY"
        await db.execute(f"ALTER TABLE text DETACH PARTITION text_{table.day} {how}")
    await db.execute("DELETE FROM gone_text WHERE day = $1", table.day)
    await db.execute(f"DROP TABLE text_{table.day}")


async def move_text(db: Connection, sealing: Sealing, inbox: bytes, id: bytes, old_day: int, new_day: int) -> None:
    """Seal a text under the key of another day, within a transaction that holds the inbox's row."""
    await move_texts(db, sealing, inbox, [(id, old_day)], new_day)


async def move_texts(
    db: Connection, sealing: Sealing, inbox: bytes, old: Iterable[tuple[bytes, int]], new_day: int
) -> None:
    """As `move_text`, of several: ids and days. One that cannot be opened is moved as it is, and stays so."""
    places = [(id, day) for id, day in old if day != new_day]
    if not places:
        return
    await ensure_days(db, {new_day})
    ids, days = [id for id, _ in places], [day for _, day in places]
    found = await db.fetch(
        "SELECT id, day, body FROM text JOIN unnest($2::bytea[], $3::integer[]) AS old (id, day) USING (id, day)"
        " WHERE inbox = $1",
        *(inbox, ids, days),
    )
    await db.execute(
        "INSERT INTO text (inbox, id, day, body) SELECT $1, id, $3, body FROM unnest($2::bytea[], $4::bytea[])"
        " AS new (id, body) ON CONFLICT (inbox, id, day) DO UPDATE SET body = excluded.body",
        *(inbox, [id for id, _, _ in found], new_day),
        [sealing.reseal(inbox, id, day, new_day, body) for id, day, body in found],
    )
    await drop_texts(db, [(inbox, id, day) for id, day in places])


async def drop_texts(db: Connection, places: Sequence[tuple[bytes, bytes, int]]) -> None:
    """Mark texts as gone, within a transaction that holds the inboxes' rows: inbox, id and day of each.

    The next vacuum takes them out (vacuum.py).
    """
    if places:
        await db.execute(
            "INSERT INTO gone_text (inbox, id, day) SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::integer[])",
            *(list(column) for column in zip(*places, strict=True)),
        )
