"""What is not there for a moment: a name, a bucket, one message. Nothing is given up before it has lasted."""

import asyncio
import contextlib

import pytest

from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.reading import LAPSE_SECONDS
from inbox_server.client.reports import Arrived, Entry
from inbox_server.client.user import NotAuthentic, NotForNow
from inbox_server.world.local_world import World
from tests.conftest import HandClock
from tests.support.clients import opened
from tests.support.patience import PATIENCE_SECONDS


async def _entry(alice: InboxClient, bob: InboxClient) -> Entry:
    await alice.send("bob.id", "hello")
    (entry,) = (await bob.unread()).entries
    return entry


@pytest.mark.parametrize("fault", ["names_absent_until", "names_empty_until", "files_absent_until"])
async def test_a_lapse_of_two_seconds_leaves_an_entry_unread(
    world: World, alice: InboxClient, bob: InboxClient, clock: HandClock, fault: str
) -> None:
    entry = await _entry(alice, bob)
    setattr(world.faults, fault, clock() + 2)
    with pytest.raises(NotForNow):
        await bob.fetch(entry)
    clock.advance(2)
    assert (await bob.fetch(entry)).content == "hello"
    assert bob.account.profile.read().missed == {}


@pytest.mark.parametrize("fault", ["names_absent_until", "names_empty_until", "files_absent_until"])
async def test_what_was_not_there_for_days_is_given_up_also_after_a_restart(
    world: World, alice: InboxClient, bob: InboxClient, clock: HandClock, fault: str
) -> None:
    entry = await _entry(alice, bob)
    setattr(world.faults, fault, clock() + 2 * LAPSE_SECONDS)
    for passing in (0, LAPSE_SECONDS - 1):
        clock.advance(passing)
        with pytest.raises(NotForNow):
            await bob.fetch(entry)
    clock.advance(1)
    async with opened(world, bob.account.profile) as again:
        with pytest.raises(NotAuthentic, match="was not for 3 days"):
            await again.fetch(entry)


async def test_a_clock_that_jumps_ahead_makes_no_lapse_longer(
    world: World, alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    entry = await _entry(alice, bob)
    world.faults.files_absent_until = clock() + 2
    for ahead in (0, LAPSE_SECONDS, 0):
        async with opened(world, bob.account.profile, ahead=ahead) as reader:
            with pytest.raises(NotForNow):
                await reader.fetch(entry)


@pytest.mark.parametrize("length", [0, 10])
async def test_a_message_that_is_not_whole_yet_is_for_now(
    world: World, alice: InboxClient, bob: InboxClient, length: int
) -> None:
    entry = await _entry(alice, bob)
    assert entry.pointer
    address, path = alice.account.user.key.address, f"outbox/{entry.pointer.id}.json"
    whole = world.hub.read(address, path)
    assert whole
    world.hub.cut(address, path, length)
    with pytest.raises(NotForNow, match="not whole"):
        await bob.fetch(entry)
    world.hub.store(address, path, whole.content, whole.content_type)
    assert (await bob.fetch(entry)).content == "hello"


async def _read(watcher: InboxClient, count: int) -> list[str | bytes]:
    """What a program that fetches what it is told gets to read, until it has so many."""
    read: list[str | bytes] = []
    async with asyncio.timeout(PATIENCE_SECONDS), contextlib.aclosing(watcher.watch()) as all_news:
        async for news in all_news:
            if isinstance(news, Arrived):
                with contextlib.suppress(NotForNow):
                    read.append((await watcher.fetch(news.entry)).content)
                    await watcher.acknowledge([news.entry])
            if len(read) == count:
                break
    return read


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_a_watch_comes_back_to_what_could_not_be_fetched(
    world: World, alice: InboxClient, bob: InboxClient, clock: HandClock, is_restarted: bool
) -> None:
    await alice.send("bob.id", "one")
    world.faults.files_absent_until = clock() + 2
    told: list[bool] = []
    async with asyncio.timeout(PATIENCE_SECONDS), contextlib.aclosing(bob.watch()) as all_news:
        async for news in all_news:
            if isinstance(news, Arrived):
                told.append(news.is_again)
                with contextlib.suppress(NotForNow):
                    assert (await bob.fetch(news.entry)).content == "one"
                    return
                if len(told) == 3:
                    clock.advance(2)
                    if is_restarted:
                        break
    assert told == [False, True, True]
    assert await _read(bob, 1) == ["one"]
    assert bob.account.profile.read().missed == {}


async def test_what_was_read_elsewhere_is_not_come_back_to(
    world: World, alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    entry = await _entry(alice, bob)
    world.faults.files_absent_until = clock() + 2
    with pytest.raises(NotForNow):
        await bob.fetch(entry)
    async with opened(world, bob.account.profile) as other_device:
        await other_device.account.own(world.inbox_url).acknowledge(list(entry.ids))
    clock.advance(2)
    await alice.send("bob.id", "two")
    assert await _read(bob, 1) == ["two"]
    assert bob.account.profile.read().missed == {}
