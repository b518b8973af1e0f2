"""Sealed delivery when something has changed: another device, an inbox that is down, a server without tickets."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.own_card import published_card
from inbox_server.client.profile_file import parse_profile, render_profile
from inbox_server.client.remembered import Remembered
from inbox_server.client.sealed import Sealing
from inbox_server.client.storage import InMemory
from inbox_server.world.local_world import World
from tests.client.test_audit_excuses import without_feature
from tests.client.test_sealed import at_another_server, read_all, renew, settled, talk, ways
from tests.conftest import HandClock
from tests.support.clients import ITS_ID, Scripted, opened
from tests.support.providers import Provider

_BAD_TOKEN = {"status": 401, "code": "bad_token", "title": "x", "detail": "That is no bearer token."}


@pytest.fixture
async def alice(world: World) -> AsyncIterator[InboxClient]:
    async with settled(world, "alice.id") as client:
        yield client


@pytest.fixture
async def bob(world: World) -> AsyncIterator[InboxClient]:
    async with settled(world, "bob.id") as client:
        yield client


@pytest.fixture
async def phone(world: World, alice: InboxClient) -> AsyncIterator[InboxClient]:
    """Another device of Alice's, which has met nobody."""
    profile = replace(alice.account.profile.read(), remembered=Remembered(), sealing=Sealing())
    async with opened(world, InMemory(profile)) as client:
        yield client


async def test_another_device_takes_tickets_for_contacts_whom_it_has_not_met(
    alice: InboxClient, bob: InboxClient, phone: InboxClient, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    await renew(phone)
    assert ways(await phone.send("bob.id", "from the phone")) == ["sealed"]
    assert await read_all(bob) == ["from the phone"]


async def test_another_device_does_not_sign_either_once_a_message_went_sealed(
    alice: InboxClient, bob: InboxClient, phone: InboxClient, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    assert ways(await alice.send("bob.id", "sealed")) == ["sealed"]
    await renew(alice)
    await renew(phone)
    inbox = bob.account.own(bob.account.profile.read().inboxes[0])
    await inbox.claim({"accept": "nobody"})
    [outcome] = (await phone.send("bob.id", "waits")).outcomes
    assert (outcome.state, outcome.code, outcome.way) == ("later", "no_tickets", "")
    assert "nothing was signed" in outcome.detail.lower()
    await inbox.claim({"accept": "names"})
    profile = bob.account.profile.read()
    bob.account.profile.change(lambda _: replace(profile, sealing=replace(profile.sealing, is_on=False)))
    await bob.publish(profile.inboxes)
    assert ways(await phone.send("bob.id", "signed on purpose", may_sign=True)) == ["signed"]
    await renew(phone)
    assert ways(await phone.send("bob.id", "and again")) == ["signed"]  # what its user decided holds
    clock.advance(600)
    [waited] = await phone.retry()
    assert ways(waited) == ["signed"]
    kept = phone.account.profile.read()
    assert parse_profile(render_profile(kept)).sealing == kept.sealing


async def test_another_edition_need_not_wait_until_a_pause_is_over(
    alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    assert ways(await alice.send("bob.id", "sealed")) == ["sealed"]
    url = bob.account.profile.read().inboxes[0]
    await bob.account.own(url).forget()
    await bob.claim({"names": ["bob.id"]})
    for number in range(2):
        [outcome] = (await alice.send("bob.id", f"waits {number}")).outcomes
        assert (outcome.state, outcome.code) == ("later", "no_tickets")
    bob.account.profile.change(lambda profile: replace(profile, sealing=replace(profile.sealing, edition=clock() + 9)))
    await bob.publish((url,))
    assert ways(await alice.send("bob.id", "with a ticket of the new edition")) == ["sealed"]


async def test_while_an_inbox_is_down_the_card_offers_tickets_all_the_same(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    both = (world.inbox_url, provider.url)
    await bob.claim({"names": ["bob.id"]}, inboxes=both)
    await bob.publish(both)
    assert ways(await alice.send("bob.id", "to both")) == ["sealed", "sealed"]
    await provider.stop()
    await bob.publish(both)
    card = await published_card(bob.account)
    assert card
    assert card.offer
    sent = await alice.send("bob.id", "to one")
    assert {outcome.inbox: outcome.way for outcome in sent.outcomes} == {world.inbox_url: "sealed", provider.url: ""}
    await provider.start()
    clock.advance(600)
    [again] = await alice.retry()
    assert ways(again) == ["sealed", "sealed"]


async def test_a_ticket_that_a_proxy_takes_away_is_sent_again_and_nothing_is_signed(
    alice: InboxClient, bob: InboxClient, server: Scripted, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    await at_another_server(bob, server)
    server.say(401, _BAD_TOKEN | {"code": "no_token"})
    server.say(201, {"id": ITS_ID, "expires": 1})
    [outcome] = (await alice.send("bob.id", "waits")).outcomes
    assert (outcome.state, outcome.code) == ("later", "no_token")
    assert [ways(report) for report in await alice.retry()] == [["sealed"]]


async def test_a_server_that_takes_no_tickets_any_more_refuses_nothing_for_good(
    alice: InboxClient, bob: InboxClient, server: Scripted, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    await at_another_server(bob, server)
    server.say(401, _BAD_TOKEN)
    server.say(201, {"id": ITS_ID, "expires": 1})
    assert ways(await alice.send("bob.id", "the first one may be signed")) == ["signed, first contact"]
    assert ways(await alice.send("bob.id", "sealed")) == ["sealed"]
    server.answers.clear()
    server.say(401, _BAD_TOKEN)
    [outcome] = (await alice.send("bob.id", "waits")).outcomes
    assert (outcome.state, outcome.code) == ("later", "no_tickets")
    assert "takes no tickets any more; nothing was signed" in outcome.detail
    asked = len(server.asked)
    clock.advance(599)
    assert await alice.retry() == ()
    assert len(server.asked) == asked
    clock.advance(1)
    assert len(await alice.retry()) == 1


async def test_who_moves_to_a_server_without_tickets_is_told_what_that_means(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    assert ways(await bob.send("alice.id", "sealed")) == ["sealed"]
    provider.lies.append(without_feature("sealed"))
    said = [step.text async for step in alice.move(provider.url)]
    assert f"no tickets for your contacts: {provider.url} takes none" in "\n".join(said)
    [outcome] = (await bob.send("alice.id", "waits")).outcomes
    assert (outcome.state, outcome.code) == ("later", "no_tickets")
