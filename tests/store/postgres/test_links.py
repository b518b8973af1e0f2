"""Links and a failover: what was connected before it is not used after it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from inbox_server.errors import Unavailable
from inbox_server.store.postgres.links import Link, Links
from inbox_server.store.postgres.primary import Cluster, Connection
from tests.support.lines import Line
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


async def test_long_work_goes_on_while_its_host_is_there_and_ends_when_that_is_silent() -> None:
    """A host that has lost its power closes no connection, and the system would wait for hours."""
    async with Line(urlsplit(server().url).port or 0).open() as line:
        cluster = Cluster(f"postgresql://{OWNER}@127.0.0.1:{line.port}/{OWNER}", server().password)
        links = Links(cluster, 1, "testing", look_seconds=0.01)

        async def work() -> None:
            async with links.apart() as db:
                for _ in range(300):
                    assert await db.fetchval("SELECT true")
                line.flows.clear()
                await db.execute("SELECT true")

        with pytest.raises(Unavailable):
            await work()
        assert not line.flows.is_set()
        await links.close()
