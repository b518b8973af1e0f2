"""Moving a shard to another cluster, inbox by inbox, beside servers that run: they refuse its inboxes meanwhile.

Each step may be done again. So a move that was killed is taken up where it was, by the same command:

1. the first cluster's table says that the shard is being moved: processes refuse it once they have read that;
2. the old cluster says that it is away: a process that has not read the table yet believes no "there is none" there;
3. after a while, so that all have heard, and no transaction from before is left, its inboxes are copied: each within a
   transaction that holds its row, and dropped from the old cluster once the new one has it;
4. the new cluster says that the shard is there, and the table names it.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from inbox_server.store.contract import BadDatabase
from inbox_server.store.postgres.opening import connected
from inbox_server.store.postgres.primary import Cluster, Connection
from inbox_server.store.postgres.sharding import SHARDS
from inbox_server.store.postgres.text_days import ensure_days

HEARD_SECONDS: Final = 12.0
"""Servers read the table every two seconds; a work of theirs is over after five, and a stale transaction too."""
TABLES: Final = (
    *(
        "inbox",
        "message",
        "text",
        "logged",
        "log_mark",
        "listed",
        "subscription",
        "sheet",
        "ticket",
        "suspended",
        "name",
    ),
)
"""Every table that has rows of inboxes; a test holds that it is complete."""


@dataclass(frozen=True, slots=True)
class Moved:
    """How many inboxes and unread entries were moved by this run."""

    inboxes: int
    unread: int


async def move_shard(
    clusters: list[Cluster],
    shard: int,
    target: int,
    *,
    heard_seconds: float = HEARD_SECONDS,
    told: Callable[[str], None] = lambda _text: None,
) -> Moved:
    """Move a shard to the cluster with this number, in the order of the configuration. Raises `BadDatabase`.

    The clusters are those of the configuration, and all have been opened by a server before.
    """
    async with AsyncExitStack() as stack:
        first, *others = [await stack.enter_async_context(connected(cluster)) for cluster in clusters]
        connections = [first, *others]
        ids = [await db.fetchval("SELECT id FROM cluster") for db in connections]
        row = await first.fetchrow("SELECT cluster, target FROM shard WHERE number = $1", shard)
        if row is None or None in ids:
            raise BadDatabase("The table of shards is not made yet. Start the server once with all of store.urls.")
        if row[0] not in ids:
            raise BadDatabase(f"Shard {shard} is in a cluster that store.urls does not name.")
        if row[1] not in (None, ids[target]):
            raise BadDatabase(f"Shard {shard} is on its way to another cluster. Finish that move first.")
        if row[0] == ids[target]:
            return Moved(0, 0)
        source_db, target_db = connections[ids.index(row[0])], connections[target]
        await first.execute("UPDATE shard SET target = $2 WHERE number = $1", shard, ids[target])
        await source_db.execute("INSERT INTO away (shard) VALUES ($1) ON CONFLICT DO NOTHING", shard)
        told(f"shard {shard} is refused from now on; waiting {heard_seconds:.0f} s until every server knows")
        await asyncio.sleep(heard_seconds)
        moved = await _move_all(source_db, target_db, shard)
        await target_db.execute("DELETE FROM away WHERE shard = $1", shard)
        await first.execute("UPDATE shard SET cluster = $2, target = NULL WHERE number = $1", shard, ids[target])
        return moved


async def _move_all(source: Connection, target: Connection, shard: int) -> Moved:
    inboxes = unread = 0
    while rows := await source.fetch(
        "SELECT inbox FROM inbox WHERE inbox >= $1 AND ($2::bytea IS NULL OR inbox < $2)"
        " UNION SELECT inbox FROM suspended WHERE inbox >= $1 AND ($2::bytea IS NULL OR inbox < $2) LIMIT 100",
        *_range(shard),
    ):
        for (inbox,) in rows:
            unread += await _move(source, target, inbox)
            inboxes += 1
    return Moved(inboxes, unread)


def _range(shard: int) -> tuple[bytes, bytes | None]:
    return bytes([shard]), bytes([shard + 1]) if shard + 1 < SHARDS else None


async def _move(source: Connection, target: Connection, inbox: bytes) -> int:
    """How many unread entries were moved. Whatever the target has of this inbox is from a run that broke off."""
    async with source.transaction():
        await source.execute("SET LOCAL idle_in_transaction_session_timeout = 0")  # a large inbox takes its time
        row = await source.fetchrow("SELECT unread, change FROM inbox WHERE inbox = $1 FOR UPDATE", inbox)
        unread, change = row or (0, 0)
        days = await source.fetch("SELECT DISTINCT day FROM message WHERE inbox = $1 AND day IS NOT NULL", inbox)
        await ensure_days(target, {day for (day,) in days})
        async with target.transaction():
            await target.execute("SELECT keep_ahead($1)", change)
            for table in TABLES:
                await target.execute(f"DELETE FROM {table} WHERE inbox = $1", inbox)  # noqa: S608 — names above
                await _copy(source, target, table, inbox)
        for table in reversed(TABLES):
            await source.execute(f"DELETE FROM {table} WHERE inbox = $1", inbox)  # noqa: S608
    return int(unread)


async def _copy(source: Connection, target: Connection, table: str, inbox: bytes) -> None:
    rows = await source.fetch(f"SELECT * FROM {table} WHERE inbox = $1", inbox)  # noqa: S608 — names above
    if table == "name":  # the name may have been claimed elsewhere meanwhile
        await target.executemany(
            "INSERT INTO name (name, inbox, claimed) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE"
            " SET inbox = excluded.inbox, claimed = excluded.claimed WHERE name.claimed <= excluded.claimed",
            [(row["name"], row["inbox"], row["claimed"]) for row in rows],
        )
    elif rows:
        await target.copy_records_to_table(table, records=[tuple(row) for row in rows], columns=list(rows[0].keys()))
