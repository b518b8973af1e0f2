"""Finding the primary: each host has a time of its own, and a host that is down or silent hides no other."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from inbox_server.store.postgres.primary import Cluster
from tests.support.postgres import cluster_of, schema_of, server, url_of
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


async def test_several_connect_at_once(tmp_path: Path) -> None:
    cluster = cluster_of(tmp_path)
    connections = await asyncio.gather(*(cluster.connect() for _ in range(8)))
    assert {await each.fetchval("SELECT current_schema") for each in connections} == {schema_of(tmp_path)}
    for each in connections:
        await each.close()
