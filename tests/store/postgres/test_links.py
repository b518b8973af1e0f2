"""Links and a failover: what was connected before it is not used after it."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import pytest

from inbox_server.store.postgres.links import Link
from inbox_server.store.postgres.primary import Cluster, Connection
from tests.support.postgres import server
from tests.support.postgres_server import OWNER, running

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(120)]


@pytest.fixture
def promoted() -> Iterator[int]:
    """The port of a server that became the primary by a failover."""
    with tempfile.TemporaryDirectory(prefix="inbox-postgres-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL's account has a folder in it
        with running(folder, server().password, promoted=True) as new:
            yield urlsplit(new.url).port or 0


class Line:
    """Leads to a server; nothing comes through while it is frozen."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.flows = asyncio.Event()
        self.flows.set()
        self.port = 0

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        async with asyncio.TaskGroup() as passing:

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                theirs, ours = await asyncio.open_connection("127.0.0.1", self._to)
                passing.create_task(self._pass_on(reader, ours))
                passing.create_task(self._pass_on(theirs, writer))

            listening = await asyncio.start_server(serve, "127.0.0.1", 0)
            self.port = listening.sockets[0].getsockname()[1]
            try:
                yield self
            finally:
                listening.close()
                self.flows.set()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while came := await reader.read(1 << 16):
                await self.flows.wait()
                writer.write(came)
        writer.close()


async def port_of(connection: Connection) -> int:
    port: int = await connection.fetchval("SELECT inet_server_port()")
    return port


async def found_port(cluster: Cluster) -> int:
    """Of the primary that somebody who connects now finds, as whoever listens does within seconds."""
    connection = await cluster.connect()
    try:
        return await port_of(connection)
    finally:
        await connection.close()


async def test_a_primary_that_slept_through_a_failover_is_not_asked(promoted: int) -> None:
    first = urlsplit(server().url).port or 0
    async with Line(first).open() as old, Line(promoted).open() as new:
        cluster = Cluster(f"postgresql://{OWNER}@127.0.0.1:{old.port},127.0.0.1:{new.port}/{OWNER}", server().password)
        link = Link(cluster)
        new.flows.clear()
        assert await link.run(port_of) == first
        old.flows.clear()
        new.flows.set()
        assert await found_port(cluster) == promoted
        old.flows.set()
        assert await link.run(port_of) == promoted
        assert {await found_port(cluster) for _ in range(5)} == {promoted}
        new.flows.clear()
        assert await found_port(cluster) == first  # there is no other
        await link.close()
