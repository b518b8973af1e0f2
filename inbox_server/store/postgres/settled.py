"""Waiting for transactions that began before, and did not see what was committed since."""

import asyncio
import contextlib
from typing import Final

from inbox_server.store.postgres.primary import Connection

_LOOK_SECONDS: Final = 0.02
_NEXT: Final = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
# The oldest transaction that writes, or that somebody who reads has not seen the end of: a dump, a standby's reader.
_OLDEST: Final = """
    SELECT least(pg_snapshot_xmin(now)::text::bigint, pg_snapshot_xmax(now)::text::bigint - greatest(
        (
            SELECT max(age(backend_xmin)) FROM pg_stat_activity
            WHERE pid <> pg_backend_pid() AND coalesce(datname, current_database()) = current_database()
        ),
        (SELECT max(age(xmin)) FROM pg_replication_slots)
    )) FROM pg_current_snapshot() AS now
"""


async def others_ended(db: Connection, most_seconds: float) -> int:
    """Wait for everybody else in the database, but not for long; returns a number below which all have ended."""
    begun: int = await db.fetchval(_NEXT)
    oldest: int = await db.fetchval(_OLDEST)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(most_seconds):
            while oldest < begun:
                await asyncio.sleep(_LOOK_SECONDS)
                oldest = await db.fetchval(_OLDEST)
    return min(oldest, begun)
