"""What one device knows of people serves the owner's other devices: whose indexes to read, where, and whose not."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.profile_file import Profile
from inbox_server.client.remembered import Remembered
from inbox_server.client.reports import Arrived, Entry, WasRead
from inbox_server.client.sealed import Sealing
from inbox_server.client.storage import InMemory
from inbox_server.client.user import NotAuthentic
from inbox_server.world.local_world import World
from tests.client.test_people import file_in, key_of, put
from tests.conftest import APP, HandClock
from tests.support.clients import opened, profile_of
from tests.support.providers import Provider
from tests.support.second_hub import at_another_hub


@pytest.fixture
async def elsewhere(world: World) -> AsyncIterator[World]:
    async with at_another_hub(world) as other:
        yield other


@pytest.fixture
async def bob(world: World, elsewhere: World, provider: Provider) -> AsyncIterator[InboxClient]:
    """Without a name, and with another hub than everybody else."""
    person = await elsewhere.settle("bob.id", APP)
    profile = profile_of(elsewhere, person, named=False, allow=(world.reader_origin,))
    async with opened(elsewhere, InMemory(profile)) as client:
        await client.claim({"accept": "anyone"}, inboxes=(provider.url,))
        await client.publish((provider.url,))
        yield client


@pytest.fixture
async def alice(world: World, elsewhere: World) -> AsyncIterator[InboxClient]:
    """alice.id, who finds Bob by his key, because she knows his hub."""
    profile = profile_of(world, await world.settle("alice.id", APP))
    profile = replace(profile, prefixes=(world.read_url, elsewhere.read_url))
    async with opened(world, InMemory(profile)) as client:
        await client.claim({"accept": "anyone", "names": ["alice.id"]}, inboxes=(world.inbox_url,))
        await client.publish((world.inbox_url,))
        yield client


@pytest.fixture
def new_device(bob: InboxClient) -> InMemory[Profile]:
    """Of Bob's, which knows only what `keygen` asks for."""
    return InMemory(replace(bob.account.profile.read(), remembered=Remembered(), sealing=Sealing()))


async def speak(alice: InboxClient, bob: InboxClient) -> None:
    """Each reads a message of the other's, and Bob's other devices can know it."""
    for sender, to, reader in ((alice, key_of(bob), bob), (bob, "alice.id", alice)):
        assert (await sender.send(to, "hello")).stored
        await read(reader)
    await bob.publish(bob.account.profile.read().inboxes)


async def read(client: InboxClient) -> None:
    entries = (await client.unread()).entries
    for entry in entries:
        await client.fetch(entry)
    await client.acknowledge(entries)


async def texts(device: InboxClient, found: tuple[Entry, ...]) -> set[str | bytes]:
    return {(await device.fetch(entry)).content for entry in found}


async def test_a_contact_of_another_device_is_found_at_whichever_hub_the_name_leads_to(
    elsewhere: World, alice: InboxClient, bob: InboxClient, new_device: InMemory[Profile], provider: Provider
) -> None:
    await speak(alice, bob)
    await provider.stop()
    assert not (await alice.send(key_of(bob), "hidden")).stored
    async with opened(elsewhere, new_device) as laptop:
        unread = await laptop.unread()
        assert unread.without_server
        assert await texts(laptop, unread.entries) == {"hello", "hidden"}
        await provider.start()
        assert await texts(laptop, (await laptop.audit()).found) == {"hidden"}


async def test_what_somebody_sends_whom_another_device_has_blocked_is_not_found(
    elsewhere: World, alice: InboxClient, bob: InboxClient, new_device: InMemory[Profile], provider: Provider
) -> None:
    async with opened(elsewhere, new_device) as laptop:
        await speak(alice, laptop)
        await bob.claim({"blocked": [alice.account.user.key.address]}, inboxes=(provider.url,))
        await bob.publish((provider.url,))
        assert not (await alice.send(key_of(bob), "blocked")).stored
        assert (await laptop.audit()).found == ()
        await provider.stop()
        assert (await laptop.unread()).entries == ()


async def test_what_came_from_somebody_before_any_device_blocked_them_is_shown_by_no_device(
    elsewhere: World,
    alice: InboxClient,
    bob: InboxClient,
    new_device: InMemory[Profile],
    provider: Provider,
    clock: HandClock,
) -> None:
    await speak(alice, bob)
    assert (await alice.send(key_of(bob), "came before")).stored
    async with opened(elsewhere, new_device) as laptop:
        await bob.claim({"blocked": [alice.account.user.key.address]}, inboxes=(provider.url,))
        await bob.publish((provider.url,))
        await laptop.publish((provider.url,))
        for device in (bob, laptop):
            (entry,) = (await device.unread()).entries
            with pytest.raises(NotAuthentic, match="blocked"):
                await device.fetch(entry)
        clock.advance(60)
        await bob.claim({"blocked": []}, inboxes=(provider.url,))
        for device in (bob, laptop):
            await device.publish((provider.url,))
            assert (await device.fetch(entry)).content == "came before"


async def test_what_a_watch_saw_being_read_on_another_device_is_not_shown_again_without_a_server(
    elsewhere: World, alice: InboxClient, bob: InboxClient, new_device: InMemory[Profile], provider: Provider
) -> None:
    await speak(alice, bob)
    assert (await alice.send(key_of(bob), "read there")).stored
    async with opened(elsewhere, new_device) as laptop:
        async with contextlib.aclosing(laptop.watch()) as all_news:
            async for news in all_news:
                if isinstance(news, Arrived):
                    await read(bob)
                if isinstance(news, WasRead):
                    break
        await provider.stop()
        assert await texts(laptop, (await laptop.unread()).entries) == {"hello"}  # which was read before


async def test_a_name_in_the_file_stays_until_a_device_hears_of_another(
    elsewhere: World, alice: InboxClient, bob: InboxClient, new_device: InMemory[Profile], provider: Provider
) -> None:
    key = key_of(alice)
    await speak(alice, bob)
    assert file_in(elsewhere, bob)["people"][key]["name"] == "alice.id"
    async with opened(elsewhere, new_device) as laptop:
        await laptop.publish((provider.url,))
        assert file_in(elsewhere, bob)["people"][key]["name"] == "alice.id"
    members = file_in(elsewhere, bob)
    members["people"][key]["name"] = "alice.old"
    await put(bob, members)
    await bob.publish((provider.url,))
    assert file_in(elsewhere, bob)["people"][key]["name"] == "alice.id"


@pytest.mark.parametrize("name", ["no name", "../alice.id", 7, None])
async def test_what_is_no_name_makes_no_file_of_people(
    elsewhere: World, alice: InboxClient, bob: InboxClient, provider: Provider, name: object
) -> None:
    await speak(alice, bob)
    members = file_in(elsewhere, bob)
    members["people"][key_of(alice)]["name"] = name
    await put(bob, members)
    await bob.publish((provider.url,))
    assert "damaged" in bob.account.profile.read().sealing.fault
