"""Taking what is gone out of the files of `text` (covering.py), and giving room back to the file system."""

import contextlib
from typing import Final

import asyncpg

from inbox_server.store.postgres.covering import Crowded, cover, lay_zeros, uncover
from inbox_server.store.postgres.links import Links
from inbox_server.store.postgres.primary import Connection
from inbox_server.store.postgres.settled import others_ended

BLOCK_BYTES: Final = 8192
_FILLED_BYTES: Final = 4072  # of a block, by texts and their rows; the rest is for zeros
_ROW_HEAD_BYTES: Final = 92  # of a row, besides its body
_LOOKED_AT_BLOCKS: Final = 500  # some milliseconds
_MOVED_BLOCKS: Final = 20
_SPARE_BLOCKS: Final = 8  # that stay beside the full ones
_MOST_SECONDS: Final = 1.0  # for others' transactions; a dump takes longer, and then the next round does it
_OTHERS: Final = (asyncpg.LockNotAvailableError, asyncpg.UndefinedTableError)  # another process is there, or was
_DAYS: Final = """
    SELECT substring(relname FROM '^text_([0-9]+)$')::integer AS day, last_vacuum
    FROM pg_inherits JOIN pg_stat_all_tables ON relid = inhrelid
    WHERE inhparent = 'text'::regclass
"""
_DUE: Final = f"""
    SELECT day FROM ({_DAYS} AND coalesce(last_vacuum < now() - interval '1 minute', true)) AS old
    WHERE EXISTS (SELECT FROM gone_text WHERE gone_text.day = old.day)
"""  # noqa: S608 — names above
_PLACE: Final = "text.ctid >= ($1::text)::tid AND text.ctid < ($2::text)::tid"


async def vacuum_gone(reading: Links, writing: Links) -> None:
    """Take what is gone out of the files: each table once a minute, in all processes together."""
    if not await reading.run(lambda db: db.fetch(_DUE)):
        return
    async with writing.apart(lock_timeout="100ms") as db:
        for (day,) in await db.fetch(_DUE):
            with contextlib.suppress(*_OTHERS):
                await take_out(db, day)
        with contextlib.suppress(*_OTHERS):
            await db.execute("VACUUM gone_text")


async def take_out(db: Connection, day: int) -> None:
    """Take what is gone out of the table of a day."""
    await cover(db, day)
    ended = await others_ended(db, _MOST_SECONDS)  # what they may still see is not taken
    for _ in range(2):  # a vacuum passes over a page at which somebody reads just then
        await db.execute(f"VACUUM (INDEX_CLEANUP OFF) text_{day}")
    if await uncover(db, day, ended):
        await others_ended(db, _MOST_SECONDS)
    await db.execute(f"VACUUM (INDEX_CLEANUP ON) text_{day}")


async def file_bytes(db: Connection) -> int:
    """The size of everything in the schema."""
    size: int = await db.fetchval(
        "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class WHERE relkind = 'r'"
        " AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'inbox'::regclass)"
    )
    return size


async def give_back(writing: Links) -> int:
    """Take out what is gone, move texts from the end of each table to free places, and cut it off there.

    Returns how many bytes went. What deliveries and readers hold at that moment stays where it is.
    """
    async with writing.apart() as db:
        before = await file_bytes(db)
        for day, _ in await db.fetch(_DAYS):
            with contextlib.suppress(*_OTHERS):
                await take_out(db, day)
                await pack(db, day)
                await take_out(db, day)
        return max(before - await file_bytes(db), 0)


async def pack(db: Connection, day: int) -> None:
    """Move texts of a day from the end of their table to free places."""
    table = f"text_{day}"
    blocks: int = await db.fetchval(f"SELECT pg_relation_size('{table}') / {BLOCK_BYTES}")
    rows = body_bytes = 0
    for first in range(0, blocks, _LOOKED_AT_BLOCKS):
        place = _place(first, _LOOKED_AT_BLOCKS)
        ((some, size),) = await db.fetch(
            f"SELECT count(*), coalesce(sum(length(body)), 0) FROM {table} AS text WHERE {_PLACE}",  # noqa: S608
            *place,
        )
        rows, body_bytes = rows + some, body_bytes + size
    for first in range(_blocks_of(rows, body_bytes) + _SPARE_BLOCKS, blocks, _MOVED_BLOCKS):
        with contextlib.suppress(Crowded):  # by zeros that somebody's old transaction keeps there
            await _move(db, day, _place(first, _MOVED_BLOCKS))


def bytes_of(rows: int, body_bytes: int) -> int:
    """What so many texts take, with the room for zeros."""
    return 2 * (body_bytes + _ROW_HEAD_BYTES * rows)


def _blocks_of(rows: int, body_bytes: int) -> int:
    """How many blocks they fill, if they are alike."""
    in_one = max(1, 2 * _FILLED_BYTES * rows // max(1, bytes_of(rows, body_bytes)))
    return -(-rows // in_one)


def _place(first: int, blocks: int) -> tuple[str, str]:
    return f"({first},0)", f"({first + blocks},0)"


async def _move(db: Connection, day: int, place: tuple[str, str]) -> None:
    """Move the texts that lie there and are in use, of all inboxes whose rows nobody holds, and lay zeros over them."""
    table = f"text_{day}"
    async with db.transaction():
        inboxes = await db.fetch(f"SELECT DISTINCT inbox FROM {table} AS text WHERE {_PLACE}", *place)  # noqa: S608
        held = await db.fetch(
            "SELECT inbox FROM inbox WHERE inbox = ANY ($1) ORDER BY inbox FOR UPDATE SKIP LOCKED",
            [inbox for (inbox,) in inboxes],
        )
        texts = await db.fetch(
            f"SELECT text.ctid::text, inbox, id, day, body FROM {table} AS text JOIN message USING (inbox, id, day)"  # noqa: S608
            f" WHERE {_PLACE} AND inbox = ANY ($3)",
            *(*place, [inbox for (inbox,) in held]),
        )
        await lay_zeros(db, day, [ctid for ctid, *_ in texts])
        records = [tuple(row) for _, *row in texts]
        await db.copy_records_to_table(table, records=records, columns=("inbox", "id", "day", "body"))
