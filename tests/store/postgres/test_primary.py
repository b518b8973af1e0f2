"""Finding the primary: each host has a time of its own, and a host that is down or silent hides no other."""

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest

from inbox_server.store.contract import BadDatabase
from inbox_server.store.postgres.opening import check_hosts
from inbox_server.store.postgres.primary import Cluster
from tests.support import postgres_server
from tests.support.postgres import cluster_of, schema_of, server, url_of
from tests.support.postgres_server import Server
from tests.support.serving import free_port

pytestmark = pytest.mark.postgres


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Connections are made there, as by the kernel of a frozen host, and nobody ever answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def _with_hosts(url: str, *ports: int) -> str:
    """The URL with these hosts before its own."""
    user, at, rest = url.rpartition("@")
    return f"{user}{at}{''.join(f'127.0.0.1:{port},' for port in ports)}{rest}"


async def test_a_host_that_is_silent_or_down_hides_no_other(tmp_path: Path, silent_port: int) -> None:
    cluster = Cluster(_with_hosts(url_of(tmp_path), silent_port, free_port()), server().password)
    connection = await cluster.connect()
    assert await connection.fetchval("SELECT current_user") == "inbox"
    await connection.close()


async def test_without_a_primary_it_says_what_postgresql_said(tmp_path: Path, silent_port: int) -> None:
    wrong = Cluster(_with_hosts(url_of(tmp_path), free_port()), password="another")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await wrong.connect()
    nowhere = Cluster(f"postgresql://inbox@127.0.0.1:{silent_port},127.0.0.1:{free_port()}/inbox")
    with pytest.raises(OSError):  # noqa: PT011 — TimeoutError is one
        await nowhere.connect()


@pytest.fixture
def other() -> Iterator[Server]:
    """A server beside that of the test run, which has the same role and password."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with postgres_server.running(Path(folder), server().password) as other:
            yield other


async def test_hosts_of_different_databases_are_refused(tmp_path: Path, other: Server) -> None:
    """Connections would go to one or the other, and so would what is delivered."""
    url, password = url_of(tmp_path), server().password
    ours, theirs = (int(each.rpartition(":")[2].partition("/")[0]) for each in (server().url, other.url))
    both = Cluster(_with_hosts(url, theirs, free_port()), password)
    assert await both.count_databases() == 2
    with pytest.raises(BadDatabase, match="different databases"):
        await check_hosts(both)
    await check_hosts(Cluster(_with_hosts(url, ours, free_port()), password))


async def test_several_connect_at_once(tmp_path: Path) -> None:
    cluster = cluster_of(tmp_path)
    connections = await asyncio.gather(*(cluster.connect() for _ in range(8)))
    assert {await each.fetchval("SELECT current_schema") for each in connections} == {schema_of(tmp_path)}
    for each in connections:
        await each.close()


@pytest.mark.parametrize(
    ("places", "hosts"),
    [
        ("db1,db2:5433", [("db1", 5432), ("db2", 5433)]),
        ("[fd00::1]:5433,[::1]", [("fd00::1", 5433), ("::1", 5432)]),
        ("%2Fvar%2Frun%2FPostgreSQL:5433", [("/var/run/PostgreSQL", 5433)]),
        ("", [("localhost", 5432)]),
    ],
)
def test_hosts_are_read_from_the_url(places: str, hosts: list[tuple[str, int]]) -> None:
    assert Cluster(f"postgresql://inbox@{places}/inbox").hosts() == hosts


async def test_a_unix_socket_is_a_host(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(suffix=".Sockets") as folder:
        async with _relay(Path(folder) / ".s.PGSQL.5433"):
            url = url_of(tmp_path)
            place = url.rpartition("@")[2].partition("/")[0]
            connection = await Cluster(
                url.replace(place, f"{quote(folder, safe='')}:5433"), server().password
            ).connect()
            assert await connection.fetchval("SELECT current_user") == "inbox"
            await connection.close()


@contextlib.asynccontextmanager
async def _relay(path: Path) -> AsyncIterator[None]:
    """A Unix socket in front of the server of the test run, which has none. Raises when a relay has failed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = int(server().url.rpartition(":")[2].partition("/")[0])
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pass_on(reader, far_writer), _pass_on(far_reader, writer))

    relay = await asyncio.start_unix_server(serve, path)
    async with relay:
        yield


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
    writer.close()
