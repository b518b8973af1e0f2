"""What an operator does to a PostgreSQL database reaches the servers of all hosts, and nothing shows the password."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inbox_server.checks.capability import CAPABILITY_PATH
from inbox_server.client.appkey import AppKey
from inbox_server.clock import system_clock
from tests.support.postgres import config_of, server
from tests.support.requests import Caller, at, check_problem
from tests.support.serving import Deployment, client_session, deploy, free_port

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(120)]
BOB = AppKey(bytes(range(32)))


@dataclass(frozen=True, slots=True)
class Hosts:
    """Two hosts with one database; `callers` are Bob, as he reaches either."""

    places: tuple[Deployment, Deployment]
    callers: tuple[Caller, Caller]
    second: asyncio.subprocess.Process
    session: aiohttp.ClientSession

    async def command(self, *arguments: str, host: int = 0, code: int = 0) -> Any:
        """What it says as JSON."""
        config = ("--json", "--config", str(self.places[host].folder / "config.toml"))
        command = (sys.executable, "-m", "inbox_server", *arguments, *config)
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if done.stdout else done.stderr


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[Hosts]:
    store = {f"store__{name}": value for name, value in config_of(tmp_path).items()}
    first = deploy(tmp_path / "first", **store, registration__mode="invite")
    second = deploy(
        tmp_path / "second", **store, registration__mode="invite", server__admin_listen=f"127.0.0.1:{free_port()}"
    )
    async with client_session() as session, first.running():
        second.data.mkdir(mode=0o700)
        (second.data / "day-keys").write_bytes((first.data / "day-keys").read_bytes())
        (second.data / "day-keys").chmod(0o600)
        async with second.running() as process:
            callers = tuple(Caller(session, place.url, BOB, system_clock) for place in (first, second))
            yield Hosts((first, second), (callers[0], callers[1]), process, session)


async def test_an_invite_is_made_listed_revoked_and_used_on_any_host(hosts: Hosts) -> None:
    made = await hosts.command("invite", "new", "--count", "3")
    listed = await hosts.command("invite", "list", host=1)
    assert {each["expires"] for each in listed["invites"]} == {made["expires"]}
    assert len(listed["invites"]) == 3
    assert await hosts.command("invite", "revoke", made["codes"][0], host=1) == {"revoked": True}
    refused, claimed = [await hosts.callers[1].claim({"invite": code}) for code in made["codes"][:2]]
    assert (refused.status, claimed.status) == (403, 201)
    assert len((await hosts.command("invite", "list"))["invites"]) == 1


async def test_what_is_done_to_one_inbox_is_seen_at_once_by_every_host(hosts: Hosts) -> None:
    bob, elsewhere = hosts.callers
    (code,) = (await hosts.command("invite", "new"))["codes"]
    assert (await bob.claim({"invite": code, "accept": "anyone"})).status == 201
    assert (await hosts.command("suspend", BOB.address))["changed"]
    for each in hosts.callers:
        assert (await at(each).deliver("one", recipient=BOB.address)).status == 403
        assert (await each.unread()).json()["notices"] == ["suspended"]
    assert (await hosts.command("resume", BOB.address))["changed"]
    assert (await hosts.command("quota", BOB.address, "--entries", "1"))["most_entries"] == 1
    answers = [await at(elsewhere).deliver(text, recipient=BOB.address) for text in ("one", "two")]
    assert [answer.status for answer in answers] == [201, 507]
    assert await bob.texts() == ["one"]
    assert (await hosts.command("inboxes"))["classes"][1]["inboxes"] == 1
    assert "freed_bytes" in await hosts.command("vacuum")
    assert (await hosts.command("forget", BOB.address, "--yes"))["deleted"]
    check_problem(await elsewhere.unread(), "no_inbox")


async def test_a_drain_reaches_every_host(hosts: Hosts) -> None:
    (code,) = (await hosts.command("invite", "new"))["codes"]
    assert (await hosts.callers[0].claim({"invite": code, "accept": "anyone"})).status == 201
    assert (await hosts.command("drain"))["changed"]
    for each in hosts.callers:
        await _until_told(each, draining=True)
        check_problem(await at(each).deliver("one", recipient=BOB.address), "draining")
    assert (await hosts.command("drain", "--end", host=1))["changed"]
    for each in hosts.callers:
        await _until_told(each, draining=False)
        assert (await at(each).deliver("one", recipient=BOB.address)).status in (200, 201)


async def _until_told(caller: Caller, *, draining: bool) -> None:
    """A host hears of it within two seconds; the timeout of the test is long."""
    while (await caller.send("GET", CAPABILITY_PATH)).json().get("draining", False) != draining:
        pass


async def test_a_host_without_the_day_keys_or_with_others_does_not_start(hosts: Hosts) -> None:
    third = hosts.places[0].folder.parent / "third"
    place = deploy(
        third, store__url=_setting(hosts.places[0], "url"), store__password_file=str(third.parent / "database-password")
    )
    done = await _serve(place)
    assert (done.returncode, "Copy the file from another host" in done.stderr) == (1, True)
    place.data.mkdir(exist_ok=True)
    keys = bytearray((hosts.places[0].data / "day-keys").read_bytes())
    (place.data / "day-keys").write_bytes(keys[:100])
    done = await _serve(place)
    assert (done.returncode, "is damaged" in done.stderr) == (1, True)


def _setting(place: Deployment, name: str) -> str:
    """As it is in the configuration."""
    lines = (place.folder / "config.toml").read_text().splitlines()
    return str(json.loads(next(line for line in lines if line.startswith(f"{name} = ")).partition(" = ")[2]))


async def _serve(place: Deployment) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(subprocess.run, place.command, capture_output=True, text=True, check=False)


async def test_nothing_shows_the_password_or_the_url(hosts: Hosts) -> None:
    place, process = hosts.places[1], hosts.second
    shown = [_of_process(process.pid, name) for name in ("cmdline", "environ")]
    for path in ("/metrics", "/ready"):
        async with hosts.session.get(f"http://{_setting(place, 'admin_listen')}{path}") as response:
            assert response.status == 200
            shown.append(await response.read())
    process.terminate()
    assert process.stdout
    shown.append(await process.stdout.read())
    for each in shown:
        assert server().password.encode() not in each
        assert _setting(place, "url").encode() not in each


def _of_process(pid: int, name: str) -> bytes:
    """What other processes may see of it."""
    return Path(f"/proc/{pid}/{name}").read_bytes()
