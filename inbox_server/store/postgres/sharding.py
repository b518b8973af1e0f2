"""Which cluster has an inbox: 256 shards, by the first byte of its hash, and a table in the first cluster."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from inbox_server.errors import Unavailable
from inbox_server.store.postgres.primary import Connection

SHARDS: Final = 256
UNKNOWN: Final = -1
_MOVING_SECONDS: Final = 30
IS_AWAY: Final = "EXISTS (SELECT FROM away WHERE shard = get_byte($1, 0))"
"""Whether the shard of the inbox $1 is in another cluster, or on its way: SQL."""


@dataclass(frozen=True, slots=True)
class Placed:
    """For each shard the number of its cluster, in the order of the configuration; and which are being moved."""

    clusters: Sequence[int]
    moving: frozenset[int] = field(default_factory=frozenset)

    def cluster_of(self, inbox: bytes) -> int:
        """Raises `Unavailable` while the inbox is being moved."""
        shard = shard_of(inbox)
        if shard in self.moving:
            raise is_moving()
        return self.clusters[shard]

    def of(self, cluster: int) -> list[int]:
        """The shards of a cluster."""
        return [shard for shard, number in enumerate(self.clusters) if number == cluster]


class Placing:
    """The table as it was last read. `numbers` are those of the clusters by their ids."""

    placed: Placed

    def __init__(self, numbers: Mapping[bytes, int]) -> None:
        self._numbers = numbers

    async def read(self, db: Connection) -> None:
        """Read it from the first cluster. A shard in a cluster that this process does not know counts as moving."""
        rows = await db.fetch("SELECT number, cluster, target FROM shard ORDER BY number")
        clusters = [self._numbers.get(row[1], UNKNOWN) for row in rows]
        unknown = {shard for shard, number in enumerate(clusters) if number == UNKNOWN}
        self.placed = Placed(clusters, frozenset(unknown | {row[0] for row in rows if row[2] is not None}))


def shard_of(inbox: bytes) -> int:
    return inbox[0]


def is_moving() -> Unavailable:
    return Unavailable(
        "moving", "This inbox is being moved to another database of this server.", retry_after=_MOVING_SECONDS
    )


async def cluster_id(db: Connection, new: bytes) -> bytes:
    """What a cluster is known by; `new` if it has no id yet."""
    await db.execute("INSERT INTO cluster (one, id) VALUES (1, $1) ON CONFLICT DO NOTHING", new)
    id: bytes = await db.fetchval("SELECT id FROM cluster")
    return id


async def place_shards(db: Connection, ids: Sequence[bytes]) -> None:
    """Fill an empty table: evenly over new clusters; and where the first one has inboxes, it keeps them all."""
    async with db.transaction():
        await db.execute("LOCK TABLE shard IN EXCLUSIVE MODE")
        if await db.fetchval("SELECT EXISTS (SELECT FROM shard)"):
            return
        used = await db.fetchval("SELECT EXISTS (SELECT FROM inbox)")
        places = [ids[0] if used else ids[number % len(ids)] for number in range(SHARDS)]
        await db.execute(
            "INSERT INTO shard (number, cluster) SELECT * FROM unnest($1::integer[], $2::bytea[])",
            list(range(SHARDS)),
            places,
        )


@contextlib.asynccontextmanager
async def shards_at_rest(first: Connection) -> AsyncIterator[None]:
    """No move ends meanwhile: what the table in the first cluster says is true of the others too."""
    async with first.transaction():
        await first.execute("LOCK TABLE shard IN SHARE MODE")
        yield


async def note_away(db: Connection, here: Sequence[int]) -> None:
    """Say in a cluster which shards are not there, before anybody asks it for them. None that is there is named."""
    away = sorted(set(range(SHARDS)) - set(here))
    await db.execute("INSERT INTO away (shard) SELECT unnest($1::integer[]) ON CONFLICT DO NOTHING", away)


async def lock_inbox(db: Connection, inbox: bytes) -> bool:
    """Whether there is such an inbox here; nobody else changes it until the transaction is over.

    One whose shard is away is not here: a process that has not heard of a move must not write into what is copied.
    """
    away: bool | None = await db.fetchval(
        f"SELECT {IS_AWAY} FROM inbox WHERE inbox = $1 FOR UPDATE",  # noqa: S608 — above
        inbox,
    )
    return away is False


async def is_away(db: Connection, inbox: bytes) -> bool:
    away: bool = await db.fetchval(f"SELECT {IS_AWAY}", inbox)
    return away
