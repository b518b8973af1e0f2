"""An inbox that is not where it was: moved by another device, or deleted or lost by its operator."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from inbox_server.client.audit.in_watch import InWatch
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.profile_file import Profile, parse_profile, render_profile
from inbox_server.client.remembered import Remembered
from inbox_server.client.reports import Audit
from inbox_server.client.sealed import Sealing
from inbox_server.client.storage import InMemory
from inbox_server.clock import DAY_SECONDS
from inbox_server.world.local_world import World
from tests.client.test_audit_cheats import codes, read_all, sent
from tests.client.test_audit_excuses import without_feature
from tests.client.test_audit_watch import Monotonic
from tests.conftest import APP, HandClock
from tests.support.clients import client_of, opened
from tests.support.providers import Document, Provider


@pytest.fixture
async def bob(world: World, provider: Provider) -> AsyncIterator[InboxClient]:
    async with client_of(world, "bob.id", provider.url, app=APP) as client:
        yield client


async def texts(bob: InboxClient, audit: Audit) -> list[str | bytes]:
    return [(await bob.fetch(entry)).content for entry in audit.found]


async def test_an_audit_follows_an_inbox_that_another_device_has_moved(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    laptop: InMemory[Profile] = InMemory(parse_profile(render_profile(bob.account.profile.read())))
    await sent(world, alice, bob, "one")
    async for _ in bob.move(world.inbox_url):
        pass
    async with opened(world, laptop) as other:
        audit = await other.audit()
        assert (audit.findings, audit.taken_over) == ((), (world.inbox_url,))
        assert audit.entries == 1


async def test_what_was_read_on_another_device_before_it_moved_the_inbox_is_not_found_as_missing(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    laptop: InMemory[Profile] = InMemory(parse_profile(render_profile(bob.account.profile.read())))
    await sent(world, alice, bob, "read there")
    entries = (await bob.unread()).entries
    await bob.fetch(entries[0])
    await bob.acknowledge(entries)
    await sent(world, alice, bob, "unread")
    async for _ in bob.move(world.inbox_url):
        pass
    async with opened(world, laptop) as other:
        audit = await other.audit()
        assert audit.taken_over == (world.inbox_url,)
        await other.fetch((await other.unread()).entries[0])
        audit = await other.audit()
        assert (audit.is_in_order, audit.entries, audit.receipts) == (True, 1, 2)


async def test_an_inbox_that_its_operator_lost_is_said_and_what_was_unread_is_found(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    await sent(world, alice, bob, "one")
    read = (await bob.unread()).entries
    await bob.fetch(read[0])
    await bob.acknowledge(read)
    await sent(world, alice, bob, "never shown")
    await provider.stop()
    shutil.rmtree(provider.folder)
    await provider.start()
    audit = await bob.audit()
    assert codes(audit) == ["no_inbox"]
    assert await texts(bob, audit) == ["never shown"]
    [outcome] = await bob.claim({"names": ["bob.id"]}, inboxes=(provider.url,))
    assert outcome.code == "claimed_again"
    await bob.publish((provider.url,))
    audit = await bob.audit()
    assert not audit.is_in_order
    assert await texts(bob, audit) == ["never shown"]


async def test_an_inbox_that_its_owner_deleted_is_only_claimed(bob: InboxClient, provider: Provider) -> None:
    await bob.audit()
    await bob.forget()
    [outcome] = await bob.claim({"names": ["bob.id"]}, inboxes=(provider.url,))
    assert outcome.code == "claimed"


async def test_a_device_that_has_met_nobody_finds_what_a_server_hides_from_it(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock
) -> None:
    await sent(world, alice, bob, "one")
    await read_all(bob)
    await alice.claim({"names": ["alice.id"]}, inboxes=(world.inbox_url,))
    await alice.publish((world.inbox_url,))
    await bob.send("alice.id", "two")
    await bob.publish((provider.url,))
    profile = replace(bob.account.profile.read(), remembered=Remembered(), sealing=Sealing())
    async with opened(world, InMemory(profile)) as phone:
        await phone.publish((provider.url,))
        await phone.audit()
        await provider.stop()
        clock.advance(DAY_SECONDS)
        hidden = await alice.send("bob.id", "three")
        await provider.start()
        assert not hidden.stored
        assert "three" in await texts(phone, await phone.audit())


def without_log_page(path: str, document: Document) -> Document:
    """The server answers, but never with its log."""
    return {} if path == "/v1/inbox/log" else document


@pytest.mark.parametrize(
    ("code", "lie"), [("no_log", without_feature("log")), ("unreachable", without_log_page)], ids=["no_log", "no page"]
)
async def test_a_watch_says_once_that_a_server_does_not_show_its_log_any_more(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock, code: str, lie: object
) -> None:
    monotonic = Monotonic()
    in_watch = InWatch(bob.account, monotonic)

    async def next_day(*up: str) -> list[str] | None:
        monotonic.now += 2 * DAY_SECONDS
        clock.advance(2 * DAY_SECONDS)
        audit = await in_watch.audit(up)
        return [finding.code for finding in audit.findings] if audit else None

    await sent(world, alice, bob, "one")
    await read_all(bob)
    await in_watch.audit((provider.url,))
    assert await next_day(provider.url) is None
    assert callable(lie)
    provider.lies.append(lie)
    assert await next_day(provider.url) == [code]
    assert await next_day(provider.url) is None
    provider.lies.clear()
    assert await next_day(provider.url) is None
    await provider.stop()
    assert await next_day() is None  # a watch that is not connected has said so
