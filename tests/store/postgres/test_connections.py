"""How many connections a store has to its database: as many as the operator says, however much is asked of it."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from inbox_server.store.postgres.opening import open_store
from tests.conftest import START, HandClock
from tests.support.patience import PATIENCE_SECONDS
from tests.support.postgres import cluster_of
from tests.support.stores import CHECK_VALUE, QUOTA, Box

pytestmark = pytest.mark.postgres
BOXES = 40


@pytest.mark.parametrize("connections", [6, 8, 20])
async def test_a_store_has_as_many_connections_as_it_may(tmp_path: Path, connections: int) -> None:
    cluster = replace(cluster_of(tmp_path), connections=connections)
    async with open_store(
        cluster, day_keys_file=tmp_path / "day-keys", check_value=CHECK_VALUE, quota=QUOTA, clock=lambda: START
    ) as store:
        boxes = [Box(store, HandClock(), bytes([number]) * 16) for number in range(BOXES)]
        await asyncio.gather(*(box.claim() for box in boxes))
        await asyncio.gather(*(box.deliver("a text") for box in boxes))
        await asyncio.gather(*(box.acknowledge("a text") for box in boxes))
        await asyncio.gather(*(box.page() for box in boxes), *(box.settings() for box in boxes))
        db = await cluster.connect(application_name="somebody else")
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
        async with asyncio.timeout(PATIENCE_SECONDS):  # one tries at the start whether notifications come, and ends
            while await db.fetchval(count, cluster.session_name()) != connections:
                pass
        await db.close()
