"""Taking what was read out of the tables of texts, and giving their room back to the file system.

What was read lies there as zeros, and a dead copy of the text stays until PostgreSQL vacuums its page. So a row of
zeros is dropped only after that: in the hole that a dropped row leaves, the copy would outlast the vacuum.
"""

from typing import Final

from inbox_server.store.postgres.links import Links
from inbox_server.store.postgres.primary import Connection
from inbox_server.store.postgres.sealing import BLANK
from inbox_server.store.postgres.settled import others_ended

BLOCK_BYTES: Final = 8192
_BLOCK_ROWS: Final = 7
ROW_BYTES: Final = BLOCK_BYTES // _BLOCK_ROWS
_LOOKED_AT_BLOCKS: Final = 500  # some milliseconds
_MOVED_BLOCKS: Final = 20
_SPARE_BLOCKS: Final = 8  # that stay beside the full ones
_TABLES: Final = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'text'::regclass"
# At most once a minute, in all processes together. After a crash PostgreSQL no longer knows what is dead.
_DUE: Final = (
    f"{_TABLES} AND ($1::text IS NULL OR inhrelid::regclass::text = $1) AND EXISTS ("
    " SELECT FROM pg_stat_all_tables WHERE relid = inhrelid"
    " AND (last_vacuum IS NULL OR n_dead_tup > 0 AND last_vacuum < now() - interval '1 minute'))"
)
_PLACE: Final = "ctid >= ($1::text)::tid AND ctid < ($2::text)::tid"


async def vacuum_read(reading: Links, writing: Links) -> None:
    """Take what was read out of the files. What another process does meanwhile is left to it."""
    due = await reading.run(lambda db: db.fetch(_DUE, None))
    if due:
        async with writing.apart() as db:
            for (table,) in due:
                if await db.fetchval(_DUE, table):
                    await db.execute(f"VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF, SKIP_LOCKED) {table}")


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
            " AND age(xmin) > age(($4::bigint % 4294967296)::text::xid) FOR UPDATE SKIP LOCKED))",
            *(*place, BLANK, vacuumed),
        )
        rows += await db.fetchval(f"SELECT count(*) FROM {table} WHERE {_PLACE}", *place)  # noqa: S608
    await _vacuum(db, table)  # from now on, the first free blocks are filled first
    for first in range(-(-rows // _BLOCK_ROWS) + _SPARE_BLOCKS, blocks, _MOVED_BLOCKS):
        await _move(db, table, _place(first, _MOVED_BLOCKS))
    await _vacuum(db, table)


async def _vacuum(db: Connection, table: str) -> int:
    """Vacuum what was dead when this began; returns a number: that of any transaction which had ended is below it."""
    ended = await others_ended(db)  # what they may still see is not taken
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
