"""Bringing a database's tables up to date, beside servers of the version before, which go on."""

import asyncio
import functools
import logging
import time
from collections.abc import Sequence
from importlib import resources
from typing import Final

from inbox_server.store.contract import BadDatabase
from inbox_server.store.postgres.links import AGAIN
from inbox_server.store.postgres.primary import Connection

_HELD: Final = (
    "The tables cannot be brought up to date: somebody has used one for longer than a second, such as a dump."
)
_OF_ANOTHER: Final = (
    "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'f')"
    " AND relname <> 'schema_step' AND NOT EXISTS"  # of an extension, such as PostGIS
    " (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e')"
    " ORDER BY relname LIMIT 1"
)
_STEP_SECONDS: Final = 60
_STEP_PAUSE_SECONDS: Final = 5
_SCHEMA_LOCK: Final = 0x696E626F78  # the letters of "inbox": nobody else's, most likely

log = logging.getLogger(__name__)


@functools.cache
def schema_steps() -> list[str]:
    """The numbered SQL files, in order; `schema_step` has the numbers of those that ran.

    They are read once: what is installed later is of another version than this process.
    """
    folder = resources.files("inbox_server.store.postgres") / "schema"
    return [step.read_text(encoding="utf-8") for step in sorted(folder.iterdir(), key=lambda file: file.name)]


async def table_of_another(db: Connection) -> str | None:
    """A table that is there although this server has made none yet: the database is another program's."""
    name: str | None = await db.fetchval(_OF_ANOTHER)
    return name


async def upgrade(db: Connection) -> None:
    """Run the steps that this database has not seen, each as a whole, one process at a time. Raises `BadDatabase`."""
    steps = schema_steps()
    end = time.monotonic() + _STEP_SECONDS
    for number in range(1, len(steps) + 1):
        while not await _took_step(db, number, steps):
            if time.monotonic() > end:
                raise BadDatabase(f"{_HELD} Start the server again when that is over.")
            log.warning("%s Trying again: servers go on meanwhile.", _HELD)
            await asyncio.sleep(_STEP_PAUSE_SECONDS)


async def _took_step(db: Connection, number: int, steps: Sequence[str]) -> bool:
    """False when somebody is in its way for long.

    Whoever waits for a whole table keeps out of it all who come later, so it does not wait for long.
    """
    try:
        async with db.transaction():
            await db.execute("SET LOCAL lock_timeout = 0")
            await db.execute("SELECT pg_advisory_xact_lock($1)", _SCHEMA_LOCK)
            await db.execute("CREATE TABLE IF NOT EXISTS schema_step (number integer PRIMARY KEY)")
            newest: int = await db.fetchval("SELECT coalesce(max(number), 0) FROM schema_step")
            if newest > len(steps):
                raise BadDatabase(
                    "The database was written by a newer version of inbox-server. Install that version here too."
                )
            if newest == 0 and (name := await table_of_another(db)):
                raise BadDatabase(
                    f"The PostgreSQL database has tables of another program, such as {name}. It was left as it is. Name"
                    " a database or a schema of its own: docs/postgresql.md, Set up."
                )
            if newest < number:
                await db.execute("SET LOCAL lock_timeout = '1s'")
                await db.execute(steps[number - 1])
                await db.execute("INSERT INTO schema_step (number) VALUES ($1)", number)
    except AGAIN:
        return False
    return True
