"""A clock that jumps a day, forward and back: nothing is lost, nothing comes back, and the server goes on."""

import asyncio
import contextlib
import itertools
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inbox_server.clock import DAY_SECONDS, UnixTime, system_clock
from inbox_server.inboxes.sweeping import SWEEP_SECONDS
from inbox_server.resolver.cache import FRESH_SECONDS, NOT_FOUND_SECONDS
from inbox_server.world.local_world import World
from tests.conftest import APP, HandClock
from tests.faults.probes import listed, said_when_stopped, until
from tests.support.ending import end
from tests.support.javascript import missing
from tests.support.requests import Caller, at, caller, check_problem, id_of, inbox_server, new_key
from tests.support.serving import Deployment, deploy

HOUR_SECONDS = 3600
JUMPS = (DAY_SECONDS, -DAY_SECONDS, -DAY_SECONDS, DAY_SECONDS)  # to tomorrow, today, yesterday, today


@pytest.fixture
async def owner(world: World) -> Caller:
    """Of an inbox that takes deliveries of any key and keeps them for a month."""
    owner = caller(world)
    assert (await owner.claim({"accept": "anyone"})).status == 201
    return owner


async def _entries(owner: Caller) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = (await owner.unread()).json()["messages"]
    return entries


async def test_over_jumps_both_ways_the_list_stays_whole_and_in_order(
    world: World, clock: HandClock, owner: Caller
) -> None:
    sender, recipient = at(owner), owner.key.address
    for text in ("read", "one", "two", "three"):
        assert (await sender.deliver(text, recipient=recipient)).status == 201
    await owner.acknowledge(id_of("read"))
    begun = (await owner.unread()).json()["cursor"]
    expected = await _entries(owner)
    for number, jump in enumerate(JUMPS):
        clock.advance(jump)
        await world.store.sweep(clock())
        assert await _entries(owner) == expected
        text = f"after jump {number}"
        new = await sender.deliver(text, recipient=recipient)
        assert new.status == 201
        assert (await sender.deliver("read", recipient=recipient)).status == 200  # and it does not come back
        again = await sender.deliver(text, recipient=recipient)
        assert (again.status, again.json()) == (200, new.json())
        expected.append({"id": id_of(text), "message_id": text, "expires": new.json()["expires"]})
        assert await _entries(owner) == expected
    changes = (await owner.unread(after=begun)).json()
    assert [entry["message_id"] for entry in changes["messages"]] == [f"after jump {n}" for n in range(len(JUMPS))]
    assert changes["read"] == []
    assert (await owner.settings()).json()["unread"] == len(expected)


async def test_what_expired_while_the_clock_was_ahead_does_not_come_back(
    world: World, clock: HandClock, owner: Caller
) -> None:
    sender, recipient = at(owner), owner.key.address
    await sender.deliver("short", recipient=recipient, ttl=HOUR_SECONDS)
    await sender.deliver("long", recipient=recipient)
    clock.advance(DAY_SECONDS)
    assert await owner.texts() == ["long"]
    await world.store.sweep(clock())
    for jump in (-DAY_SECONDS, -DAY_SECONDS):
        clock.advance(jump)
        assert await owner.texts() == ["long"]
        assert (await owner.settings()).json()["unread"] == 1
    assert (await sender.deliver("short", recipient=recipient, ttl=HOUR_SECONDS)).status == 201
    assert await owner.texts() == ["long", "short"]
    clock.advance(2 * HOUR_SECONDS)
    assert await owner.texts() == ["long"]


async def test_what_was_read_while_the_clock_was_ahead_stays_read(
    world: World, clock: HandClock, owner: Caller
) -> None:
    sender, recipient = at(owner), owner.key.address
    await sender.deliver("long", recipient=recipient)
    clock.advance(DAY_SECONDS)
    await sender.deliver("short", recipient=recipient, ttl=HOUR_SECONDS)
    await owner.acknowledge(id_of("long"), id_of("short"))
    for jump in (-DAY_SECONDS, -DAY_SECONDS):
        clock.advance(jump)
        await world.store.sweep(clock())
        for text in ("long", "short"):
            assert (await sender.deliver(text, recipient=recipient)).status == 200
        assert await owner.texts() == []


@pytest.mark.parametrize("jump", [DAY_SECONDS, -DAY_SECONDS], ids=["forward", "back"])
async def test_a_client_whose_clock_did_not_jump_is_told_the_time_and_goes_on(
    world: World, clock: HandClock, owner: Caller, jump: int
) -> None:
    own_clock = HandClock()
    old = replace(owner, clock=own_clock)
    clock.advance(jump)
    for answer in (
        await old.unread(),
        await at(old).deliver("one", recipient=owner.key.address),
        await old.acknowledge(id_of("one")),
        await old.claim({"accept": "nobody"}),
    ):
        document = check_problem(answer, "bad_token", "exp" if jump > 0 else "iat")
        assert document["now"] == clock()
    own_clock.advance(document["now"] - own_clock())
    assert (await at(old).deliver("one", recipient=owner.key.address)).status == 201
    assert await old.texts() == ["one"]


async def test_settings_that_were_changed_while_the_clock_was_ahead_can_be_changed_again(
    clock: HandClock, owner: Caller
) -> None:
    clock.advance(DAY_SECONDS)
    assert (await owner.claim({"accept": "contacts"})).status == 200
    clock.advance(-DAY_SECONDS)
    assert (await owner.claim({"accept": "anyone"})).status == 200
    assert (await at(owner).deliver("one", recipient=owner.key.address)).status == 201
    assert (await owner.give_up()).status == 204


@pytest.mark.parametrize("jump", [DAY_SECONDS, -DAY_SECONDS], ids=["forward", "back"])
async def test_a_sender_at_the_limit_is_not_held_longer_by_a_jump(
    world: World, clock: HandClock, tmp_path: Path, jump: int
) -> None:
    settings: dict[str, dict[str, Any]] = {
        "limits": {"sender_per_hour": 2},
        "registration": {"mode": "open", "open_to_keys": True},
    }
    async with inbox_server(world, tmp_path / "other", settings) as owner:
        await owner.claim({"accept": "anyone"})
        sender = at(owner)
        statuses = [(await sender.deliver("one", recipient=owner.key.address)).status for _ in range(3)]
        assert statuses == [201, 200, 429]
        clock.advance(jump + 2 * HOUR_SECONDS)
        statuses = [(await sender.deliver("one", recipient=owner.key.address)).status for _ in range(3)]
        assert statuses == [200, 200, 429]


async def test_a_name_that_was_unknown_before_the_clock_went_back_is_not_unknown_for_a_day(
    world: World, clock: HandClock, owner: Caller
) -> None:
    assert (await owner.claim({"accept": "names"})).status == 200
    answer = await at(owner).deliver("one", sender="carol.id", recipient=owner.key.address)
    check_problem(answer, "name_unproven")
    carol = await world.settle("carol.id", APP)
    clock.advance(-DAY_SECONDS)
    clock.advance(NOT_FOUND_SECONDS)
    sender = at(owner, carol.app_key)
    assert (await sender.deliver("one", sender="carol.id", recipient=owner.key.address)).status == 201


@pytest.mark.parametrize("jump", [DAY_SECONDS, -DAY_SECONDS], ids=["forward", "back"])
async def test_a_name_is_looked_up_again_after_a_jump(world: World, clock: HandClock, owner: Caller, jump: int) -> None:
    carol = await world.settle("carol.id", APP)
    sender = at(owner, carol.app_key)
    assert (await sender.deliver("one", sender="carol.id", recipient=owner.key.address)).status == 201
    asked = world.register.look_ups
    clock.advance(jump)
    clock.advance(FRESH_SECONDS)
    assert (await sender.deliver("two", sender="carol.id", recipient=owner.key.address)).status == 201
    assert world.register.look_ups == asked + 1


# The same for a whole process: libfaketime moves its clock, but not the one that only runs forward.


class Shifted:
    """The system's clock and an offset, which the server's process reads from a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = 0
        self.jump(0)

    def __call__(self) -> UnixTime:
        return UnixTime(system_clock() + self._offset)

    def jump(self, seconds: int) -> None:
        self._offset += seconds
        new = self._file.with_suffix(".new")
        new.write_text(f"{self._offset:+d}")
        new.rename(self._file)


@dataclass(slots=True)
class Load:
    """A client that delivers without rest, and corrects its clock when it is told the time."""

    sender: Caller
    recipient: str
    prefix: str
    taken: list[str] = field(default_factory=list)

    async def run(self) -> None:
        for number in itertools.count():
            text = f"{self.prefix} {number}"
            while (answer := await self.sender.deliver(text, recipient=self.recipient)).status in (401, 503):
                assert answer.json().get("now") or answer.json()["code"] == "clock_jumped"
            assert answer.status == 201
            self.taken.append(text)


def _library() -> str:
    """What to preload. Skips without libfaketime, and fails in CI."""
    program = shutil.which("faketime")
    if program is None:
        missing("faketime is not there: apt install faketime")
    asked = subprocess.run([program, "-m", "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    return asked.stdout.strip()


async def _start(place: Deployment, offset: Path, monkeypatch: pytest.MonkeyPatch) -> asyncio.subprocess.Process:
    with monkeypatch.context() as environment:
        environment.setenv("LD_PRELOAD", _library())
        environment.setenv("FAKETIME_TIMESTAMP_FILE", str(offset))
        environment.setenv("FAKETIME_NO_CACHE", "1")
        environment.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        return await place.start()


async def test_two_months_too_many_for_some_seconds_delete_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, session: aiohttp.ClientSession
) -> None:
    place, clock = deploy(tmp_path / "inbox"), Shifted(tmp_path / "offset")
    process = await _start(place, tmp_path / "offset", monkeypatch)
    owner = Caller(session, place.url, new_key(), clock)
    try:
        assert (await owner.claim({"accept": "anyone"})).status == 201
        assert (await at(owner).deliver("one", recipient=owner.key.address)).status == 201
        clock.jump(60 * DAY_SECONDS)
        assert process.stdout
        async with asyncio.timeout(2 * SWEEP_SECONDS):
            assert b"clock jumped" in await process.stdout.readline()  # by a round of sweeping
        assert await owner.texts() == ["one"]
        clock.jump(-60 * DAY_SECONDS)
        assert await owner.texts() == ["one"]
        assert (await at(owner).deliver("two", recipient=owner.key.address)).status == 201
    finally:
        process.kill()
        await process.communicate()


async def test_a_process_whose_clock_jumps_under_load_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, session: aiohttp.ClientSession
) -> None:
    place, clock = deploy(tmp_path / "inbox"), Shifted(tmp_path / "offset")
    process = await _start(place, tmp_path / "offset", monkeypatch)
    owner = Caller(session, place.url, new_key(), clock)
    unmoved = replace(owner, clock=system_clock)
    try:
        assert (await owner.claim({"accept": "anyone"})).status == 201
        loads = [Load(at(owner), owner.key.address, f"load {number}") for number in range(2)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(load.run()) for load in loads]
            for number, jump in enumerate(JUMPS):
                async with _half_request(place.port) as finish:
                    clock.jump(jump)
                    process.send_signal(signal.SIGUSR1)  # the operator says that the clock is right
                    await until(_moved(loads), within_seconds=10)
                    assert (await finish()).startswith(b"HTTP/1.1 404 ")  # no timer of the connection saw the jump
                if number % 2 == 0:  # tomorrow or yesterday: libfaketime is at work
                    document = check_problem(await unmoved.unread(), "bad_token", "exp" if jump > 0 else "iat")
                    assert abs(document["now"] - clock()) < 60
            for task in tasks:
                task.cancel()
        assert set().union(*(load.taken for load in loads)) <= set(await listed(owner))
        said = await said_when_stopped(process)
        assert said[-1] == "stopping"
        assert all(line.split()[1] == "clock" for line in said[:-1]), said
        assert process.returncode == 0
    finally:
        await end(process)


def _moved(loads: list[Load]) -> Callable[[], Awaitable[bool]]:
    """Whether each has delivered some more since now."""
    before = [len(load.taken) for load in loads]

    async def moved() -> bool:
        return all(len(load.taken) >= start + 3 for load, start in zip(loads, before, strict=True))

    return moved


@contextlib.asynccontextmanager
async def _half_request(port: int) -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
    """A connection with half of a request on it; what it yields sends the rest, and gives the answer's first line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode())

    async def finish() -> bytes:
        writer.write(b"\r\n")
        return await reader.readline()

    try:
        yield finish
    finally:
        writer.close()
