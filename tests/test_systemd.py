"""The unit file's exposure, as systemd itself reckons it, and what the service tells systemd."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from inbox_server.systemd import giving_signs_of_life, inherited_sockets, notify, watchdog_seconds
from tests.support.javascript import missing
from tests.support.serving import Deployment, deploy
from tests.support.systemd import heard, held, systemd_hears, under

UNIT = Path(__file__).parent.parent / "systemd" / "inbox-server.service"
MOST_EXPOSURE = 1.1


def test_the_unit_leaves_little_exposed() -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        missing("systemd-analyze is not there: it comes with systemd")
    command = [analyze, "security", "--offline=yes", "--no-pager", str(UNIT)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    match = re.search(r"Overall exposure level for inbox-server\.service: ([\d.]+)", said.stdout)
    assert match, said.stdout + said.stderr
    assert float(match[1]) <= MOST_EXPOSURE


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with systemd_hears(tmp_path / "notify") as bound:
        yield bound


async def test_systemd_is_told_when_it_listens_and_when_it_stops(tmp_path: Path, systemd: socket.socket) -> None:
    place = deploy(tmp_path / "inbox")
    async with place.running("env", f"NOTIFY_SOCKET={systemd.getsockname()}") as process:
        assert await heard(systemd) == b"READY=1"
        with socket.create_connection(("127.0.0.1", place.port)):
            pass
        process.terminate()
        assert await heard(systemd) == b"STOPPING=1"


async def test_the_watchdog_hears_nothing_when_the_database_hangs(tmp_path: Path, systemd: socket.socket) -> None:
    hang, signs = asyncio.Event(), 0

    async def check() -> None:
        nonlocal signs
        signs += 1
        if signs == 3:
            hang.set()
            await asyncio.Event().wait()

    wanted = {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "1000"}
    async with giving_signs_of_life(watchdog_seconds(wanted, os.getpid()), check, partial(notify, wanted)):
        assert [await heard(systemd) for _ in range(2)] == [b"WATCHDOG=1"] * 2
        await hang.wait()
        with pytest.raises(BlockingIOError):
            systemd.recv(100)


async def test_a_server_gives_signs_of_life_even_while_it_cannot_write(tmp_path: Path, systemd: socket.socket) -> None:
    place = deploy(tmp_path / "inbox")
    asked = (f"NOTIFY_SOCKET={systemd.getsockname()}", "WATCHDOG_USEC=200000")
    async with place.running("env", *asked):
        assert {await heard(systemd) for _ in range(3)} == {b"WATCHDOG=1", b"READY=1"}
        (place.data / "inbox.sqlite3").unlink()  # from now on it refuses to write
        assert [await heard(systemd) for _ in range(4)] == [b"WATCHDOG=1"] * 4


@pytest.mark.parametrize("wanted", [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}])
async def test_who_asks_for_no_signs_of_life_gets_none(wanted: dict[str, str]) -> None:
    assert watchdog_seconds(wanted, os.getpid()) is None


async def test_systemds_sockets_are_listened_on_and_outlive_the_server(tmp_path: Path) -> None:
    place = deploy(tmp_path / "inbox")
    with held("127.0.0.1", "127.0.0.1") as (sockets, high):
        public, admin = (f"http://127.0.0.1:{each.getsockname()[1]}" for each in sockets)
        as_systemd = under(high, "inbox-server.socket:admin")
        async with aiohttp.ClientSession() as http:
            async with place.running(*as_systemd, files=high):
                async with http.get(f"{admin}/ready") as answer:
                    assert answer.status == 200
                with pytest.raises(aiohttp.ClientConnectionError):
                    await http.get(place.url)  # the configuration's own address is left alone
            waiting = asyncio.create_task(_status(http, f"{public}/.well-known/message-inbox", place))
            await asyncio.sleep(0)
            async with place.running(*as_systemd, files=high):
                assert await waiting == 200  # asked while no server ran: it had to wait, and was not refused


async def _status(http: aiohttp.ClientSession, url: str, place: Deployment) -> int:
    """Asks as a proxy does: at the socket, with the host of the public URL."""
    async with http.get(url, headers={"Host": place.url.removeprefix("http://")}) as answer:
        return answer.status


def test_a_socket_that_others_can_reach_needs_a_proxy(tmp_path: Path) -> None:
    place = deploy(tmp_path / "inbox")
    with held("0.0.0.0") as (_, high):
        command = (*under(high, ""), sys.executable, "-m", "inbox_server", "serve", "--config")
        done = subprocess.run(
            [*command, place.folder / "config.toml"], pass_fds=high, capture_output=True, text=True, check=False
        )
    assert (done.returncode, "systemd's socket at 0.0.0.0 is not loopback" in done.stderr) == (2, True), done.stderr


async def test_sockets_for_another_process_are_not_taken() -> None:
    assert inherited_sockets({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, os.getpid()) == ([], [])


def test_the_unit_waits_until_it_is_told() -> None:
    assert "\nType=notify\n" in UNIT.read_text()
