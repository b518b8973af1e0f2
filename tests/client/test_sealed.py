"""Sealed delivery from client to client: who gets tickets, how messages go, and that nothing is signed by itself."""

import asyncio
import contextlib
import json
from argparse import Namespace
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.own_card import published_card
from inbox_server.client.profile_file import parse_profile, render_profile
from inbox_server.client.publish import Publishing
from inbox_server.client.reports import Outcome, Renewed, Sent
from inbox_server.client.sealed import Offer
from inbox_server.client.sheets import EDITION_SECONDS, is_due
from inbox_server.client.tickets import WEEK_SECONDS, Sheet, seed_of, ticket_of
from inbox_server.commands.client_command import Output
from inbox_server.protocol.base64url import encode
from inbox_server.world.local_world import World
from tests.conftest import APP, HandClock
from tests.support.clients import ITS_ID, Scripted, client_of
from tests.support.patience import PATIENCE_SECONDS

_STORED = {"id": ITS_ID, "expires": 1}


@pytest.fixture
async def alice(world: World) -> AsyncIterator[InboxClient]:
    async with settled(world, "alice.id") as client:
        yield client


@pytest.fixture
async def bob(world: World) -> AsyncIterator[InboxClient]:
    async with settled(world, "bob.id") as client:
        yield client


def settled(world: World, name: str) -> Any:
    return client_of(world, name, world.inbox_url, app=APP)


def ways(sent: Sent) -> list[str]:
    return [outcome.way for outcome in sent.outcomes]


async def read_all(client: InboxClient) -> list[str | bytes]:
    """Fetch, verify and acknowledge everything."""
    unread = await client.unread()
    contents = [(await client.fetch(entry)).content for entry in unread.entries]
    await client.acknowledge(unread.entries)
    return contents


async def renew(client: InboxClient) -> None:
    """As `watch` does it."""
    await Publishing(client.account).renew_sheets()


async def greet(one: InboxClient, other: InboxClient) -> None:
    """Each writes to the other and reads what came."""
    for sender, recipient in ((one, other), (other, one)):
        sent = await sender.send(recipient.account.user.identity, "hello")
        assert ways(sent) == ["signed, first contact"]
        assert await read_all(recipient) == ["hello"]


async def talk(alice: InboxClient, bob: InboxClient, clock: HandClock) -> None:
    """Each has written to the other and read the answer, and both have made sheets since."""
    await greet(alice, bob)
    clock.advance(EDITION_SECONDS)
    for client in (alice, bob):
        await renew(client)


async def test_after_each_has_written_to_the_other_messages_go_sealed(
    alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    for number in range(3):
        assert ways(await alice.send("bob.id", f"sealed {number}")) == ["sealed"]
        assert ways(await bob.send("alice.id", f"back {number}")) == ["sealed"]
    assert await read_all(bob) == ["sealed 0", "sealed 1", "sealed 2"]
    assert await read_all(alice) == ["back 0", "back 1", "back 2"]


async def test_a_sealed_message_gets_its_receipt_and_lives_as_long_as_it_says(
    alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    sent = await alice.send("bob.id", "for ten minutes", ttl=600)
    assert [(each.way, each.receipt) for each in sent.outcomes] == [("sealed", "kept")]
    [entry] = (await bob.unread()).entries
    assert entry.expires == clock() + 600


async def at_another_server(bob: InboxClient, server: Scripted) -> Offer:
    """Bob's card names a server that answers as it is told; what the card offers stays."""
    card = await published_card(bob.account)
    assert card
    assert card.offer
    await bob.account.user.publish((server.url,), seq=card.seq + 1, offer=card.offer)
    return card.offer


async def test_every_sealed_delivery_has_a_connection_of_its_own_and_nothing_of_its_sender(
    alice: InboxClient, bob: InboxClient, server: Scripted, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    await at_another_server(bob, server)
    server.say(201, _STORED)
    for number in range(3):
        assert ways(await alice.send("bob.id", f"text {number}")) == ["sealed"]
    assert len({asked.peer for asked in server.asked}) == len(server.asked) == 3
    own = alice.account.user
    for asked in server.asked:
        assert asked.authorization.startswith("InboxTicket ")
        said = repr(asked)
        for trace in (own.key.public, own.key.address, "alice.id"):
            assert trace not in said


async def test_when_the_server_is_in_another_week_its_ticket_is_taken(
    alice: InboxClient, bob: InboxClient, server: Scripted, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    offer = await at_another_server(bob, server)
    refusal = {"status": 403, "code": "not_accepted", "title": "x", "detail": "No."}
    server.say(403, refusal, Date=format_datetime(datetime.fromtimestamp(clock() + WEEK_SECONDS, UTC), usegmt=True))
    server.say(201, _STORED)
    assert ways(await alice.send("bob.id", "hello")) == ["sealed"]
    shared, week = alice.account.user.key.shared_x(bytes.fromhex(bob.account.user.key.public)), clock() // WEEK_SECONDS
    expected = []
    for each in (week, week + 1):
        sheet = Sheet(server.url, each, offer.edition)
        seed = seed_of(shared, sender=alice.account.user.key.public, recipient=bob.account.user.key.public, sheet=sheet)
        expected.append(f"InboxTicket {encode(ticket_of(seed, 0))}")
    assert [asked.authorization for asked in server.asked] == expected


async def test_a_pair_that_went_sealed_never_signs_by_itself(
    alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    assert ways(await alice.send("bob.id", "sealed")) == ["sealed"]
    inbox = bob.account.own(bob.account.profile.read().inboxes[0])
    await inbox.claim({"accept": "nobody"})
    sent = await alice.send("bob.id", "waits")
    assert [(each.state, each.code, each.way) for each in sent.outcomes] == [("later", "no_tickets", "")]
    assert "nothing was signed" in sent.outcomes[0].detail.lower()
    await inbox.claim({"accept": "names"})
    assert await alice.retry() == ()  # not before the pause is over
    clock.advance(600)
    [again] = await alice.retry()
    assert ways(again) == ["sealed"]
    assert await read_all(bob) == ["sealed", "waits"]


async def test_when_the_card_offers_no_tickets_any_more_only_a_person_may_sign(
    alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    assert ways(await alice.send("bob.id", "sealed")) == ["sealed"]
    profile = bob.account.profile.read()
    bob.account.profile.change(lambda _: replace(profile, sealing=replace(profile.sealing, is_on=False)))
    await bob.publish(profile.inboxes)
    [outcome] = (await alice.send("bob.id", "waits")).outcomes
    assert (outcome.state, outcome.code) == ("later", "no_tickets")
    sent = await alice.send("bob.id", "signed on purpose", may_sign=True)
    assert ways(sent) == ["signed"]


async def test_tickets_that_another_device_used_are_passed_over(
    alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    before = alice.account.profile.read()
    for number in range(3):
        await alice.send("bob.id", f"this device {number}")
    alice.account.profile.change(lambda profile: replace(profile, sealing=before.sealing))  # another device's
    assert ways(await alice.send("bob.id", "another device")) == ["sealed"]
    assert len(await read_all(bob)) == 4


async def test_when_the_weeks_tickets_are_used_up_the_rest_waits_for_the_next_week(
    alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    for number in range(32):
        assert ways(await alice.send("bob.id", f"text {number}")) == ["sealed"]
    [outcome] = (await alice.send("bob.id", "one too many")).outcomes
    assert (outcome.state, outcome.code) == ("later", "no_tickets")
    clock.advance(3599)
    assert await alice.retry() == ()
    clock.advance(1)
    [again] = await alice.retry()
    assert ways(again) == [""]
    clock.advance(WEEK_SECONDS)
    [again] = await alice.retry()
    assert ways(again) == ["sealed"]


async def test_what_waits_for_the_next_week_takes_a_ticket_of_another_edition_within_an_hour(
    alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    for number in range(32):
        await alice.send("bob.id", f"text {number}")
    await alice.send("bob.id", "one too many")
    bob.account.profile.change(lambda profile: replace(profile, sealing=replace(profile.sealing, edition=clock() + 9)))
    await bob.publish(bob.account.profile.read().inboxes)
    clock.advance(3600)
    [again] = await alice.retry()
    assert ways(again) == ["sealed"]


async def test_a_new_contact_makes_a_new_edition_and_older_contacts_go_on(
    world: World, alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    before = await published_card(bob.account)
    async with settled(world, "carol.id") as carol:
        await talk(carol, bob, clock)
        after = await published_card(bob.account)
        assert before
        assert before.offer
        assert after
        assert after.offer
        assert after.offer.edition > before.offer.edition
        for client in (alice, carol):
            assert ways(await client.send("bob.id", "sealed")) == ["sealed"]


async def test_the_first_contact_has_tickets_at_once_and_later_ones_wait_for_each_other(
    world: World, alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    await greet(alice, bob)
    clock.advance(1)
    await renew(bob)
    first = await published_card(bob.account)
    assert ways(await alice.send("bob.id", "sealed")) == ["sealed"]
    assert await read_all(bob) == ["sealed"]
    async with settled(world, "carol.id") as carol:
        await greet(carol, bob)
        await renew(bob)
        assert (await published_card(bob.account)) == first  # sheets that the server has do not change
        assert ways(await carol.send("bob.id", "too early")) == ["signed, first contact"]
        clock.advance(EDITION_SECONDS)
        await renew(bob)
        assert ways(await carol.send("bob.id", "sealed")) == ["sealed"]


async def test_a_new_contact_does_not_wait_when_the_owner_publishes(
    world: World, alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    async with settled(world, "carol.id") as carol:
        await greet(carol, bob)
        await bob.publish(bob.account.profile.read().inboxes)
        assert ways(await carol.send("bob.id", "sealed")) == ["sealed"]


async def test_who_is_blocked_has_no_tickets_from_then_on_however_young_the_edition_is(
    alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    assert ways(await alice.send("bob.id", "sealed")) == ["sealed"]
    await bob.claim({"blocked": [alice.account.user.key.address]})
    assert is_due(bob.account.profile.read(), bob.account.now)
    await renew(bob)
    [outcome] = (await alice.send("bob.id", "blocked")).outcomes
    assert (outcome.state, outcome.code) == ("later", "no_tickets")


async def test_an_inbox_that_lost_its_sheets_gets_them_again(
    alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    url = bob.account.profile.read().inboxes[0]
    await bob.account.own(url).forget()
    await bob.claim({})
    assert (await bob.account.own(url).settings())["tickets"] == []
    await renew(bob)
    this = clock() // WEEK_SECONDS
    assert (await bob.account.own(url).settings())["tickets"] == list(range(this, this + 5))
    assert ways(await alice.send("bob.id", "sealed")) == ["sealed"]


async def test_with_sealing_off_nothing_is_offered_or_used(
    world: World, alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    await talk(alice, bob, clock)
    for client in (alice, bob):
        sealing = replace(client.account.profile.read().sealing, is_on=False)
        client.account.profile.change(lambda profile, sealing=sealing: replace(profile, sealing=sealing))  # type: ignore[misc]
        await client.publish(client.account.profile.read().inboxes)
    card = await published_card(bob.account)
    assert card
    assert card.offer is None
    assert ways(await alice.send("bob.id", "signed")) == ["signed"]


async def test_a_profile_keeps_what_it_needs(alice: InboxClient, bob: InboxClient, clock: HandClock) -> None:
    await talk(alice, bob, clock)
    await alice.send("bob.id", "sealed")
    profile = alice.account.profile.read()
    assert profile.sealing.used
    assert profile.sealing.reached == (bob.account.user.key.public,)
    assert parse_profile(render_profile(profile)).sealing == profile.sealing


async def test_a_watch_gives_tickets_when_contacts_are_new(
    alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    await greet(alice, bob)
    clock.advance(EDITION_SECONDS)
    async with asyncio.timeout(PATIENCE_SECONDS), contextlib.aclosing(bob.watch()) as watch:
        async for news in watch:
            if isinstance(news, Renewed):
                break
    assert ways(await alice.send("bob.id", "sealed")) == ["sealed"]


@pytest.mark.parametrize(
    ("way", "words"), [("sealed", "stored, sealed"), ("signed, first contact", "stored, signed, first contact")]
)
def test_a_report_says_how_a_message_went(way: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    sent = Sent("00", "bob.id", (Outcome("https://inbox.example", "done", way=way),))
    for is_json in (False, True):
        Output(Namespace(json=is_json, profile=Path("profile.json"))).sent(sent)
    text, document = capsys.readouterr().out.rsplit("\n", 2)[:2]
    assert text.endswith(f"https://inbox.example: {words}")
    assert [each["way"] for each in json.loads(document)["inboxes"]] == [way]
