"""Whole servers as processes of one parent, on one PostgreSQL database, as an operator runs them."""

import asyncio
import contextlib
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inbox_server.clock import system_clock
from tests.faults.clients import QuickKey
from tests.http.test_metrics import read
from tests.processes.test_supervisor import Parent, is_there
from tests.support.patience import PATIENCE_SECONDS
from tests.support.postgres import config_of, read_rows
from tests.support.requests import Answer, Caller, at, check_problem
from tests.support.serving import Deployment, deploy, free_port
from tests.support.versions import copy_of_this

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(180)]

PROCESSES = 2
SENDERS = 16
DELIVERIES = 40
"""Of each sender."""


def on_postgres(folder: Path, **settings: Any) -> Deployment:
    store = {f"store__{name}": value for name, value in config_of(folder / "inbox").items()}
    admin = f"127.0.0.1:{free_port()}"
    return deploy(folder / "inbox", **store, server__processes=PROCESSES, server__admin_listen=admin, **settings)


def admin_of(place: Deployment) -> str:
    line = next(line for line in (place.folder / "config.toml").read_text().splitlines() if "admin_listen =" in line)
    return f"http://{json.loads(line.partition(' = ')[2])}"


@contextlib.asynccontextmanager
async def running(place: Deployment, *under: str) -> AsyncIterator[Parent]:
    process = await asyncio.create_subprocess_exec(
        *under, *place.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    started = Parent(place, process)
    try:
        await started.says(f"{PROCESSES} processes are up")
        yield started
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Each request on a connection of its own, so that it reaches any of the processes."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:
        yield session


def somebody(session: aiohttp.ClientSession, place: Deployment) -> Caller:
    return Caller(session, place.url, QuickKey(secrets.token_bytes(32)), system_clock)


async def insisting(sender: Caller, text: str, owner: Caller) -> Answer:
    """Repeats a delivery until it is answered, as clients do."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                answer = await sender.deliver(text, recipient=owner.key.address)
                if answer.status != 503:
                    return answer


async def listed(owner: Caller) -> Counter[str]:
    page = (await owner.unread(limit=1000)).json()
    texts = Counter(entry["message_id"] for entry in page["messages"])
    while page["more"]:
        page = (await owner.unread(limit=1000, after=page["cursor"])).json()
        texts.update(entry["message_id"] for entry in page["messages"])
    return texts


async def test_a_process_that_is_killed_under_load_loses_and_doubles_nothing(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    place = on_postgres(tmp_path)
    async with running(place) as started:
        owner = somebody(http, place)
        assert (await owner.claim({"accept": "anyone"})).status == 201
        before, answered = children_of(started.process.pid), asyncio.Semaphore(0)
        assert len(before) == PROCESSES

        async def send(sender: Caller, number: int) -> list[int]:
            statuses = []
            for each in range(DELIVERIES):
                statuses.append((await insisting(sender, f"{number}-{each}", owner)).status)
                answered.release()
            return statuses

        sending = [asyncio.create_task(send(at(owner), number)) for number in range(SENDERS)]
        for _ in range(SENDERS * DELIVERIES // 4):
            await answered.acquire()
        os.kill(before[0], signal.SIGKILL)
        statuses = list(itertools.chain(*await asyncio.gather(*sending)))
        assert set(statuses) <= {200, 201}
        expected = Counter(f"{number}-{each}" for number in range(SENDERS) for each in range(DELIVERIES))
        assert await listed(owner) == expected
        assert "by SIGKILL; it is started again" in await started.says("was ended")
        await started.says("is up again")
        after = children_of(started.process.pid)
        assert (before[1] in after, before[0] in after, len(after)) == (True, False, PROCESSES)
        for _ in range(16):
            assert await listed(owner) == expected  # whichever process answers


async def test_a_process_that_is_started_again_is_of_the_version_of_the_others(tmp_path: Path) -> None:
    """Also when another one was installed meanwhile, on which the server was not restarted yet."""
    place, version = on_postgres(tmp_path), copy_of_this(tmp_path)
    async with running(place, *version.under) as started:
        version.add_step("CREATE TABLE of_another_version (one integer PRIMARY KEY)")
        for file in (version.root / "inbox_server").rglob("*.py"):
            file.write_text("raise SystemExit('another version')\n")
        os.kill(children_of(started.process.pid)[0], signal.SIGKILL)
        await started.says("process 1 is up again")
        newest = read_rows(tmp_path / "inbox", "SELECT max(number) FROM schema_step")
        assert newest == [(version.steps - 1,)]


async def test_all_processes_hear_of_what_any_of_them_takes(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    place = on_postgres(tmp_path)
    async with running(place):
        owner = somebody(http, place)
        await owner.claim({"accept": "anyone"})
        cursor = (await owner.unread()).json()["cursor"]
        waiting = [asyncio.create_task(owner.unread(after=cursor, wait=50)) for _ in range(12)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await samples_of(place, http))[1] < len(waiting):
                pass
        assert (await at(owner).deliver("news", recipient=owner.key.address)).status == 201
        async with asyncio.timeout(PATIENCE_SECONDS):
            pages = [(await each).json() for each in waiting]
        assert [[entry["message_id"] for entry in page["messages"]] for page in pages] == [["news"]] * len(waiting)


async def samples_of(place: Deployment, http: aiohttp.ClientSession) -> tuple[dict[str, float], float]:
    """All metrics, and how many readers wait at all processes."""
    async with http.get(f"{admin_of(place)}/metrics") as answer:
        samples = dict(read(await answer.text()))
    return samples, sum(value for name, value in samples.items() if name.startswith("inbox_waiting_readers"))


async def test_an_hourly_limit_holds_for_all_processes_and_outlives_one_of_them(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    most = 30
    place = on_postgres(tmp_path, limits__sender_per_hour=most)
    async with running(place) as started:
        owner = somebody(http, place)
        await owner.claim({"accept": "anyone"})
        sender = at(owner)

        async def send(number: int) -> int:
            return (await sender.deliver(f"{number}", recipient=owner.key.address)).status

        statuses = Counter([await send(number) for number in range(2 * most)])
        assert statuses == {201: most, 429: most}
        os.kill(children_of(started.process.pid)[0], signal.SIGKILL)
        await started.says("is up again")
        assert Counter([await send(number) for number in range(most, 2 * most)]) == {429: most}


async def test_new_inboxes_an_hour_are_counted_for_all_processes(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    place = on_postgres(tmp_path, registration__open_per_hour=5)
    async with running(place):
        answers = await asyncio.gather(*(somebody(http, place).claim() for _ in range(20)))
        assert Counter(answer.status for answer in answers) == {201: 5, 429: 15}


async def test_no_process_takes_a_token_from_before_a_delete(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    place = on_postgres(tmp_path)
    async with running(place):
        owner = somebody(http, place)
        token = owner.owner_token("settings", b"{}", {"iat": system_clock() - 5, "exp": system_clock() + 200})
        assert (await owner.claim()).status == 201
        assert (await owner.give_up()).status == 204
        for _ in range(16):
            check_problem(await owner.send("PUT", "/v1/inbox", b"{}", token=token), "stale_token")


async def test_the_admin_listener_speaks_for_all_processes(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    place = on_postgres(tmp_path)
    async with running(place):
        owner = somebody(http, place)
        await owner.claim({"accept": "anyone"})
        for number in range(40):
            assert (await at(owner).deliver(f"{number}", recipient=owner.key.address)).status == 201
        samples, _ = await samples_of(place, http)
        taken = [samples[f"inbox_deliveries_total{{new}}{{{each}}}"] for each in (1, 2)]
        assert (sum(taken), min(taken) > 0) == (40, True)
        assert samples["inbox_inboxes"] == 1
        async with http.get(f"{admin_of(place)}/ready") as answer:
            assert (answer.status, (await answer.json())["processes"]) == (200, {"up": 2, "of": 2})


async def test_doctor_sees_a_process_that_hangs(tmp_path: Path) -> None:
    place = on_postgres(tmp_path)
    config = str(place.folder / "config.toml")
    async with running(place) as started:
        hanging = children_of(started.process.pid)[1]
        os.kill(hanging, signal.SIGSTOP)
        doctor = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "inbox_server", "doctor", "--config", config, stdout=subprocess.PIPE
        )
        said, _ = await doctor.communicate()
        os.kill(hanging, signal.SIGCONT)
        assert doctor.returncode == 1
        assert "Process 2 does not answer." in said.decode()


async def test_a_reload_and_a_drain_reach_all_processes(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    place = on_postgres(tmp_path)
    config = place.folder / "config.toml"
    async with running(place) as started:
        owner = somebody(http, place)
        await owner.claim({"accept": "anyone"})
        await at(owner).deliver("one", recipient=owner.key.address)
        config.write_text(config.read_text().replace("inbox_entries = 10000", "inbox_entries = 1"))
        started.process.send_signal(signal.SIGHUP)
        for _ in range(PROCESSES + 1):
            await started.says("reloaded: limits.inbox_entries")
        for number in range(16):
            check_problem(await at(owner).deliver(f"{number}", recipient=owner.key.address), "inbox_full")
        os.kill(children_of(started.process.pid)[1], signal.SIGKILL)
        await started.says("is up again")
        for number in range(16):
            check_problem(await at(owner).deliver(f"{number}", recipient=owner.key.address), "inbox_full")
        drain = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "inbox_server", "drain", "--config", str(config), stdout=subprocess.DEVNULL
        )
        assert await drain.wait() == 0
        async with asyncio.timeout(PATIENCE_SECONDS):
            while {(await somebody(http, place).claim()).status for _ in range(16)} != {503}:
                pass


async def test_a_stop_ends_all_processes_with_nothing_lost(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    place = on_postgres(tmp_path)
    async with running(place) as started:
        owner = somebody(http, place)
        await owner.claim({"accept": "anyone"})
        children, taken, answered = children_of(started.process.pid), set[str](), asyncio.Semaphore(0)

        async def send(number: int) -> None:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                for each in itertools.count():
                    answer = await at(owner).deliver(f"{number}-{each}", recipient=owner.key.address)
                    assert answer.status in (201, 503)
                    if answer.status == 201:
                        taken.add(f"{number}-{each}")
                        answered.release()

        sending = [asyncio.create_task(send(number)) for number in range(SENDERS)]
        for _ in range(100):
            await answered.acquire()
        started.process.terminate()
        await asyncio.gather(*sending)
        assert await started.process.wait() == 0
        assert not any(map(is_there, children))
    async with running(place):
        assert taken <= set(await listed(owner))
