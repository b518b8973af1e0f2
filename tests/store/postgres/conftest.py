"""One database for several stores, as for the processes that share it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from inbox_server.store.postgres.opening import open_store
from inbox_server.store.postgres.primary import Connection
from tests.conftest import HandClock
from tests.support.postgres import cluster_of, read_rows
from tests.support.stores import CHECK_VALUE, QUOTA, Box

Opened = Callable[[], contextlib.AbstractAsyncContextManager[Box]]


@pytest.fixture
def opened(tmp_path: Path, clock: HandClock) -> Opened:
    """Opens the test's database once more, as another process does."""

    @contextlib.asynccontextmanager
    async def open_box() -> AsyncIterator[Box]:
        keys = tmp_path / "day-keys"
        async with open_store(
            cluster_of(tmp_path), day_keys_file=keys, check_value=CHECK_VALUE, quota=QUOTA, clock=clock
        ) as store:
            yield Box(store, clock)

    return open_box


@contextlib.asynccontextmanager
async def beside(folder: Path) -> AsyncIterator[Connection]:
    """A connection of somebody else's."""
    connection = await cluster_of(folder).connect(idle_in_transaction_session_timeout="0")
    try:
        yield connection
    finally:
        await connection.close()


async def until_it_waits(work: "asyncio.Future[Any]", db: Connection, folder: Path) -> None:
    """Until work on a connection waits for a lock, or is done."""
    waits = f"SELECT FROM pg_locks WHERE pid = {db.get_server_pid()} AND NOT granted"
    while not work.done() and not read_rows(folder, waits):  # noqa: ASYNC110 — the database tells nobody
        await asyncio.sleep(0)
