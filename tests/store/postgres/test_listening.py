"""Whether notifications come is tried with another connection, because a pooler lets a client hear itself alone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import pytest

from inbox_server.store.postgres.listening import Listening
from inbox_server.store.postgres.primary import Cluster, Connection
from tests.store.postgres.conftest import beside
from tests.support.patience import PATIENCE_SECONDS
from tests.support.poolers import pooling
from tests.support.postgres import cluster_of, schema_of, server, url_of
from tests.support.stores import BOB, STORES, claimed_box

pytestmark = pytest.mark.postgres


async def _hears(cluster: Cluster) -> bool:
    """What it found out by the time at which it first asks for what changed."""
    asks = asyncio.Event()

    async def beat(_: Connection) -> None:
        asks.set()

    async with Listening(cluster, lambda _inboxes: None, list, beat) as listening:
        await asks.wait()
        return listening.hears


async def test_a_direct_line_hears(tmp_path: Path) -> None:
    assert await _hears(cluster_of(tmp_path))


async def test_a_schema_with_a_long_name_hears(tmp_path: Path) -> None:
    """Names of channels have at most 63 bytes, as those of schemas have."""
    short, long = schema_of(tmp_path), "x" * 63
    url = url_of(tmp_path)
    connection = await cluster_of(tmp_path).connect()
    await connection.execute(f"CREATE SCHEMA {long}")
    try:
        async with asyncio.timeout(10):
            assert await _hears(Cluster(url.replace(short, long), server().password))
    finally:
        await connection.execute(f"DROP SCHEMA {long}")
        await connection.close()


async def test_a_pooler_in_transaction_mode_is_seen_although_a_client_hears_itself(tmp_path: Path) -> None:
    port = int(server().url.rpartition(":")[2].partition("/")[0])
    async with pooling(port) as other:
        cluster = Cluster(url_of(tmp_path).replace(f":{port}/", f":{other}/"), server().password)
        connection = await cluster.connect()
        heard = asyncio.Event()
        await connection.add_listener("itself", lambda *_: heard.set())
        await connection.execute("SELECT pg_notify('itself', '')")
        await heard.wait()
        await connection.close()
        assert not await _hears(cluster)


@contextlib.asynccontextmanager
async def listening(folder: Path) -> AsyncIterator[asyncio.Queue[bytes]]:
    """What is told to somebody who waits for Bob's inbox."""
    told: asyncio.Queue[bytes] = asyncio.Queue()

    def changed(inboxes: Collection[bytes]) -> None:
        for inbox in inboxes:
            told.put_nowait(inbox)

    async def beat(_: Connection) -> None:
        pass

    async with Listening(cluster_of(folder), changed, lambda: [BOB], beat):
        yield told


async def test_one_that_went_before_the_first_poll_is_told(tmp_path: Path) -> None:
    """Whoever waits for it began when it was there."""
    async with claimed_box(tmp_path, kind=STORES["postgres"]), beside(tmp_path) as connection:
        await connection.execute("DELETE FROM inbox")
        async with listening(tmp_path) as told, asyncio.timeout(PATIENCE_SECONDS):
            for _ in range(2):  # when it connects, and with the first poll
                assert await told.get() == BOB


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("DELETE FROM inbox", id="went-elsewhere"),
        pytest.param("UPDATE inbox SET refused = true", id="is-full"),
        pytest.param("UPDATE inbox SET gone = 'push'", id="lost-a-subscription"),
        pytest.param("INSERT INTO suspended SELECT inbox FROM inbox", id="is-suspended"),
    ],
)
async def test_what_changes_no_number_is_told_though_no_notification_came(tmp_path: Path, change: str) -> None:
    async with (
        claimed_box(tmp_path, kind=STORES["postgres"]),
        beside(tmp_path) as connection,
        listening(tmp_path) as told,
    ):
        for _ in range(2):  # when it connects, and with the first poll
            assert await told.get() == BOB
        await connection.execute(change)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await told.get() == BOB
