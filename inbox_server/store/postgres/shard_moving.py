"""Moving a shard to another cluster, inbox by inbox, beside servers that run: they refuse its inboxes meanwhile.

Each step may be done again. So a move that was killed is taken up where it was, by the same command:

1. the first cluster's table says that the shard is being moved: processes refuse it once they have read that;
2. the old cluster says that it is away: a process that has not read the table yet believes no "there is none" there;
3. after a while, so that all have heard, and no transaction from before is left, its inboxes are copied: each within a
   transaction that holds its row, and dropped from the old cluster once the new one has it;
4. the new cluster says that the shard is there, and the table names it.

Two runs for one shard keep apart by a lock in the first cluster. One that loses its connection there breaks off before
the next inbox; the row of the inbox that it is at keeps them apart.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inbox_server.store.contract import BadDatabase
from inbox_server.store.postgres.opening import all_connected
from inbox_server.store.postgres.primary import Cluster, Connection
from inbox_server.store.postgres.sharding import SHARDS
from inbox_server.store.postgres.text_days import drop_texts, ensure_days
from inbox_server.store.postgres.upgrading import upgrade
from inbox_server.store.postgres.usable import check_usable

HEARD_SECONDS: Final = 12.0
"""Servers read the table every two seconds; a work of theirs is over after five, and a stale transaction too."""
_SESSION: Final = {
    "tcp_keepalives_idle": "10",  # what a run holds is free soon after its host is gone
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "lock_timeout": "30s",  # a server that starts may hold the table of shards
}
_STILL_OURS: Final = "SELECT"  # the connection that has the lock answers
_NOT_BEGUN: Final = "The table of shards is not made yet. Start the server once with all of store.urls."
TABLES: Final = (
    *("inbox", "message", "logged", "log_mark"),
    *("listed", "subscription", "sheet", "ticket", "suspended", "name"),
)
"""Every table that has rows of inboxes, but for their texts; a test holds that it is complete."""
_TEXTS: Final = (
    "SELECT text.inbox, text.id, text.day, body FROM message JOIN text ON text.inbox = $1 AND text.id = message.id"
    " AND text.day = message.day WHERE message.inbox = $1"
)


@dataclass(frozen=True, slots=True)
class Moved:
    """How many inboxes and unread entries were moved by this run."""

    inboxes: int
    unread: int


@dataclass(frozen=True, slots=True)
class Held:
    """What a cluster has: its shards by number, those of them that are on their way elsewhere, how many inboxes.

    `id` is its own, wherever it is reached.
    """

    id: bytes
    shards: list[int]
    moving: list[int]
    inboxes: int


async def list_shards(clusters: Sequence[Cluster]) -> list[Held]:
    """What each cluster has, in the order of the configuration. Raises `BadDatabase`."""
    async with all_connected(clusters) as connections:
        ids = await _ids(connections)
        rows = await connections[0].fetch("SELECT number, cluster, target FROM shard ORDER BY number")
        return [
            Held(
                id,
                [row[0] for row in rows if row[1] == id],
                [row[0] for row in rows if row[1] == id and row[2] is not None],
                await db.fetchval("SELECT count(*) FROM inbox"),
            )
            for id, db in zip(ids, connections, strict=True)
        ]


async def _ids(connections: Sequence[Connection]) -> list[bytes]:
    """The clusters' own ids. Raises `BadDatabase`."""
    ids = []
    for db in connections:
        if not await db.fetchval("SELECT to_regclass('cluster') IS NOT NULL"):
            raise BadDatabase(_NOT_BEGUN)
        ids.append(await db.fetchval("SELECT id FROM cluster"))
    if None in ids:
        raise BadDatabase(_NOT_BEGUN)
    return ids


async def move_shard(
    clusters: Sequence[Cluster],
    shard: int,
    target: int,
    *,
    heard_seconds: float = HEARD_SECONDS,
    told: Callable[[str], None] = lambda _text: None,
) -> Moved:
    """Move a shard to the cluster with this number, in the order of the configuration. Raises `BadDatabase`.

    The clusters are those of the configuration, and all have been opened by a server before.
    """
    async with all_connected(clusters, **_SESSION) as connections:
        first = connections[0]
        for db in connections:
            await upgrade(db)
            await check_usable(db)
        ids = await _ids(connections)
        if not await first.fetchval("SELECT pg_try_advisory_lock('shard'::regclass::oid::bigint::integer, $1)", shard):
            raise BadDatabase(
                f"Shard {shard} is being moved by another command, which has not ended yet. Let it end, or end it."
            )
        row = await first.fetchrow("SELECT cluster, target FROM shard WHERE number = $1", shard)
        if row is None:
            raise BadDatabase(_NOT_BEGUN)
        if row[0] not in ids:
            raise BadDatabase(f"Shard {shard} is in a cluster that store.urls does not name.")
        if row[1] not in (None, ids[target]):
            begun = ids.index(row[1]) + 1 if row[1] in ids else "N, once store.urls names its cluster"
            raise BadDatabase(
                f"Shard {shard} is on its way to another cluster. Finish that first: `shard move {shard} --to {begun}`."
            )
        if row[0] == ids[target]:
            return Moved(0, 0)
        source_db, target_db = connections[ids.index(row[0])], connections[target]
        await first.execute("UPDATE shard SET target = $2 WHERE number = $1", shard, ids[target])
        await source_db.execute("INSERT INTO away (shard) VALUES ($1) ON CONFLICT DO NOTHING", shard)
        told(f"shard {shard} is refused from now on; waiting {heard_seconds:.0f} s until every server knows")
        await asyncio.sleep(heard_seconds)
        moved = await _move_all(first, source_db, target_db, shard)
        await first.execute(_STILL_OURS)
        async with first.transaction():  # a server that starts reads the table before it or after it, and writes `away`
            await first.execute("UPDATE shard SET cluster = $2, target = NULL WHERE number = $1", shard, ids[target])
            await target_db.execute("DELETE FROM away WHERE shard = $1", shard)
        return moved


async def _move_all(first: Connection, source: Connection, target: Connection, shard: int) -> Moved:
    inboxes = unread = 0
    while rows := await source.fetch(
        "SELECT inbox FROM inbox WHERE inbox >= $1 AND ($2::bytea IS NULL OR inbox < $2)"
        " UNION SELECT inbox FROM suspended WHERE inbox >= $1 AND ($2::bytea IS NULL OR inbox < $2) LIMIT 100",
        *_range(shard),
    ):
        for (inbox,) in rows:
            await first.execute(_STILL_OURS)
            found = await _move(source, target, inbox)
            if found is not None:
                unread += found
                inboxes += 1
    return Moved(inboxes, unread)


def _range(shard: int) -> tuple[bytes, bytes | None]:
    return bytes([shard]), bytes([shard + 1]) if shard + 1 < SHARDS else None


async def _move(source: Connection, target: Connection, inbox: bytes) -> int | None:
    """How many unread entries were moved. Whatever the target has of this inbox is from a run that broke off.

    None if it is not in the source any more: another run has just moved it, and what the target has is all there is.
    """
    async with source.transaction():
        await source.execute("SET LOCAL idle_in_transaction_session_timeout = 0")  # a large inbox takes its time
        row = await source.fetchrow("SELECT unread, change FROM inbox WHERE inbox = $1 FOR UPDATE", inbox)
        if row is None and not await source.fetch("SELECT 1 FROM suspended WHERE inbox = $1 FOR UPDATE", inbox):
            return None
        unread, change = row or (0, 0)
        texts = await source.fetch(_TEXTS, inbox)
        await ensure_days(target, {row["day"] for row in texts})
        async with target.transaction():
            await target.execute("SELECT keep_ahead($1)", change)
            for table in TABLES:
                await target.execute(f"DELETE FROM {table} WHERE inbox = $1", inbox)  # noqa: S608 — names above
                await _copy(source, target, table, inbox)
            await _copy_texts(target, inbox, texts)
        await drop_texts(source, [(inbox, row["id"], row["day"]) for row in texts])
        for table in reversed(TABLES):
            await source.execute(f"DELETE FROM {table} WHERE inbox = $1", inbox)  # noqa: S608
    return int(unread)


async def _copy_texts(target: Connection, inbox: bytes, texts: Sequence[Any]) -> None:
    """What a run that broke off has left, and what is not there any more, is written over."""
    left = {tuple(row) for row in await target.fetch("SELECT inbox, id, day FROM text WHERE inbox = $1", inbox)}
    await drop_texts(target, sorted(left - {(row["inbox"], row["id"], row["day"]) for row in texts}))
    await target.executemany(
        "INSERT INTO text (inbox, id, day, body) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (inbox, id, day) DO UPDATE SET body = excluded.body",
        [tuple(row) for row in texts],
    )


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
