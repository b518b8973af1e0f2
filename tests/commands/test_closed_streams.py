"""Commands started with standard input, output or error closed, as some supervisors do: they work, and end well."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from inbox_server.client.profile_file import render_profile
from inbox_server.client.storage import write_new
from inbox_server.clock import system_clock
from inbox_server.world.local_world import running_world
from tests.conftest import APP
from tests.support.clients import client_of, profile_of
from tests.support.patience import PATIENCE_SECONDS
from tests.support.serving import deploy

CLOSED = ("<&-", ">&-", "2>&-", "<&- >&- 2>&-")


async def _started(closed: str, *arguments: str) -> asyncio.subprocess.Process:
    command = (sys.executable, "-m", "inbox_server", *arguments)
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        "sh", "-c", f'exec "$@" {closed}', "sh", *command, stdout=pipe, stderr=pipe
    )


@pytest.mark.parametrize("closed", CLOSED)
async def test_a_message_is_sent_and_the_command_ends_with_0(tmp_path: Path, closed: str) -> None:
    profile = tmp_path / "alice.json"
    async with running_world(tmp_path / "world", clock=system_clock) as world:
        write_new(profile, render_profile(profile_of(world, await world.settle("alice.id", APP))))
        async with client_of(world, "bob.id", world.inbox_url, app=APP) as bob:
            process = await _started(closed, "client", "send", "--profile", str(profile), "bob.id", "hello")
            said, complained = await process.communicate()
            assert process.returncode == 0, complained
            assert (b"stored" in said) == (">&-" not in closed.replace("2>&-", ""))
            (entry,) = (await bob.unread()).entries
            assert (await bob.fetch(entry)).content == "hello"


@pytest.mark.parametrize(
    "arguments", [("send", "bob.id"), ("keygen", "--app", APP, "--hub", "http://127.0.0.1:1", "--import", "-")]
)
async def test_what_would_be_typed_is_asked_for_in_another_way(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    profile = tmp_path / "alice.json"
    if arguments[0] == "send":
        async with running_world(tmp_path / "world", clock=system_clock) as world:
            write_new(profile, render_profile(profile_of(world, await world.settle("alice.id", APP))))
    process = await _started("<&-", "client", arguments[0], "--profile", str(profile), *arguments[1:])
    _, complained = await process.communicate()
    assert (process.returncode, b"standard input is closed" in complained) == (2, True)


@pytest.mark.parametrize("arguments", [("read", "--ack"), ("watch", "--read", "--ack")])
async def test_what_nobody_could_see_is_not_acknowledged(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    profile = tmp_path / "bob.json"
    async with (
        running_world(tmp_path / "world", clock=system_clock) as world,
        client_of(world, "alice.id", app=APP) as alice,
        client_of(world, "bob.id", world.inbox_url, app=APP) as bob,
    ):
        write_new(profile, render_profile(bob.account.profile.read()))
        assert (await alice.send("bob.id", "hello")).stored
        process = await _started(">&-", "client", arguments[0], "--profile", str(profile), *arguments[1:])
        _, complained = await process.communicate()
        assert (process.returncode, b"standard output is closed" in complained) == (2, True)
        assert len((await bob.unread()).entries) == 1


@pytest.mark.parametrize("closed", ["<&-", "<&- 2>&-"])
async def test_a_server_stops_well(tmp_path: Path, closed: str) -> None:
    place = deploy(tmp_path / "inbox")
    process = await _started(closed, "serve", "--config", str(place.folder / "config.toml"))
    assert process.stdout
    async with asyncio.timeout(PATIENCE_SECONDS):
        while b"listens at" not in (line := await process.stdout.readline()):
            assert line
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await process.communicate()
    assert process.returncode == 0


@pytest.mark.parametrize("arguments", [("--version",), ("--print-completion", "bash"), ("conformance", "--list")])
def test_who_has_seen_enough_gets_no_traceback(arguments: tuple[str, ...]) -> None:
    """As under `head`, which closes its end of the pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = (sys.executable, "-m", "inbox_server", *arguments)
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
