"""Looking at a PostgreSQL database and its server, as `doctor` does. Nothing is changed.

It asks with the connections that the server itself has: what a pooler takes away is missed here too.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from inbox_server.store.migrating import Mark
from inbox_server.store.operating import Standby
from inbox_server.store.postgres.primary import SETTINGS, Cluster, Connection, Failure
from inbox_server.store.postgres.restored import is_home
from inbox_server.store.postgres.standbys import read_standby
from inbox_server.store.postgres.upgrading import table_of_another
from inbox_server.store.postgres.usable import read_mark

_HEAR_SECONDS: Final = 2
_CHANNEL: Final = "inbox_doctor"
# Only these are read: a value in a log or a report is no secret, but no list of all settings is needed either.
_READ: Final = (
    *("fsync", "full_page_writes", "autovacuum", "wal_recycle", "archive_mode"),
    *("log_error_verbosity", "log_statement", "log_min_duration_statement", "log_min_duration_sample"),
    *("log_transaction_sample_rate", "log_parameter_max_length"),
)
_CONNECTIONS: Final = (
    "SELECT least(nullif(rolconnlimit, -1), nullif(datconnlimit, -1), current_setting('max_connections')::integer"
    " - current_setting('superuser_reserved_connections')::integer"
    " - coalesce(current_setting('reserved_connections', true), '0')::integer)"
    " FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()"
)
_WITH_STATISTICS: Final = (
    "SELECT DISTINCT relname::text || '.' || attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
    " WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND atttypid = 'bytea'::regtype"
    " AND attstattarget IS DISTINCT FROM 0 AND NOT attisdropped ORDER BY 1"
)
_RIGHTS: Final = (
    "SELECT has_schema_privilege(current_schema(), 'CREATE') AS can_create,"
    " coalesce((SELECT bool_and(pg_has_role(relowner, 'USAGE')) FROM pg_class"
    " WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')), true) AS owns,"
    " (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_super,"
    " to_regclass('schema_step') IS NOT NULL AS has_tables, to_regclass('home') IS NOT NULL AS has_home,"
    " to_regclass('migration') IS NOT NULL AS has_marks"
)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a database and its server are like.

    `version` is as `server_version_num` has it. `databases` is of how many the hosts are primaries. `step` is the
    schema's, None where there are no tables yet; `table_of_another` is one that is there all the same. `is_home` is
    False after a copy was put back (`restored.py`). `mark` is what the database says of a migration. `skew` is by how
    many seconds the database's clock is ahead. `with_statistics` are columns of bytes whose values ANALYZE copies.
    `unsettled` are settings of the session that were asked for and did not arrive. `connections` is how many the role
    may have, all hosts together.
    """

    version: int
    databases: int
    step: int | None
    table_of_another: str | None
    has_inboxes: bool
    is_home: bool
    mark: Mark | None
    secret_checks: tuple[bytes, ...]
    day_checks: tuple[tuple[int, bytes], ...]
    settings: dict[str, str]
    unsettled: tuple[str, ...]
    connections: int
    can_create: bool
    owns: bool
    is_super: bool
    with_statistics: tuple[str, ...]
    skew: float
    hears: bool
    standby: Standby


class NotReached(Exception):
    """No primary answered; the message says why, and holds nothing of the URL but its hosts."""


async def inspect(cluster: Cluster, *, clock: Callable[[], float] = time.time) -> Inspection:
    """Raises `NotReached`."""
    try:
        db = await cluster.connect()
        try:
            return await _inspect(db, cluster, clock)
        finally:
            with contextlib.suppress(*Failure):
                await db.close(timeout=_HEAR_SECONDS)
    except Failure as error:
        raise NotReached(error) from error


async def _inspect(db: Connection, cluster: Cluster, clock: Callable[[], float]) -> Inspection:
    (rights,) = await db.fetch(_RIGHTS)
    has_tables, has_home = rights["has_tables"], rights["has_home"]
    settings = await db.fetch("SELECT name, setting FROM pg_settings WHERE name = ANY ($1)", [*_READ, *SETTINGS])
    values = {row["name"]: row["setting"] for row in settings}
    return Inspection(
        version=int(await db.fetchval("SHOW server_version_num")),
        databases=await cluster.count_databases(),
        step=await db.fetchval("SELECT coalesce(max(number), 0) FROM schema_step") if has_tables else None,
        table_of_another=None if has_tables else await table_of_another(db),
        has_inboxes=has_tables and await db.fetchval("SELECT EXISTS (SELECT FROM inbox)"),
        is_home=not has_home or await is_home(db),
        mark=await read_mark(db) if rights["has_marks"] else None,
        secret_checks=await _rows(db, has_tables, "SELECT value FROM secret_check", lambda row: row[0]),
        day_checks=await _rows(db, has_tables, "SELECT day, value FROM day_check", tuple),
        settings=values,
        unsettled=await _unsettled(db),
        connections=await db.fetchval(_CONNECTIONS),
        can_create=rights["can_create"],
        owns=rights["owns"],
        is_super=rights["is_super"],
        with_statistics=tuple(row[0] for row in await db.fetch(_WITH_STATISTICS)),
        skew=await _skew(db, clock),
        hears=await _hears(db, cluster),
        standby=await read_standby(db),
    )


async def _rows(db: Connection, has_tables: bool, sql: str, read: Callable[[Any], Any]) -> tuple[Any, ...]:
    return tuple(read(row) for row in await db.fetch(sql)) if has_tables else ()


async def _unsettled(db: Connection) -> tuple[str, ...]:
    found = []
    for name, asked in SETTINGS.items():
        if await db.fetchval(f"SHOW {name}") != asked:
            found.append(name)
    return tuple(found)


async def _skew(db: Connection, clock: Callable[[], float]) -> float:
    """To within half of the way to the database and back."""
    before = clock()
    theirs = float(await db.fetchval("SELECT extract(epoch FROM clock_timestamp())"))
    return theirs - (before + clock()) / 2


async def _hears(db: Connection, cluster: Cluster) -> bool:
    """Whether a connection hears what another one says: through a pooler, it may hear itself and nobody else."""
    heard = asyncio.Event()
    other = await cluster.connect()
    try:
        async with asyncio.timeout(_HEAR_SECONDS):
            await db.add_listener(_CHANNEL, lambda *_: heard.set())
            await other.execute("SELECT pg_notify($1, '')", _CHANNEL)
            await heard.wait()
    except TimeoutError:
        return False
    finally:
        other.terminate()
    return True
