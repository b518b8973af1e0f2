"""`client audit`, `read` without a server and `verify-receipt`, as people and scripts run them."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inbox_server.cli import main
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.open_client import profile_file
from inbox_server.client.profile_file import render_profile
from inbox_server.client.storage import write_new
from inbox_server.clock import DAY_SECONDS, system_clock
from inbox_server.world.local_world import World
from tests.conftest import APP, HandClock
from tests.support.clients import client_of, index_of, opened
from tests.support.providers import Provider, dropped


@pytest.fixture
def clock() -> HandClock:
    """From now on, because the command has the machine's clock."""
    clock = HandClock()
    clock.now = system_clock()
    return clock


@pytest.fixture
async def bob(world: World, provider: Provider) -> AsyncIterator[InboxClient]:
    async with client_of(world, "bob.id", provider.url, app=APP) as client:
        yield client


@pytest.fixture
def profile(bob: InboxClient, tmp_path: Path) -> Path:
    path = tmp_path / "bob.json"
    write_new(path, render_profile(bob.account.profile.read()))
    return path


async def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = await asyncio.to_thread(main, ["client", *arguments])
    said = capsys.readouterr()
    return code, said.out + said.err


async def test_the_command_says_what_is_wrong_and_others_can_check_it(
    world: World,
    alice: InboxClient,
    provider: Provider,
    profile: Path,
    tmp_path: Path,
    clock: HandClock,
    capsys: pytest.CaptureFixture[str],
) -> None:
    of_bob = ("--profile", str(profile))
    await alice.send("bob.id", "one")
    assert (await run(capsys, "read", "--ack", *of_bob))[0] == 0
    code, said = await run(capsys, "audit", *of_bob)
    assert (code, "everything is accounted for" in said) == (0, True), said
    await alice.send("bob.id", "hidden")
    hidden = next(entry for entry in await _entries(world, alice, profile) if entry.n == 2)
    provider.lies += dropped(hidden.entry)
    clock.advance(DAY_SECONDS)
    code, said = await run(capsys, "audit", "--evidence", str(tmp_path), *of_bob)
    assert code == 1
    assert "it signed for a delivery that its log does not have" in said
    assert "alice.id: hidden" in said
    file = tmp_path / f"evidence-receipt_without_entry-{hidden.entry[:12]}.json"
    code, said = await run(capsys, "verify-receipt", str(file))
    assert (code, "contradicted itself" in said) == (0, True), said
    file.write_bytes(file.read_bytes().replace(hidden.entry.encode(), b"A" * 43))
    code, said = await run(capsys, "verify-receipt", str(file))
    assert (code, "another delivery" in said) == (1, True), said


async def test_the_command_says_what_cannot_be_checked_and_reads_without_a_server(
    alice: InboxClient, provider: Provider, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_bob = ("--profile", str(profile))
    await alice.send("bob.id", "one")
    assert (await run(capsys, "read", "--ack", *of_bob))[0] == 0
    await provider.stop()
    await alice.send("bob.id", "two")
    code, said = await run(capsys, "read", *of_bob)
    assert code == 3, said
    assert "without a server: 1 found" in said
    assert "alice.id: two" in said
    code, said = await run(capsys, "audit", "--json", *of_bob)
    assert code == 3
    told = json.loads(said.splitlines()[0])
    assert (told["audit"], [each["code"] for each in told["findings"]]) == ("unchecked", ["unreachable"])


async def _entries(world: World, alice: InboxClient, profile: Path) -> Any:
    async with opened(world, profile_file(profile)) as bob:
        return index_of(world, alice, bob)
