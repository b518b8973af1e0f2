"""Whether clusters may be used together in the order in which they are named: the first one has the table of shards.

Where another one is named first, a second table would be made there, and inboxes of the others would not be found.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from inbox_server.store.contract import BadDatabase
from inbox_server.store.postgres.primary import Connection

_LOOK: Final = (
    "SELECT EXISTS (SELECT FROM shard) AS has_table, EXISTS (SELECT FROM away) AS was_joined,"
    " EXISTS (SELECT FROM inbox) AS has_inboxes"
)
_WRONG_FIRST: Final = (
    "The first of store.urls is not the one that was first before, which has the table of shards. Name that one first,"
    " and all others behind it."
)


class Seen(NamedTuple):
    """What a cluster has before it is used. `was_joined`: some shards were in another one."""

    id: bytes
    has_table: bool
    was_joined: bool
    has_inboxes: bool


async def look(db: Connection, id: bytes) -> Seen:
    (row,) = await db.fetch(_LOOK)
    return Seen(id, *row)


async def check_order(first: Connection, seen: Sequence[Seen]) -> None:
    """Raises `BadDatabase`. `seen` was read before: another process may be making the table."""
    with_shards = {id for (id,) in await first.fetch("SELECT DISTINCT cluster FROM shard")}
    is_new = not with_shards
    if any(each.has_table for each in seen[1:]) or (is_new and any(each.has_table or each.was_joined for each in seen)):
        raise BadDatabase(_WRONG_FIRST)
    for number, each in enumerate(seen[1:], 2):
        if each.has_inboxes and not each.was_joined and each.id not in with_shards:
            raise BadDatabase(
                f"Cluster {number} of store.urls has inboxes of another server, which nobody would find. A new cluster"
                " must be empty: docs/postgresql.md, Shards"
            )
