"""Growth on PostgreSQL: latencies on a small and on a large database, in inboxes of a hundred entries each.

Both are on one PostgreSQL of their own. Where huge pages can be reserved, its buffers are in them and have room for all
that is stored; else they are few, and the rest is the kernel's to keep (docs/performance.md has both at 10 million).
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import asyncpg

from benchmarks.filling_postgres import fill
from benchmarks.growth import ENTRIES, Filled, deliver, list_pages
from benchmarks.huge_pages import huge_pages
from benchmarks.servers import SECRET, UNLIMITED, deployment, inbox_server
from benchmarks.signing import people
from benchmarks.turns import Pace
from benchmarks.wrk import Run
from inbox_server.store.postgres.primary import Cluster
from tests.support.postgres_server import OWNER, Server, running, write_password

_ENTRY_BYTES: Final = 2_100  # with its text, in all tables and indexes
_SHARE_OF_BUFFERS: Final = 1.02  # what PostgreSQL has for them, beside them
_MORE_BYTES: Final = 192 << 20  # for all else that its processes share, and for the catalogs
_SETTINGS: Final = {
    "max_wal_size": "8GB",  # or the filling writes all it has changed every few seconds
    "checkpoint_timeout": "30min",
}


def measure_growth(folder: Path, pace: Pace, sizes: Sequence[int]) -> dict[str, Any]:
    """Medians of p50 in milliseconds by how much is stored, and the ratios of the last size to the first."""
    buffers = _ENTRY_BYTES * sum(sizes) + _MORE_BYTES
    with (
        tempfile.TemporaryDirectory() as place,
        huge_pages(int(buffers * _SHARE_OF_BUFFERS) + _MORE_BYTES) as are_huge,
    ):
        Path(place).chmod(0o755)
        in_memory = {"shared_buffers": f"{buffers >> 10}kB", "huge_pages": "on"} if are_huge else {}
        print(f"   huge pages: {f'{buffers >> 20:,} MB of buffers' if are_huge else 'none'}", flush=True)
        with running(Path(place), settings=_SETTINGS | in_memory) as server:
            databases = [_Database(folder / str(size), server, size) for size in sizes]
            asyncio.run(_settle(server))
            return {"huge_pages": are_huge} | _compared(databases, pace)


class _Database:
    """A schema that is filled, and the server's folder that goes with it."""

    def __init__(self, folder: Path, server: Server, size: int) -> None:
        self.size = size
        self._cluster = Cluster(f"{server.url}?search_path=of_{size}", server.password)
        started, owners = time.monotonic(), people(size // ENTRIES)
        folder.mkdir(parents=True)
        password_file = write_password(folder, server.password)
        store = {"store.url": self._cluster.url, "store.password_file": str(password_file)}
        self.filled = Filled(deployment(folder, UNLIMITED | store), owners)
        data = self.filled.deployed.data
        data.mkdir()
        asyncio.run(_ask(self._cluster, f"CREATE SCHEMA of_{size}"))
        asyncio.run(fill(self._cluster, data / "day-keys", SECRET, owners, entries=ENTRIES))
        print(f"   {size:,} entries were put in, in {time.monotonic() - started:.0f} s", flush=True)

    def stored(self) -> int:
        return int(asyncio.run(_ask(self._cluster, "SELECT coalesce(sum(unread), 0) FROM inbox")))


async def _ask(cluster: Cluster, statement: str) -> Any:
    connection = await cluster.connect()
    try:
        return await connection.fetchval(statement)
    finally:
        connection.terminate()


async def _settle(server: Server) -> None:
    """Let PostgreSQL write what it has changed, and read all tables and indexes into memory."""
    connection = await asyncpg.connect(server.admin_url.rpartition("/")[0] + f"/{OWNER}")
    try:
        await connection.execute("CHECKPOINT")
        await connection.execute("CREATE EXTENSION pg_prewarm")
        await connection.fetch(
            "SELECT pg_prewarm(pg_class.oid::regclass)"
            " FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
            " WHERE nspname LIKE 'of\\_%' AND relkind IN ('r', 'i')"
        )
    finally:
        await connection.close()


def _compared(databases: Sequence[_Database], pace: Pace) -> dict[str, Any]:
    runs: list[dict[str, list[Run]]] = [{"deliver": [], "list": []} for _ in databases]
    for _ in range(pace.rounds):
        for database, found in zip(databases, runs, strict=True):
            requests = database.filled.deployed.folder / "requests"
            with inbox_server(database.filled.deployed) as server:
                found["list"].append(list_pages(server, requests, database.filled, pace))
                found["deliver"].append(deliver(server, requests, database.filled, pace, database.stored))
    told: dict[str, Any] = {}
    for what in ("deliver", "list"):
        taken = [statistics.median(run.p50_ms for run in found[what]) for found in runs]
        told[f"{what}_p50_ms"] = {f"{each.size:,}": ms for each, ms in zip(databases, taken, strict=True)}
        told[f"{what}_p50"] = taken[-1] / taken[0]
    return told
