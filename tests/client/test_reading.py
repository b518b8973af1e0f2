"""Reading: entries merged over inboxes, messages verified, and acknowledgements that reach every inbox in the end."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inbox_server.client.ecies import encrypt, sign_envelope
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.reports import Arrived, News
from inbox_server.client.tokens_and_cards import Pointer, make_message_id
from inbox_server.client.user import NotAuthentic, NotForNow
from inbox_server.world.local_world import World
from tests.conftest import APP, HandClock
from tests.support.clients import client_of, opened, scripted
from tests.support.requests import Caller, inbox_server, new_key

_OPEN = {"registration": {"mode": "open", "open_to_keys": True}}
pytestmark = pytest.mark.both_hubs


@pytest.fixture
async def other(world: World, tmp_path: Path) -> AsyncIterator[Caller]:
    async with inbox_server(world, tmp_path / "other", _OPEN) as caller:
        yield caller


@pytest.fixture
async def bob(world: World, other: Caller) -> AsyncIterator[InboxClient]:
    async with client_of(world, "bob.id", world.inbox_url, other.url, app=APP) as client:
        yield client


def pointed(bob: InboxClient, **changes: Any) -> str:
    """A message ID for Bob, whatever it says."""
    pointer = replace(Pointer("0" * 32, "alice.id", APP), **changes)
    return make_message_id(pointer, bob.account.user.key.public, ephemeral=new_key(), iv=bytes(16))


async def test_an_entry_at_two_inboxes_is_one(
    world: World, other: Caller, alice: InboxClient, bob: InboxClient
) -> None:
    await alice.send("bob.id", "hello")
    (entry,) = (await bob.unread()).entries
    assert sorted(entry.inboxes) == sorted((world.inbox_url, other.url))
    assert len(entry.ids) == 1
    message = await bob.fetch(entry)
    assert (message.sender, message.content) == ("alice.id", "hello")
    assert message.key == alice.account.user.key.public
    assert [outcome.state for outcome in await bob.acknowledge([entry])] == ["done", "done"]
    assert [outcome.answer["unread"] for outcome in await bob.settings()] == [0, 0]


async def test_a_message_delivered_twice_under_other_encryptions_is_one_entry(
    world: World, alice: InboxClient, bob: InboxClient
) -> None:
    inbox = alice.account.others(world.inbox_url)
    for _ in range(2):
        await inbox.deliver(pointed(bob), sender="alice.id", recipient="bob.id")
    (entry,) = (await bob.unread()).entries
    assert len(entry.ids) == 2
    await bob.acknowledge([entry])
    assert (await bob.unread()).entries == ()


async def test_what_was_read_while_an_inbox_was_down_is_not_shown_from_it_again(
    world: World, alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    await alice.send("bob.id", "hello")
    unread = await bob.unread()
    async with scripted() as down:
        down.say(503, None)
        profile = bob.account.profile
        kept = profile.read().inboxes
        profile.change(lambda profile: replace(profile, inboxes=(world.inbox_url, down.url)))
        outcomes = await bob.acknowledge(unread.entries)
        assert [outcome.state for outcome in outcomes] == ["done", "later"]
        assert profile.read().to_ack == {down.url: unread.entries[0].ids}
        profile.change(lambda profile: replace(profile, inboxes=kept))
    # The second real inbox was never told: the entry waits there, and it is told as soon as that is seen.
    profile.change(lambda profile: replace(profile, to_ack={}))
    assert [outcome.answer["unread"] for outcome in await bob.settings()] == [0, 1]
    assert (await bob.unread()).entries == ()
    assert [outcome.answer["unread"] for outcome in await bob.settings()] == [0, 0]
    assert profile.read().to_ack == {}


async def test_what_cannot_be_decrypted_or_has_expired_is_told_or_left_out(
    world: World, alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    inbox = alice.account.others(world.inbox_url)
    await inbox.deliver("anything", sender="alice.id", recipient="bob.id")
    await inbox.deliver(pointed(bob), sender="alice.id", recipient="bob.id", ttl=10)
    garbled, short = (await bob.unread()).entries
    assert garbled.pointer is None
    with pytest.raises(NotAuthentic, match="not encrypted to this key"):
        await bob.fetch(garbled)
    assert short.pointer == Pointer("0" * 32, "alice.id", APP)
    clock.advance(10)
    assert (await bob.unread()).entries == (garbled,)


async def test_a_message_is_fetched_only_from_the_bucket_of_the_identity_it_claims(
    world: World, alice: InboxClient, bob: InboxClient
) -> None:
    """Mallory claims to be Alice, puts a message into Mallory's bucket, and one that Mallory signed into Alice's."""
    key = bob.account.user.key.public
    inbox = alice.account.others(world.inbox_url)
    async with client_of(world, "mallory.id", app=APP) as mallory:
        await mallory.account.user.bucket.write(f"outbox/{'0' * 32}.json", b"{}")
        await inbox.deliver(pointed(bob), sender="alice.id", recipient="bob.id")
        (entry,) = (await bob.unread()).entries
        with pytest.raises(NotForNow, match="not in any bucket"):
            await bob.fetch(entry)
        forged = sign_envelope(mallory.account.user.key, encrypt(key, "x", ephemeral=new_key(), iv=bytes(16)))
        await alice.account.user.bucket.write(f"outbox/{'0' * 32}.json", forged.encode())
        with pytest.raises(NotAuthentic, match="not signed by the key"):
            await bob.fetch(entry)
        await alice.account.user.bucket.write(f"outbox/{'0' * 32}.json", b"{}")
        with pytest.raises(NotAuthentic, match="not a signed envelope"):
            await bob.fetch(entry)


async def test_a_message_for_another_app_or_by_nobody_is_not_fetched(
    world: World, alice: InboxClient, bob: InboxClient
) -> None:
    inbox = alice.account.others(world.inbox_url)
    await inbox.deliver(pointed(bob, app="https://other.example"), sender="alice.id", recipient="bob.id")
    (entry,) = (await bob.unread()).entries
    with pytest.raises(NotAuthentic, match="another app"):
        await bob.fetch(entry)


async def test_a_bucket_that_cannot_be_reached_is_no_forgery(
    world: World, alice: InboxClient, bob: InboxClient
) -> None:
    await alice.send("bob.id", "hello")
    (entry,) = (await bob.unread()).entries
    profile = bob.account.profile
    profile.change(lambda profile: replace(profile, services=("http://127.0.0.1:1",)))
    async with opened(world, profile) as lost:
        with pytest.raises(NotForNow):
            await lost.fetch(entry)


async def test_a_bare_key_s_message_is_not_fetched_from_where_its_pointer_says(world: World, bob: InboxClient) -> None:
    stranger = new_key()
    async with scripted() as elsewhere:
        elsewhere.say(200, {})
        url = f"{elsewhere.url}/hub/{stranger.address}/"
        opaque = pointed(bob, sender=stranger.public, url=url)
        own = bob.account.own(world.inbox_url)
        key = bob.account.user.key.public
        await own.deliver(opaque, sender=key, recipient=key)
        (entry,) = (await bob.unread()).entries
        assert entry.pointer is not None
        assert entry.pointer.url == url
        with pytest.raises(NotForNow, match="not in any bucket"):
            await bob.fetch(entry)
        assert elsewhere.asked == []


async def test_a_server_that_answers_nonsense_is_reported_and_the_others_are_read(
    world: World, alice: InboxClient, bob: InboxClient
) -> None:
    await alice.send("bob.id", "hello")
    async with scripted() as odd:
        documents: tuple[object, ...] = ({"messages": [{}]}, {"messages": 5}, [], {})
        for document in documents:
            odd.answers.clear()
            odd.say(200, document)
            profile = bob.account.profile
            profile.change(lambda profile: replace(profile, inboxes=(world.inbox_url, odd.url)))
            unread = await bob.unread()
            assert len(unread.entries) == 1
            assert [(outcome.state, outcome.code) for outcome in unread.outcomes] == [
                ("done", ""),
                ("later", "unreachable"),
            ]


async def test_a_clock_that_goes_before_hides_nothing_that_is_unread(
    world: World, alice: InboxClient, bob: InboxClient
) -> None:
    await alice.send("bob.id", "hello", ttl=3600)
    async with opened(world, bob.account.profile, ahead=86_400 * 31) as fast:
        (entry,) = (await fast.unread()).entries
        assert (await fast.fetch(entry)).content == "hello"
        async with contextlib.aclosing(fast.watch()) as all_news:
            arrived = [news.entry async for news in _first_arrived(all_news)]
        assert [entry.ids for entry in arrived] == [entry.ids]
        await fast.acknowledge([entry])
        assert set(fast.account.profile.read().marks[world.inbox_url]) == {str(world.clock() // 86_400)}
    assert (await bob.unread()).entries == ()


async def _first_arrived(all_news: AsyncIterator[News]) -> AsyncIterator[Arrived]:
    async for news in all_news:
        if isinstance(news, Arrived):
            yield news
            return
