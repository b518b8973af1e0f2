"""Whether a standby has what was committed: what `/ready` and `doctor` tell."""

from typing import Final

from inbox_server.store.operating import Standby
from inbox_server.store.postgres.primary import Connection

_LOOK: Final = (
    "SELECT current_setting('synchronous_standby_names') <> '' AS asked,"
    " (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')) AS in_sync,"
    " pg_has_role('pg_read_all_stats', 'USAGE') AS may_see"
)


async def read_standby(db: Connection) -> Standby:
    (row,) = await db.fetch(_LOOK)
    if not row["asked"]:
        return "none"
    if not row["may_see"]:
        return "unknown"
    return "in_sync" if row["in_sync"] else "none"
