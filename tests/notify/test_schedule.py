"""When notifications are sent: together, not too often, a little late, a bounded number at a time, in nobody's way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field

import pytest

from inbox_server.errors import Unavailable
from inbox_server.notify.channel import Tally
from inbox_server.notify.schedule import Pace, Schedule
from tests.support.canary import HandMonotonic
from tests.support.patience import PATIENCE_SECONDS

BOB, CAROL = b"the inbox of Bob", b"Carol's inbox..."
PAUSE = 30.0
AT_ONCE = 5
TOLD = ("push",)


@dataclass(slots=True)
class Recorder:
    """A channel that keeps what it was to tell, and fails or waits when it is told to."""

    told: list[bytes] = field(default_factory=list)
    everyone: bool = False
    """Whether a notification is about the whole server."""
    failure: Exception | None = None
    gate: asyncio.Event | None = None
    busy: int = 0
    name: str = "push"
    at_once: int = AT_ONCE
    tally: Tally = field(default_factory=Tally)
    _told: asyncio.Condition = field(default_factory=asyncio.Condition)

    def about(self, inbox: bytes, channels: Collection[str]) -> bytes | None:
        return (b"all" if self.everyone else inbox) if self.name in channels else None

    async def notify(self, inbox: bytes) -> None:
        self.busy += 1
        try:
            self.told.append(inbox)
            async with self._told:
                self._told.notify_all()
            if self.gate:
                await self.gate.wait()
            if self.failure:
                raise self.failure
        finally:
            self.busy -= 1

    async def once_told(self, count: int) -> list[bytes]:
        async with asyncio.timeout(PATIENCE_SECONDS), self._told:
            await self._told.wait_for(lambda: len(self.told) >= count)
        return self.told


@contextlib.asynccontextmanager
async def hinting(
    *channels: Recorder, monotonic: HandMonotonic, jitter: float = 0, chance: float = 0, most_known: int = 1000
) -> AsyncIterator[Schedule]:
    async with Schedule(
        channels,
        lambda: Pace(PAUSE, jitter),
        random_bytes=lambda count: int(chance * 2 ** (8 * count)).to_bytes(count, "big"),
        monotonic=monotonic,
        most_known=most_known,
    ) as schedule:
        yield schedule


@pytest.fixture
def monotonic() -> HandMonotonic:
    return HandMonotonic()


@pytest.fixture
def channel() -> Recorder:
    return Recorder()


async def settled(schedule: Schedule, channel: Recorder) -> list[bytes]:
    """What was told once everything is sent that is due now: an inbox that was never told of comes after it."""
    last = b"told of last %d" % len(channel.told)
    schedule.soon(last, TOLD)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while last not in channel.told:
            await channel.once_told(len(channel.told) + 1)
    return [inbox for inbox in channel.told if not inbox.startswith(b"told of last")]


async def test_a_flood_is_one_hint_a_pause(monotonic: HandMonotonic, channel: Recorder) -> None:
    async with hinting(channel, monotonic=monotonic) as schedule:
        for _ in range(1000):
            schedule.soon(BOB, TOLD)
        assert await settled(schedule, channel) == [BOB]
        for _ in range(1000):
            schedule.soon(BOB, TOLD)
        monotonic.advance(PAUSE - 1)
        assert await settled(schedule, channel) == [BOB]
        monotonic.advance(1)
        assert await settled(schedule, channel) == [BOB, BOB]
        monotonic.advance(10 * PAUSE)
        assert await settled(schedule, channel) == [BOB, BOB]  # nothing came since


async def test_each_inbox_has_a_pause_of_its_own(monotonic: HandMonotonic, channel: Recorder) -> None:
    async with hinting(channel, monotonic=monotonic) as schedule:
        schedule.soon(BOB, TOLD)
        schedule.soon(CAROL, TOLD)
        schedule.soon(BOB, TOLD)
        assert sorted(await settled(schedule, channel)) == sorted([BOB, CAROL])


async def test_hints_about_the_same_are_one_whatever_the_inbox(monotonic: HandMonotonic) -> None:
    webhook, push = Recorder(everyone=True), Recorder()
    async with hinting(webhook, push, monotonic=monotonic) as schedule:
        for inbox in (BOB, CAROL) * 50:
            schedule.soon(inbox, TOLD)
        assert sorted(await settled(schedule, push)) == sorted([BOB, CAROL])
        assert len(webhook.told) == 1


async def test_who_did_not_ask_is_not_told(monotonic: HandMonotonic, channel: Recorder) -> None:
    async with hinting(channel, monotonic=monotonic) as schedule:
        schedule.soon(BOB, ())
        assert await settled(schedule, channel) == []


@pytest.mark.parametrize("chance", [0.25, 0.75])
async def test_a_hint_is_later_by_its_share_of_the_jitter(
    monotonic: HandMonotonic, channel: Recorder, chance: float
) -> None:
    other = Recorder()
    async with hinting(channel, monotonic=monotonic, jitter=8, chance=chance) as schedule:
        schedule.soon(BOB, TOLD)
        async with hinting(other, monotonic=monotonic) as probe:
            monotonic.advance(8 * chance - 0.5)
            await settled(probe, other)
        assert channel.told == []
        monotonic.advance(0.5)
        schedule.soon(CAROL, TOLD)
        assert await channel.once_told(1) == [BOB]


async def test_what_is_known_is_bounded_and_what_is_too_much_is_counted(
    monotonic: HandMonotonic, channel: Recorder
) -> None:
    async with hinting(channel, monotonic=monotonic, most_known=10) as schedule:
        for number in range(9):
            schedule.soon(b"%d" % number, TOLD)
        await channel.once_told(9)
        monotonic.advance(PAUSE)  # after their pause they are forgotten, at the next occasion
        schedule.soon(b"next", TOLD)
        await channel.once_told(10)
        for number in range(100):
            schedule.soon(b"new %d" % number, TOLD)
        assert len(await channel.once_told(19)) == 19
        assert channel.tally.dropped == 91


async def test_only_so_many_are_under_way_at_once(monotonic: HandMonotonic) -> None:
    channel = Recorder(gate=asyncio.Event())
    assert channel.gate
    async with hinting(channel, monotonic=monotonic) as schedule:
        for number in range(100):
            schedule.soon(b"%d" % number, TOLD)
        await channel.once_told(AT_ONCE)
        assert channel.busy == len(channel.told) == AT_ONCE
        channel.gate.set()
        assert len(await channel.once_told(100)) == 100


@pytest.mark.parametrize("failure", [Unavailable("storage_full", "x", retry_after=1), RuntimeError("x"), OSError("x")])
async def test_one_that_fails_stops_no_other(monotonic: HandMonotonic, failure: Exception) -> None:
    channel = Recorder(failure=failure)
    async with hinting(channel, monotonic=monotonic) as schedule:
        schedule.soon(BOB, TOLD)
        await channel.once_told(1)
        schedule.soon(CAROL, TOLD)
        assert await channel.once_told(2) == [BOB, CAROL]


async def test_a_channel_that_waits_holds_no_other_up(monotonic: HandMonotonic) -> None:
    """As the one with a rate limit of its own does: what comes meanwhile waits for it, together."""
    limited, push = Recorder(gate=asyncio.Event(), name="limited", at_once=1), Recorder()
    assert limited.gate
    async with hinting(limited, push, monotonic=monotonic) as schedule:
        for inbox in (BOB, CAROL):
            for _ in range(3):
                schedule.soon(inbox, ("limited", "push"))
        assert sorted(await settled(schedule, push)) == sorted([BOB, CAROL])
        assert (limited.busy, len(limited.told)) == (1, 1)
        monotonic.advance(PAUSE)
        schedule.soon(BOB, TOLD)
        assert sorted(await settled(schedule, push)) == sorted([BOB, BOB, CAROL])
        limited.gate.set()
        assert sorted(await limited.once_told(2)) == sorted([BOB, CAROL])
        assert schedule.tallies() == {"limited": limited.tally, "push": push.tally}


async def test_stopping_waits_for_nothing(monotonic: HandMonotonic) -> None:
    channel = Recorder(gate=asyncio.Event())
    async with asyncio.timeout(PATIENCE_SECONDS):
        async with hinting(channel, monotonic=monotonic) as schedule:
            schedule.soon(BOB, TOLD)
            await channel.once_told(1)
            schedule.soon(BOB, TOLD)
            assert channel.busy == 1
    assert (channel.busy, channel.told) == (0, [BOB])
