"""The admin listener of several server processes: one place to ask, whichever process takes the request."""

import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from inbox_server.clock_guard import ClockGuard
from inbox_server.config.config import Tcp
from inbox_server.http.admin import make_admin_app
from inbox_server.http.host_admin import make_host_admin_app
from inbox_server.http.listening import listening, listening_at
from inbox_server.http.unix_socket import bound_socket
from inbox_server.metrics import Metrics, merged
from inbox_server.world.local_world import World
from tests.conftest import HandClock
from tests.http.test_metrics import read


class Host:
    """Two processes' own admin listeners, and the one that asks both of them."""

    def __init__(self, folder: Path) -> None:
        self.sockets = folder / "process-1", folder / "process-2"
        self.metrics = Metrics(), Metrics()
        self.clocks = HandClock(), HandClock()
        self.url = ""

    def app(self, world: World, number: int) -> web.Application:
        clock = self.clocks[number - 1]
        return make_admin_app(world.store, self.metrics[number - 1], ClockGuard(clock, lambda: 0.0, clock()))

    async def get(self, path: str) -> tuple[int, Any]:
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
            return answer.status, await (answer.text() if path == "/metrics" else answer.json())


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    host = Host(tmp_path)
    async with listening(make_host_admin_app(host.sockets, host.metrics[0]), Tcp("127.0.0.1", 0)) as (host.url,):
        yield host


@contextlib.asynccontextmanager
async def both(host: Host, world: World) -> AsyncIterator[None]:
    async with (
        listening_at(host.sockets[0], host.app(world, 1)),
        listening_at(host.sockets[1], host.app(world, 2)),
    ):
        yield


async def test_it_says_how_many_processes_are_up(host: Host, world: World) -> None:
    async with listening_at(host.sockets[0], host.app(world, 1)):
        assert await host.get("/ready") == (200, {"status": "ready", "processes": {"up": 1, "of": 2}})
        async with listening_at(host.sockets[1], host.app(world, 2)):
            assert await host.get("/ready") == (200, {"status": "ready", "processes": {"up": 2, "of": 2}})
            assert await host.get("/health") == (200, {"status": "ok", "processes": {"up": 2, "of": 2}})


async def test_one_process_that_is_not_ready_makes_the_host_not_ready(host: Host, world: World) -> None:
    async with both(host, world):
        host.clocks[1].advance(86_400)
        status, said = await host.get("/ready")
        assert (status, said["code"]) == (503, "clock_jumped")
        assert (await host.get("/health"))[0] == 200


async def test_a_process_that_hangs_is_seen(host: Host, world: World) -> None:
    with bound_socket(host.sockets[1]) as hanging:
        hanging.listen()  # and never answers
        async with listening_at(host.sockets[0], host.app(world, 1)):
            for path in ("/health", "/ready"):
                status, said = await host.get(path)
                assert (status, said["detail"]) == (500, "Process 2 does not answer.")
            samples = read((await host.get("/metrics"))[1])
            assert (samples["inbox_process_up{1}"], samples["inbox_process_up{2}"]) == (1, 0)


async def test_metrics_tell_of_each_process_and_once_of_the_database(host: Host, world: World) -> None:
    for number, metrics in enumerate(host.metrics, 1):
        for _ in range(number):
            metrics.delivered(new=True, sealed=False)
    async with both(host, world):
        text = (await host.get("/metrics"))[1]
    samples = read(text)
    assert [samples[f"inbox_deliveries_total{{new}}{{{number}}}"] for number in (1, 2)] == [1, 2]
    assert samples["inbox_inboxes"] == 0
    assert "inbox_inboxes{" not in text
    assert text.count("# TYPE inbox_deliveries_total counter") == 1


def test_the_texts_of_one_process_lose_nothing() -> None:
    metrics = Metrics()
    metrics.committed(3, 0.5)
    own, both = read(metrics.text().decode()), read(merged({1: metrics.text()}).decode())
    of_the_process = {name: value for name, value in own.items() if not name.startswith("process_")}
    for name, value in of_the_process.items():
        assert both.get(f"{name}{{1}}", both.get(name)) == value


async def test_only_the_owner_can_open_a_processs_socket(host: Host, world: World) -> None:
    async with both(host, world):
        assert {path.stat().st_mode & 0o777 for path in host.sockets} == {0o600}
    assert not any(path.exists() for path in host.sockets)


async def test_a_socket_that_a_killed_process_left_is_replaced(host: Host, world: World) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(host.sockets[0]))
    async with both(host, world):
        assert (await host.get("/ready"))[1]["processes"] == {"up": 2, "of": 2}
