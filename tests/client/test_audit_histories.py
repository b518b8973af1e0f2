"""An honest server is never accused, whatever happens to it and to the clients: generated histories.

Two providers, one owner with two devices, one sender. A few histories are in every test run, 200 in `make long`, and
`make histories` runs 2,000, which takes half an hour.
"""

import contextlib
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from inbox_server.client.audit.checkpoint import CHECKPOINT_FILE
from inbox_server.client.bucket import BucketFailed
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.moving import CannotMove
from inbox_server.client.profile_file import parse_profile, render_profile
from inbox_server.client.refusals import InboxRefused, Unreachable
from inbox_server.client.storage import InMemory
from inbox_server.client.user import NotAuthentic, NotForNow, NotReachable
from inbox_server.clock import DAY_SECONDS
from inbox_server.world.local_world import World
from inbox_server.world.people import make_person
from tests.conftest import APP, HandClock
from tests.support.clients import opened, profile_of
from tests.support.providers import Provider, provided

_PARTS: Final = 20
_EACH: Final = int(os.environ.get("HISTORIES", "200")) // _PARTS
_STEPS: Final = 14
_TTLS: Final = (None, None, 30, 3600, 86_400, 2 * 86_400, 5 * 86_400, 40 * 86_400, 400 * 86_400)
_PAUSES: Final = (
    1,
    60,
    3600,
    11 * 3600,
    86_400,
    86_400,
    2 * 86_400,
    5 * 86_400,
    20 * 86_400,
    40 * 86_400,
    100 * 86_400,
)
_AHEAD: Final = (-400 * 86_400, -86_400, -3600, 0, 0, 90, 86_400, 100 * 86_400)
_FAILURES: Final = (
    NotReachable,
    NotForNow,
    NotAuthentic,
    BucketFailed,
    CannotMove,
    InboxRefused,
    Unreachable,
)

Step = Callable[[], Coroutine[Any, Any, None]]


async def at_once(_: float) -> None:
    """Nobody waits in a history."""


@dataclass(slots=True)
class History:
    """What happened is in `told`, so that a failure can be read."""

    world: World
    clock: HandClock
    chance: random.Random
    providers: list[Provider]
    folder: Path
    alice: InboxClient
    devices: list[InboxClient]
    told: list[str] = field(default_factory=list)
    found: Counter[str] = field(default_factory=Counter)
    copies: dict[str, Path] = field(default_factory=dict)

    async def live(self) -> None:
        steps: list[tuple[Step, int]] = [
            (self.send, 8),
            (self.audit, 6),
            (self.read, 4),
            (self.acknowledge, 4),
            (self.wait, 7),
            (self.restart, 2),
            (self.go_away_or_come_back, 2),
            (self.copy, 2),
            (self.put_back, 2),
            (self.retry, 2),
            (self.move, 1),
            (self.claim_anew, 1),
            (self.publish, 1),
            (self.cut_a_file, 1),
        ]
        weights = [weight for _, weight in steps]
        for step, _ in self.chance.choices(steps, weights, k=_STEPS):
            self.told.append(step.__name__)
            with contextlib.suppress(*_FAILURES):
                await step()
        for provider in self.providers:
            if not provider.is_up:
                await provider.start()
        await self.audit()
        await self.audit(self.devices[1])

    @property
    def device(self) -> InboxClient:
        return self.chance.choice(self.devices)

    async def send(self) -> None:
        key, ttl = self.devices[0].account.user.key.public, self.chance.choice(_TTLS)
        self.told[-1] += f" to live {ttl}"
        for number in range(self.chance.randint(1, 3)):
            await self.alice.send(key, f"message {number}", ttl=ttl)

    async def audit(self, device: InboxClient | None = None) -> None:
        device = device or self.device
        ahead = self.chance.choice(_AHEAD)
        async with opened(self.world, device.account.profile, device.account.outbox, ahead=ahead) as client:
            audit = await client.audit()
        self.told.append(f"audit by {self.devices.index(device)}: {[each.code for each in audit.findings]}")
        assert not audit.is_accusation, (self.told, audit)
        self.found.update({each.code for each in audit.findings} or {"in order"})

    async def read(self) -> None:
        device = self.device
        for entry in (await device.unread()).entries:
            await device.fetch(entry)

    async def acknowledge(self) -> None:
        device = self.device
        entries = (await device.unread()).entries
        await device.acknowledge(entries[: self.chance.randint(0, len(entries))])

    async def wait(self) -> None:
        seconds = self.chance.choice(_PAUSES)
        self.told[-1] += f" {seconds}"
        self.clock.advance(seconds)

    async def restart(self) -> None:
        provider = self.chance.choice(self.providers)
        if provider.is_up:
            await provider.restart()

    async def go_away_or_come_back(self) -> None:
        provider = self.chance.choice(self.providers)
        await (provider.stop() if provider.is_up else provider.start())

    async def copy(self) -> None:
        provider = self.chance.choice(self.providers)
        path = self.folder / f"copy-{self.chance.getrandbits(64):x}"
        provider.back_up(path)
        self.copies[provider.url] = path

    async def put_back(self) -> None:
        provider = self.chance.choice(self.providers)
        if path := self.copies.get(provider.url):
            await provider.restore(path)
            self.found["a copy was put back"] += 1

    async def retry(self) -> None:
        await self.alice.retry()

    async def move(self) -> None:
        device = self.device
        new = self.chance.choice(self.providers).url
        async for _ in device.move(new):
            pass

    async def claim_anew(self) -> None:
        device = self.device
        inboxes = device.account.profile.read().inboxes
        await device.forget()
        await device.claim({"accept": "anyone"}, inboxes=inboxes)
        await device.publish(inboxes)

    async def publish(self) -> None:
        device = self.device
        inboxes = tuple(provider.url for provider in self.providers)
        await device.claim({"accept": "anyone"}, inboxes=inboxes)
        await device.publish(inboxes)

    async def cut_a_file(self) -> None:
        """An upload that broke off."""
        for client, prefix in ((self.alice, "index/"), (self.devices[0], CHECKPOINT_FILE)):
            address = client.account.user.key.address
            for path in self.world.hub.list(address, None).files:
                if path.startswith(prefix) and self.chance.random() < 0.3:
                    self.world.hub.cut(address, path, 100)


@contextlib.asynccontextmanager
async def history(
    world: World, clock: HandClock, providers: list[Provider], folder: Path, seed: int
) -> AsyncIterator[History]:
    chance = random.Random(seed)
    people = [make_person(f"{name}.id", APP, chance.randbytes) for name in ("alice", "bob")]
    alice, bob = (InMemory(profile_of(world, person, named=False)) for person in people)
    async with contextlib.AsyncExitStack() as stack:
        owner = await stack.enter_async_context(opened(world, bob, sleep=at_once))
        inboxes = tuple(provider.url for provider in providers[: chance.choice((1, 2))])
        await owner.claim({"accept": "anyone"}, inboxes=inboxes)
        await owner.publish(inboxes)
        laptop = InMemory(parse_profile(render_profile(bob.read())))
        other = await stack.enter_async_context(opened(world, laptop, sleep=at_once))
        sender = await stack.enter_async_context(opened(world, alice, sleep=at_once))
        await sender.publish(inboxes)  # her key, where her address leads
        yield History(world, clock, chance, providers, folder, sender, [owner, other])


async def lived(world: World, clock: HandClock, folder: Path, seeds: Iterable[int]) -> Counter[str]:
    found: Counter[str] = Counter()
    async with (
        provided(world, folder / "one" / "data") as one,
        provided(world, folder / "two" / "data", inbox_entries=3) as two,
    ):
        for seed in seeds:
            async with history(world, clock, [one, two], folder, seed) as each:
                each.told.append(f"seed {seed}")
                await each.live()
            found += each.found
            clock.advance(DAY_SECONDS)
    return found


async def test_an_honest_server_is_not_accused_in_a_few_histories(
    world: World, clock: HandClock, tmp_path: Path
) -> None:
    found = await lived(world, clock, tmp_path, (1, 152, 868, 2287, 5031))
    assert found["in order"] > 5


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(_PARTS))
async def test_an_honest_server_is_never_accused(world: World, clock: HandClock, tmp_path: Path, part: int) -> None:
    found = await lived(world, clock, tmp_path, range(100 + part * 100, 100 + part * 100 + _EACH))
    assert found["in order"] > _EACH
    assert _EACH < 100 or found["a copy was put back"] > 3
