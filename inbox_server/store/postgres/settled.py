"""Waiting for transactions that began before, and did not see what was committed since."""

import asyncio
import contextlib
from typing import Final

from inbox_server.store.postgres.primary import Connection

_MOST_SECONDS: Final = 3.0  # ours end sooner; somebody else's on the same server may go on
_LOOK_SECONDS: Final = 0.02
_NEXT: Final = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
_OLDEST: Final = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"


async def others_ended(db: Connection) -> int:
    """Wait for all that write now, but not for long; returns a number below which all have ended."""
    begun: int = await db.fetchval(_NEXT)
    oldest: int = await db.fetchval(_OLDEST)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_MOST_SECONDS):
            while oldest < begun:
                await asyncio.sleep(_LOOK_SECONDS)
                oldest = await db.fetchval(_OLDEST)
    return min(oldest, begun)
