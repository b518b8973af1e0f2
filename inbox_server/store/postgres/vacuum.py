"""Taking what was read out of the files of `text`, and giving their room back to the file system.

PostgreSQL never writes over a row, and does not clear the hole that one leaves. So a text goes in three steps. It is
written over with zeros: as the tables of texts are only half full, the new row is in the same page. Then the table is
vacuumed, which moves the rows of the page together, over the old one. Only then the row of zeros is dropped.
"""

import contextlib
from typing import Final

import asyncpg

from inbox_server.store.postgres.links import Links
from inbox_server.store.postgres.primary import Connection
from inbox_server.store.postgres.sealing import BLANK
from inbox_server.store.postgres.settled import others_ended

BLOCK_BYTES: Final = 8192
_BLOCK_ROWS: Final = 3
ROW_BYTES: Final = BLOCK_BYTES // _BLOCK_ROWS
_LOOKED_AT_BLOCKS: Final = 500  # some milliseconds
_MOVED_BLOCKS: Final = 20
_SPARE_BLOCKS: Final = 8  # that stay beside the full ones
_DROPPED_ROWS: Final = 500
_MOST_SECONDS: Final = 1.0  # for others' transactions; a dump takes longer, and then the next round does it
_OTHERS: Final = (asyncpg.LockNotAvailableError, asyncpg.UndefinedTableError)  # another process is there, or was
_TABLES: Final = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'text'::regclass"
_DUE: Final = """
    SELECT day FROM (
        SELECT substring(relname FROM '^text_([0-9]+)$')::integer AS day  -- PostgreSQL may cast before it filters
        FROM pg_inherits JOIN pg_stat_all_tables ON relid = inhrelid
        WHERE inhparent = 'text'::regclass AND coalesce(last_vacuum < now() - interval '1 minute', true)
    ) AS old WHERE EXISTS (SELECT FROM blank_text WHERE blank_text.day = old.day)
"""
_PLACE: Final = "ctid >= ($1::text)::tid AND ctid < ($2::text)::tid"
_ENDED: Final = "age(xmin) > age(({}::bigint % 4294967296)::text::xid)"


async def vacuum_read(reading: Links, writing: Links) -> None:
    """Take what was read out of the files: each table once a minute, in all processes together."""
    if not await reading.run(lambda db: db.fetch(_DUE)):
        return
    async with writing.apart(lock_timeout="100ms") as db:
        for (day,) in await db.fetch(_DUE):
            with contextlib.suppress(*_OTHERS):
                await _drop_blanks(db, day, await _vacuum(db, f"text_{day}"))
        with contextlib.suppress(*_OTHERS):
            await db.execute("VACUUM blank_text")


async def _drop_blanks(db: Connection, day: int, vacuumed: int) -> None:
    """Drop the rows that were written over before the vacuum, unless they have a text again."""
    while True:
        async with db.transaction():
            rows = await db.fetch(
                "DELETE FROM blank_text WHERE ctid = ANY (ARRAY(SELECT ctid FROM blank_text"  # noqa: S608 — names
                f" WHERE day = $1 AND {_ENDED.format('$2')} LIMIT {_DROPPED_ROWS} FOR UPDATE SKIP LOCKED))"
                " RETURNING inbox, id",
                *(day, vacuumed),
            )
            await db.execute(
                f"DELETE FROM text_{day} WHERE ctid = ANY (ARRAY(SELECT each.ctid FROM text_{day} AS each"  # noqa: S608
                " JOIN unnest($1::bytea[], $2::bytea[]) AS old (inbox, id) USING (inbox, id)"
                " WHERE body = $3 FOR UPDATE OF each SKIP LOCKED))",
                *([inbox for inbox, _ in rows], [id for _, id in rows], BLANK),
            )
        if not rows:
            break


async def file_bytes(db: Connection) -> int:
    """The size of everything in the schema."""
    size: int = await db.fetchval(
        "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class WHERE relkind = 'r'"
        " AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'inbox'::regclass)"
    )
    return size


async def give_back(writing: Links) -> int:
    """Drop the rows of zeros, move texts from the end of each table to free places, and cut it off there.

    Returns how many bytes went. What deliveries and readers hold at that moment stays where it is.
    """
    async with writing.apart() as db:
        before = await file_bytes(db)
        for (table,) in await db.fetch(_TABLES):
            with contextlib.suppress(*_OTHERS):
                await _give_back(db, table)
        return max(before - await file_bytes(db), 0)


async def _give_back(db: Connection, table: str) -> None:
    vacuumed = await _vacuum(db, table)
    blocks: int = await db.fetchval(f"SELECT pg_relation_size('{table}') / {BLOCK_BYTES}")
    rows = 0
    for first in range(0, blocks, _LOOKED_AT_BLOCKS):
        place = _place(first, _LOOKED_AT_BLOCKS)
        await db.execute(
            f"DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {_PLACE} AND body = $3"  # noqa: S608
            f" AND {_ENDED.format('$4')} FOR UPDATE SKIP LOCKED))",
            *(*place, BLANK, vacuumed),
        )
        rows += await db.fetchval(f"SELECT count(*) FROM {table} WHERE {_PLACE}", *place)  # noqa: S608
    await _vacuum(db, table)  # from now on, the first free blocks are filled first
    for first in range(-(-rows // _BLOCK_ROWS) + _SPARE_BLOCKS, blocks, _MOVED_BLOCKS):
        await _move(db, table, _place(first, _MOVED_BLOCKS))
    await _vacuum(db, table)


async def _vacuum(db: Connection, table: str) -> int:
    """Vacuum what was dead when this began; returns a number: that of any transaction which had ended is below it."""
    ended = await others_ended(db, _MOST_SECONDS)  # what they may still see is not taken
    await db.execute(f"VACUUM (INDEX_CLEANUP ON) {table}")
    return ended


def _place(first: int, blocks: int) -> tuple[str, str]:
    return f"({first},0)", f"({first + blocks},0)"


async def _move(db: Connection, table: str, place: tuple[str, str]) -> None:
    """Move the texts that lie there, of all inboxes whose rows nobody holds."""
    async with db.transaction():
        inboxes = await db.fetch(f"SELECT DISTINCT inbox FROM {table} WHERE {_PLACE}", *place)  # noqa: S608
        held = await db.fetch(
            "SELECT inbox FROM inbox WHERE inbox = ANY ($1) ORDER BY inbox FOR UPDATE SKIP LOCKED",
            [inbox for (inbox,) in inboxes],
        )
        await db.execute(
            f"WITH moved AS (DELETE FROM {table} WHERE {_PLACE} AND inbox = ANY ($3) RETURNING inbox, id, day, body)"  # noqa: S608
            f" INSERT INTO {table} (inbox, id, day, body) SELECT inbox, id, day, body FROM moved",
            *(*place, [inbox for (inbox,) in held]),
        )
