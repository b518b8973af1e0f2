"""A parent and its processes: start, crash, signals, stop, systemd. The processes are small servers (`program.py`)."""

import asyncio
import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.processes.program import BROKEN_CODE
from tests.support.ending import end
from tests.support.patience import PATIENCE_SECONDS
from tests.support.serving import Deployment, deploy
from tests.support.systemd import heard, held, systemd_hears, under

PROCESSES = 2
UP = f"{PROCESSES} processes are up"


@dataclass(slots=True)
class Parent:
    place: Deployment
    process: asyncio.subprocess.Process
    said: list[str] = field(default_factory=list)

    async def says(self, text: str) -> str:
        """The next line with this in it."""
        assert self.process.stdout
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while line := (await self.process.stdout.readline()).decode():
                    self.said.append(line)
                    if text in line:
                        return line
        raise AssertionError(f"not said: {text}, but:\n{''.join(self.said)}")

    def pids(self) -> dict[int, int]:
        """The process that last had each number."""
        lines = (re.match(r"process (\d+) is (\d+)", line) for line in self.said)
        return {int(match[1]): int(match[2]) for match in lines if match}

    async def ask(self, path: str = "/", url: str = "") -> dict[str, int]:
        """On a connection of its own."""
        async with aiohttp.ClientSession() as session, session.get((url or self.place.url) + path) as answer:
            said: dict[str, int] = await answer.json()
            return said

    async def end_one(self, code: int) -> None:
        with contextlib.suppress(aiohttp.ClientConnectionError):
            await self.ask(f"/exit/{code}")

    async def stop(self) -> int:
        self.process.terminate()
        await self.says("stopping")
        return await self.process.wait()


@contextlib.asynccontextmanager
async def parent(place: Deployment, *under: str, files: Collection[int] = (), until: str = UP) -> AsyncIterator[Parent]:
    command = (*under, sys.executable, "-m", "tests.processes.program", str(place.folder / "config.toml"), "2")
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=tuple(files)
    )
    started = Parent(place, process)
    try:
        await started.says(until)
        yield started
    finally:
        await end(process)


def is_there(pid: int) -> bool:
    """Whether a process has this number: one that runs, or one that ended and nobody has asked how."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def runs(pid: int) -> bool:
    """Also False for one that ended, and of which nobody has asked yet how."""
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False


async def gone(*pids: int) -> None:
    """Until none of these runs any more: without a parent, nobody here is told of their end."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while any(map(runs, pids)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture
def place(tmp_path: Path) -> Deployment:
    place = deploy(tmp_path / "inbox")
    place.data.mkdir()
    return place


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with systemd_hears(tmp_path / "notify") as bound:
        yield bound


async def test_connections_are_dealt_out_to_all_processes(place: Deployment) -> None:
    async with parent(place) as started:
        answers = [await started.ask() for _ in range(64)]
        assert {each["number"]: each["pid"] for each in answers} == started.pids()
        assert len({started.process.pid, *started.pids().values()}) == PROCESSES + 1


async def test_a_process_that_is_killed_is_started_again_and_the_other_goes_on(place: Deployment) -> None:
    async with parent(place) as started:
        before = started.pids()
        (place.folder / "broken").touch()
        os.kill(before[2], signal.SIGKILL)
        assert "by SIGKILL; it is started again in 0.5 seconds" in await started.says("process 2 was ended")
        assert {(await started.ask())["pid"] for _ in range(64)} == {before[1]}  # none is lost in between
        (place.folder / "broken").unlink()
        await started.says("process 2 is up again")
        assert not is_there(before[2])
        assert started.pids()[1] == before[1]
        assert {(await started.ask())["pid"] for _ in range(64)} == set(started.pids().values())


async def test_the_pause_before_a_start_grows(place: Deployment) -> None:
    async with parent(place) as started:
        pauses = []
        for _ in range(3):
            os.kill(started.pids()[1], signal.SIGKILL)
            pauses.append((await started.says("is started again in")).split()[-2])
            await started.says("process 1 is up again")
        assert pauses == ["0.5", "1", "2"]


async def test_a_process_that_ends_by_itself_is_started_again(place: Deployment) -> None:
    async with parent(place) as started:
        await started.end_one(3)
        assert "ended with exit code 3" in await started.says("is started again")
        await started.says("is up again")


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
async def test_a_process_that_cannot_be_started_is_tried_again_and_the_other_goes_on(place: Deployment) -> None:
    async with parent(place) as started:
        files = resource.prlimit(started.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(started.process.pid, resource.RLIMIT_NOFILE, (3, files[1]))
        os.kill(started.pids()[2], signal.SIGKILL)
        assert "Too many open files; it is started again" in await started.says("process 2 cannot be started")
        assert (await started.ask())["number"] == 1
        resource.prlimit(started.process.pid, resource.RLIMIT_NOFILE, files)
        await started.says("process 2 is up again")


async def test_a_stop_ends_all_and_leaves_nothing(place: Deployment) -> None:
    async with parent(place) as started:
        pids = started.pids().values()
        assert await started.stop() == 0
        assert not any(map(is_there, pids))
        with pytest.raises(aiohttp.ClientConnectionError):
            await started.ask()


async def test_no_process_outlives_a_parent_that_is_killed(place: Deployment) -> None:
    async with parent(place) as started:
        started.process.kill()
        await gone(*started.pids().values())


async def test_a_process_that_hangs_does_not_outlive_its_parent_either(place: Deployment) -> None:
    async with parent(place) as started, aiohttp.ClientSession() as session:
        hanging = asyncio.create_task(session.get(f"{place.url}/hang"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(hanging), 0.2)
        started.process.kill()
        await gone(*started.pids().values())
        with pytest.raises(aiohttp.ClientConnectionError):
            await hanging


async def test_signals_reach_all_processes(place: Deployment) -> None:
    async with parent(place) as started:
        for number in (signal.SIGHUP, signal.SIGUSR1):
            started.process.send_signal(number)
            heard = {await started.says(f"heard {number.name}") for _ in range(PROCESSES)}
            assert heard == {f"process {each} heard {number.name}\n" for each in (1, 2)}
        assert "reloading\n" in started.said


async def test_lines_of_several_processes_do_not_mix_where_nothing_is_buffered(place: Deployment) -> None:
    async with parent(place, "env", "PYTHONUNBUFFERED=1") as started:
        for _ in range(50):
            started.process.send_signal(signal.SIGHUP)
            heard = {await started.says("heard SIGHUP") for _ in range(PROCESSES)}
            assert heard == {f"process {each} heard SIGHUP\n" for each in (1, 2)}


async def test_a_process_that_was_not_ready_hears_of_a_signal_when_it_is(place: Deployment) -> None:
    async with parent(place) as started:
        (place.folder / "wait").touch()
        os.kill(started.pids()[2], signal.SIGKILL)
        await started.says("is started again")
        started.process.send_signal(signal.SIGHUP)
        await started.says("process 1 heard SIGHUP")
        (place.folder / "wait").unlink()
        await started.says("process 2 heard SIGHUP")


async def test_when_the_first_process_cannot_start_its_exit_code_is_the_parents(place: Deployment) -> None:
    (place.folder / "broken").touch()
    async with parent(place, until="before all were up") as started:
        assert started.said == [f"process 1 ended with exit code {BROKEN_CODE} before all were up\n"]
        assert await started.process.wait() == BROKEN_CODE


async def test_a_stop_while_a_process_starts_is_a_stop(place: Deployment) -> None:
    async with parent(place) as started:
        (place.folder / "broken").touch()
        os.kill(started.pids()[2], signal.SIGKILL)
        await started.says("process 2 ended with exit code 7")
        assert await started.stop() == 0


async def test_systemd_hears_that_all_are_up_and_that_they_stop(place: Deployment, systemd: socket.socket) -> None:
    (place.folder / "wait").touch()
    async with parent(place, "env", f"NOTIFY_SOCKET={systemd.getsockname()}", until="process 2 waits") as started:
        with pytest.raises(BlockingIOError):
            systemd.recv(100)
        (place.folder / "wait").unlink()
        assert await heard(systemd) == b"READY=1"
        await started.says(UP)
        assert await started.stop() == 0
        assert await heard(systemd) == b"STOPPING=1"


async def test_systemd_hears_no_sign_of_life_while_a_process_hangs(place: Deployment, systemd: socket.socket) -> None:
    asked = ("env", f"NOTIFY_SOCKET={systemd.getsockname()}", "WATCHDOG_USEC=200000")
    async with parent(place, *asked) as started:
        assert [await heard(systemd) for _ in range(4)].count(b"WATCHDOG=1") >= 3
        hanging = started.pids()[2]
        os.kill(hanging, signal.SIGSTOP)
        for _ in range(8):
            await started.says("process 1 lives")
        signs = []
        with contextlib.suppress(BlockingIOError):
            while True:
                signs.append(systemd.recv(100))
        assert len(signs) <= 3  # given before, and one that was due
        os.kill(hanging, signal.SIGCONT)
        assert [await heard(systemd) for _ in range(2)] == [b"WATCHDOG=1"] * 2


async def test_a_process_that_ended_does_not_silence_the_others(place: Deployment, systemd: socket.socket) -> None:
    asked = ("env", f"NOTIFY_SOCKET={systemd.getsockname()}", "WATCHDOG_USEC=200000")
    async with parent(place, *asked) as started:
        (place.folder / "broken").touch()
        os.kill(started.pids()[2], signal.SIGKILL)
        await started.says("process 2 ended with exit code 7")
        with contextlib.suppress(BlockingIOError):
            while True:
                systemd.recv(100)
        assert [await heard(systemd) for _ in range(2)] == [b"WATCHDOG=1"] * 2


async def test_systemds_sockets_are_for_all_processes(place: Deployment) -> None:
    with held("127.0.0.1") as ((listening,), high):
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with parent(place, *under(high, ""), files=high) as started:
            pids = started.pids()
            assert (await started.ask(url=url))["pid"] in pids.values()
            (place.folder / "broken").touch()
            os.kill(pids[1], signal.SIGKILL)
            await started.says("process 1 was ended")
            assert {(await started.ask(url=url))["pid"] for _ in range(16)} == {pids[2]}


async def test_a_unix_socket_is_for_all_processes_and_is_removed_at_the_end(tmp_path: Path) -> None:
    place = deploy(tmp_path / "inbox", server__listen="unix:public")
    path = place.folder / "public"
    async with parent(place) as started:
        (place.folder / "broken").touch()
        os.kill(started.pids()[1], signal.SIGKILL)
        await started.says("process 1 was ended")
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path), force_close=True)) as session:
            for _ in range(16):
                async with session.get(place.url) as answer:
                    assert (await answer.json())["number"] == 2
        assert await started.stop() == 0
        assert not path.exists()


@pytest.mark.parametrize("listen", ["127.0.0.1:{port}", "unix:public"])
async def test_a_second_server_at_the_same_place_is_refused(tmp_path: Path, listen: str) -> None:
    place = deploy(tmp_path / "inbox")
    config = place.folder / "config.toml"
    config.write_text(config.read_text().replace(f"127.0.0.1:{place.port}", listen.format(port=place.port)))
    config.write_text(config.read_text().replace("http://unix:public", place.url))
    async with parent(place), parent(place, until="cannot listen at") as second:
        assert "Another process or file has it" in second.said[-1]
        assert await second.process.wait() == 1
