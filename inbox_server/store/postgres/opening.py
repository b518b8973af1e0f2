"""Opening the database: the right secret and day keys, an up-to-date schema; and a store on it."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from inbox_server.clock import DAY_SECONDS, Clock, UnixTime, system_clock
from inbox_server.identity.layer import NO_LAYER, ONLY_ONE, Layer, Layers
from inbox_server.store.contract import BadDatabase, Changed, Committed, Quota, Store
from inbox_server.store.layered import LayeredStore, shown
from inbox_server.store.postgres.day_check import check_day_keys, note_day_keys
from inbox_server.store.postgres.day_keys import STATE_BYTES, DayKeys, make_day_keys
from inbox_server.store.postgres.failures import advice, answered, reason
from inbox_server.store.postgres.joining import Seen, check_order, look
from inbox_server.store.postgres.primary import Cluster, Connection, Failure
from inbox_server.store.postgres.restored import check_home
from inbox_server.store.postgres.sealing import Sealing
from inbox_server.store.postgres.settings import is_draining
from inbox_server.store.postgres.sharded import ShardedStore
from inbox_server.store.postgres.sharding import UNKNOWN, Placing, cluster_id, note_away, place_shards, shards_at_rest
from inbox_server.store.postgres.store import PostgresStore
from inbox_server.store.postgres.upgrading import upgrade
from inbox_server.store.postgres.usable import Admitting, check_alone, read_mark, refuse_moved

_ID_BYTES: Final = 16


@contextlib.asynccontextmanager
async def open_store(
    cluster: Cluster,
    *,
    day_keys_file: Path,
    check_value: bytes,
    layers: Layers = ONLY_ONE,
    quota: Quota,
    changed: Changed = lambda _inboxes: None,
    committed: Committed = lambda _jobs, _seconds: None,
    watched: Callable[[], Collection[bytes]] = list,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    clock: Clock = system_clock,
) -> AsyncIterator[Store]:
    """Open the database for as long as the context lasts, and make its tables if there are none. Raises `BadDatabase`.

    Other processes may have it open too. `watched` are the inboxes that somebody waits for here.
    """
    parts = _Parts(quota, changed, committed, watched)
    await check_hosts(cluster)
    async with connected(cluster) as db:
        prepared = await prepare(db, day_keys_file, check_value, layers, clock(), random_bytes)
        await check_alone(db)
    layer = prepared.layer
    async with make_store(cluster, prepared, parts, check=check_alone) as store:
        yield store if layer is NO_LAYER else LayeredStore(store, layer)


@contextlib.asynccontextmanager
async def open_sharded_store(
    clusters: Sequence[Cluster],
    *,
    day_keys_file: Path,
    check_value: bytes,
    layers: Layers = ONLY_ONE,
    quota: Quota,
    changed: Changed = lambda _inboxes: None,
    committed: Committed = lambda _jobs, _seconds: None,
    watched: Callable[[], Collection[bytes]] = list,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    clock: Clock = system_clock,
) -> AsyncIterator[Store]:
    """As `open_store`, over several clusters, the first of which has the table of shards. Raises `BadDatabase`."""
    parts = _Parts(quota, changed, committed, watched)
    every, seen = [], list[Seen]()
    await asyncio.gather(*map(check_hosts, clusters))
    for cluster in clusters:
        async with connected(cluster) as db:
            every.append(await prepare(db, day_keys_file, check_value, layers, clock(), random_bytes))
            seen.append(await look(db, await cluster_id(db, random_bytes(_ID_BYTES))))
    ids = [each.id for each in seen]
    if len(set(ids)) < len(ids):
        raise BadDatabase("Two of store.urls lead to the same database.")
    if len({id(each.layer) for each in every}) > 1:
        raise BadDatabase("The clusters of store.urls are under different lines of the secret's file.")
    for prepared in every:  # what is unread in a cluster that is away needs its keys when it is back
        prepared.keys.share_file([each.keys for each in every])
    placing = Placing({id: number for number, id in enumerate(ids)})
    async with connected(clusters[0]) as db:
        await check_order(db, seen)
        await place_shards(db, ids)
        async with shards_at_rest(db):
            await placing.read(db)
            if UNKNOWN in placing.placed.clusters:
                raise BadDatabase(
                    "Some inboxes are in a cluster that store.urls does not name. Name all of them, the first one"
                    " first."
                )
            for number, cluster in enumerate(clusters):
                async with connected(cluster) as there:
                    await note_away(there, placing.placed.of(number))
    async with contextlib.AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(make_store(cluster, prepared, parts, beat=None if number else placing.read))
            for number, (cluster, prepared) in enumerate(zip(clusters, every, strict=True))
        ]
        store, layer = ShardedStore(stores, lambda: placing.placed), every[0].layer
        yield store if layer is NO_LAYER else LayeredStore(store, layer)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a database was found to be: its layer, this host's day keys, whether it takes nothing new."""

    layer: Layer
    keys: DayKeys
    draining: bool


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a store works with."""

    quota: Quota
    changed: Changed
    committed: Committed
    watched: Callable[[], Collection[bytes]]


async def prepare(
    db: Connection,
    day_keys_file: Path,
    check_value: bytes,
    layers: Layers,
    now: UnixTime,
    random_bytes: Callable[[int], bytes],
    *,
    migrating: bool = False,
) -> Prepared:
    """Make the tables that are missing, and see that secret and day keys are the right ones. Raises `BadDatabase`.

    A database that is part of a migration, or was, is for a migration only.
    """
    await upgrade(db)
    if not migrating:
        refuse_moved(await read_mark(db))
    layer = await claim(db, check_value, layers)
    await check_home(db)
    keys = await _day_keys(db, day_keys_file, now, random_bytes)
    return Prepared(layer, keys, await is_draining(db))


def make_store(
    cluster: Cluster,
    prepared: Prepared,
    parts: _Parts,
    *,
    check: Callable[[Connection], Awaitable[None]] | None = None,
    beat: Callable[[Connection], Awaitable[None]] | None = None,
) -> PostgresStore:
    """A store on a cluster, which knows inboxes as they are stored. `beat` is called every two seconds.

    `check` raises `BadDatabase`, for what came over the database since it was prepared.
    """
    layer = prepared.layer
    return PostgresStore(
        replace(cluster, admit=Admitting(prepared.keys, check)),
        Sealing(prepared.keys),
        parts.quota,
        changed=parts.changed if layer is NO_LAYER else shown(parts.changed, layer),
        committed=parts.committed,
        watched=parts.watched if layer is NO_LAYER else lambda: list(map(layer.hide, parts.watched())),
        draining=prepared.draining,
        beat=beat,
    )


async def check_hosts(cluster: Cluster) -> None:
    """Raises `BadDatabase` where the hosts of one URL are not primary and standbys of one database."""
    if await cluster.count_databases() > 1:
        raise BadDatabase(
            f"The hosts {cluster.places()} are primaries of different databases, and each would get a part of what is"
            " delivered. One URL is for a primary and its standbys; several databases are for store.urls:"
            " docs/postgresql.md, Shards"
        )


@contextlib.asynccontextmanager
async def connected(cluster: Cluster, **session: str) -> AsyncIterator[Connection]:
    """A connection to the primary, for a command. Raises `BadDatabase`, also for what fails within the context.

    `session` are settings of it.
    """
    try:
        db = await cluster.connect(**session)
    except Failure as error:
        what = "cannot be used" if answered(error) else "cannot be reached"
        raise BadDatabase(f"PostgreSQL at {cluster.places()} {what}: {reason(error)}. {advice(error)}") from None
    try:
        yield db
    except Failure as error:
        raise failed([cluster], error) from None
    finally:
        with contextlib.suppress(*Failure):
            await db.close(timeout=2)


@contextlib.asynccontextmanager
async def all_connected(clusters: Sequence[Cluster], **session: str) -> AsyncIterator[list[Connection]]:
    """As `connected`, to several clusters at once, in their order."""
    async with contextlib.AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connected(cluster, **session)) for cluster in clusters]
        try:
            yield connections
        except Failure as error:
            lost = [cluster for cluster, db in zip(clusters, connections, strict=True) if db.is_closed()]
            raise failed(lost or clusters, error) from None


def failed(clusters: Sequence[Cluster], error: BaseException, then: str = "") -> BadDatabase:
    """What a command says of a failure in one of these; `then` is what to do once that is right."""
    places = " or ".join(cluster.places() for cluster in clusters)
    return BadDatabase(f"PostgreSQL at {places} failed: {reason(error)}. {advice(error)} {then}".rstrip())


async def claim(db: Connection, check_value: bytes, layers: Layers) -> Layer:
    """The layer that the database is under; a new one gets the newest. Raises `BadDatabase` for another secret's."""
    kept = await db.fetch("SELECT value FROM secret_check")
    if not kept:
        await db.execute(
            "INSERT INTO secret_check (value) SELECT $1 WHERE NOT EXISTS (SELECT FROM secret_check)"
            " ON CONFLICT DO NOTHING",
            layers[0].hide(check_value),
        )
        kept = await db.fetch("SELECT value FROM secret_check")
    for layer in layers:
        if [row[0] for row in kept] == [layer.hide(check_value)]:
            return layer
    raise BadDatabase(
        "The secret is not the one that this database was made with; nothing in it would be found. Copy the file with"
        " that secret from another host: docs/troubleshooting.md, The secret is lost."
    )


async def _day_keys(db: Connection, path: Path, now: UnixTime, random_bytes: Callable[[int], bytes]) -> DayKeys:
    """The day keys of this host. The first host of a new database makes them. Raises `BadDayKeys`."""
    if not await db.fetchval("SELECT EXISTS (SELECT FROM day_check)"):
        with contextlib.suppress(FileExistsError):  # from an earlier start, or from another process of this host
            make_day_keys(path, now // DAY_SECONDS, random_bytes(STATE_BYTES))
    keys = DayKeys(path)
    await check_day_keys(db, keys)
    await note_day_keys(db, keys)
    return keys


async def add_invite(
    cluster: Cluster, code: bytes, *, expires: UnixTime, check_value: bytes, layers: Layers = ONLY_ONE
) -> None:
    """Remember an invite, beside servers that run or without one. Raises `BadDatabase`."""
    async with connected(cluster) as db:
        await upgrade(db)
        refuse_moved(await read_mark(db))
        layer = await claim(db, check_value, layers)
        await check_home(db)
        await db.execute("INSERT INTO invite (code, expires) VALUES ($1, $2)", layer.hide(code), expires)
