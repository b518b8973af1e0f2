"""Deliveries with a ticket over HTTP: who gets in without a name, and that everybody else learns nothing."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.clock import DAY_SECONDS, UnixTime, end_of_day
from inbox_server.http.app_keys import METRICS
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.protocol.base64url import encode
from inbox_server.store.contract import TICKET_SKEW_SECONDS, WEEK_SECONDS
from inbox_server.world.local_world import World
from tests.conftest import HandClock
from tests.support.edges import SECRET, serving
from tests.support.requests import (
    Answer,
    Caller,
    at,
    caller,
    check_common_headers,
    check_problem,
    id_of,
    inbox_app,
    inbox_server,
    new_key,
)
from tests.support.sealed import Contact, deliver_sealed, give_tickets, sheet_at

OPEN: Mapping[str, Any] = {"mode": "open", "open_to_keys": True}


@pytest.fixture
async def bob(world: World) -> Caller:
    """The owner of an inbox that takes deliveries of nobody but contacts, of whom none is listed."""
    owner = caller(world)
    assert (await owner.claim({"accept": "contacts"})).status == 201
    return owner


@pytest.fixture
async def alice(bob: Caller) -> Contact:
    """Has tickets for this week."""
    alice = Contact(new_key(), bob)
    await give_tickets(bob, alice.key, new_key())
    return alice


async def test_a_ticket_delivers_once_and_its_repeat_is_the_same_delivery(bob: Caller, alice: Contact) -> None:
    first = await alice.deliver("opaque")
    assert first.status == 201
    check_common_headers(first)
    assert first.json() == {"id": id_of("opaque"), "expires": end_of_day(UnixTime(bob.clock() + 30 * DAY_SECONDS))}
    again = await alice.deliver("opaque")
    assert (again.status, again.json()) == (200, first.json())
    assert await bob.texts() == ["opaque"]


async def test_a_ticket_that_was_used_is_spent_for_everything_else(bob: Caller, alice: Contact) -> None:
    assert (await alice.deliver("one")).status == 201
    check_problem(await alice.deliver("another"), "ticket_spent")
    assert (await alice.deliver("another", 1)).status == 201
    assert await bob.texts() == ["one", "another"]


async def test_the_same_text_with_another_ticket_is_a_repeat_and_uses_it_up(bob: Caller, alice: Contact) -> None:
    assert (await alice.deliver("one", 0)).status == 201
    assert (await alice.deliver("one", 1)).status == 200
    check_problem(await alice.deliver("another", 1), "ticket_spent")
    assert await bob.texts() == ["one"]


async def test_a_repeat_does_not_tell_whether_the_entry_was_read(bob: Caller, alice: Contact) -> None:
    for number, text in enumerate(("read", "unread")):
        assert (await alice.deliver(text, number, ttl=600)).status == 201
    await bob.acknowledge(id_of("read"))
    for _ in range(2):  # while they live, and when their life is over
        answers = [await alice.deliver(text, number, ttl=600) for number, text in enumerate(("read", "unread"))]
        assert [replace(answers[0], body=b"").seen(), answers[0].json()["expires"]] == [
            replace(answers[1], body=b"").seen(),
            answers[1].json()["expires"],
        ]
        bob.clock.advance(601)  # type: ignore[attr-defined]


async def test_of_many_with_one_ticket_at_once_one_gets_in(bob: Caller, alice: Contact) -> None:
    answers = await asyncio.gather(*(alice.deliver(f"text {number}") for number in range(20)))
    assert sorted(answer.status for answer in answers) == [201, *[409] * 19]
    assert len(await bob.texts()) == 1


async def test_many_with_a_ticket_each_all_get_in(bob: Caller, alice: Contact) -> None:
    signed = at(bob)
    await bob.claim({"accept": "anyone"})
    answers = await asyncio.gather(
        *(alice.deliver(f"sealed {number}", number) for number in range(32)),
        *(signed.deliver(f"signed {number}", recipient=bob.key.address) for number in range(32)),
    )
    assert {answer.status for answer in answers} == {201}
    assert len(await bob.texts()) == 64


STRANGERS: Mapping[str, Any] = {
    "a stranger": lambda alice: Contact(new_key(), alice.owner).deliver(),
    "random bytes": lambda alice: deliver_sealed(alice.owner, bytes(32), message_id="opaque"),
    "a ticket beyond those of a contact": lambda alice: alice.deliver(number=32),
    "the other direction": lambda alice: deliver_sealed(
        alice.owner, Contact(alice.owner.key, at(alice.owner, alice.key)).ticket(), message_id="opaque"
    ),
    "another server's": lambda alice: alice.deliver(sheet=sheet_at(replace(alice.owner, url="https://other.example"))),
    "another edition's": lambda alice: alice.deliver(sheet=sheet_at(alice.owner, edition=2)),
    "last week's": lambda alice: alice.deliver(sheet=sheet_at(alice.owner, weeks=-1)),
    "next week's": lambda alice: alice.deliver(sheet=sheet_at(alice.owner, weeks=1)),
    "another inbox": lambda alice: alice.deliver(to=new_key().address),
}


@pytest.mark.parametrize("kind", STRANGERS)
async def test_a_ticket_that_is_on_no_sheet_of_this_week_is_not_accepted(
    bob: Caller, alice: Contact, kind: str
) -> None:
    await give_tickets(bob, alice.key, sheet=sheet_at(bob, weeks=1))
    answer: Answer = await STRANGERS[kind](alice)
    check_problem(answer, "not_accepted")
    signed = await at(bob).deliver(recipient=new_key().address)
    assert answer.seen() == signed.seen()
    assert await bob.texts() == []


async def test_nobody_means_nobody(bob: Caller, alice: Contact) -> None:
    assert (await alice.deliver("before")).status == 201
    await bob.claim({"accept": "nobody"})
    check_problem(await alice.deliver("before"), "not_accepted")
    check_problem(await alice.deliver("after", 1), "not_accepted")
    await bob.claim({"accept": "contacts", "blocked": [alice.key.address]})
    assert (await alice.deliver("after", 1)).status == 201  # the ticket is the owner's word; nobody knows whose it is


async def test_a_suspended_inbox_takes_no_ticket_and_a_draining_server_none(tmp_path: Path, clock: HandClock) -> None:
    async with serving(tmp_path / "own", clock=clock) as server:
        bob = Caller(server.session, server.url, new_key(), clock)
        await bob.claim({"accept": "contacts"})
        alice, operating = Contact(new_key(), bob), server.store.operating
        await give_tickets(bob, alice.key, new_key())
        inbox = KeyedHash(SECRET).inbox(bob.key.address)
        assert (await alice.deliver("before")).status == 201
        await operating.suspend(inbox)
        check_problem(await alice.deliver("before"), "not_accepted")
        check_problem(await alice.deliver("after", 1), "not_accepted")
        await operating.resume(inbox)
        await operating.drain(on=True)
        check_problem(await alice.deliver("after", 1), "draining")
        await operating.drain(on=False)
        assert (await alice.deliver("after", 1)).status == 201


async def test_a_weeks_tickets_are_taken_a_minute_before_and_after_it(
    bob: Caller, alice: Contact, clock: HandClock
) -> None:
    week = sheet_at(bob, weeks=1)
    await give_tickets(bob, alice.key, sheet=week)
    begins, ends = week.week * WEEK_SECONDS, (week.week + 1) * WEEK_SECONDS
    outcomes = []
    for number, moment in enumerate((begins - 61, begins - 60, begins, ends - 1, ends + 59, ends + 60)):
        clock.now = UnixTime(moment)
        outcomes.append((await alice.deliver(f"text {number}", number, sheet=week, ttl=10)).status)
    assert outcomes == [403, 201, 201, 201, 201, 403]
    assert TICKET_SKEW_SECONDS == 60


async def test_a_life_counts_from_when_it_is_taken(bob: Caller, alice: Contact, clock: HandClock) -> None:
    assert (await alice.deliver(ttl=600)).json()["expires"] == clock() + 600
    clock.advance(100)
    assert (await alice.deliver(ttl=600)).json()["expires"] == clock() + 600
    await bob.claim({"retention": 3600})
    assert (await alice.deliver("another", 1)).json()["expires"] == clock() + 3600


@pytest.mark.parametrize(
    ("authorization", "member"),
    [
        ("InboxTicket", "Authorization"),
        ("InboxTicket ", "Authorization"),
        ("InboxTicket " + "A" * 42, "Authorization"),
        ("InboxTicket " + "A" * 44, "Authorization"),
        ("InboxTicket " + "A" * 42 + "B", "Authorization"),  # not canonical
        ("InboxTicket " + "A" * 43 + "=", "Authorization"),
        (f"InboxTicket {'A' * 43} {'A' * 43}", "Authorization"),
        ("InboxTickets " + "A" * 43, "Authorization"),
    ],
)
async def test_what_is_no_ticket_is_refused_in_words(bob: Caller, authorization: str, member: str) -> None:
    body = json.dumps({"message_id": "opaque", "to": bob.key.address}).encode()
    headers = {"Authorization": authorization}
    check_problem(await bob.send("POST", "/v1/messages", body, headers=headers), "bad_token", member)


async def test_the_scheme_may_be_in_any_case(bob: Caller, alice: Contact) -> None:
    body = json.dumps({"to": bob.key.address, "message_id": "opaque"}).encode()
    headers = {"Authorization": f"iNBOXtICKET  {encode(alice.ticket())}"}
    assert (await bob.send("POST", "/v1/messages", body, headers=headers)).status == 201


@pytest.mark.parametrize(
    ("bent", "member"),
    [
        ({"to": None}, "to"),
        ({"to": "bob.id"}, "to"),
        ({"to": AppKey(b"\x07" * 32).public}, "to"),
        ({"message_id": ""}, "message_id"),
        ({"message_id": 1}, "message_id"),
        ({"ttl": 9}, "ttl"),
        ({"ttl": "600"}, "ttl"),
        ({"sender": "alice.id"}, "body"),
    ],
)
async def test_a_body_of_another_form_is_refused_and_the_ticket_left(
    bob: Caller, alice: Contact, bent: Mapping[str, Any], member: str
) -> None:
    check_problem(
        await alice.deliver(**({"text": bent["message_id"]} if "message_id" in bent else bent)), "bad_request", member
    )
    assert (await alice.deliver("good")).status == 201
    assert await bob.texts() == ["good"]


async def test_a_body_without_a_recipient_is_refused(bob: Caller, alice: Contact) -> None:
    headers = {"Authorization": f"InboxTicket {encode(alice.ticket())}"}
    answer = await bob.send("POST", "/v1/messages", b'{"message_id":"opaque"}', headers=headers)
    check_problem(answer, "bad_request", "to")


async def test_a_token_is_no_ticket_and_a_ticket_opens_nothing_else(bob: Caller, alice: Contact) -> None:
    headers = {"Authorization": f"InboxTicket {encode(alice.ticket())}"}
    for method, path in (("GET", "/v1/messages"), ("GET", "/v1/inbox"), ("PUT", "/v1/inbox"), ("GET", "/v1/events")):
        answer = await bob.send(method, path, b"{}" if method == "PUT" else None, headers=headers)
        check_problem(answer, "bad_token", "Authorization")
    check_problem(await at(bob).deliver(recipient=bob.key.address, to=bob.key.address), "bad_request", "body")


async def test_tickets_that_are_refused_do_not_use_up_the_inboxs_hour(world: World, tmp_path: Path) -> None:
    limits = {"inbox_per_hour": 3, "network_per_hour": 0}
    async with inbox_server(world, tmp_path / "limited", {"registration": OPEN, "limits": limits}) as bob:
        assert (await bob.claim({"accept": "anyone"})).status == 201
        alice = Contact(new_key(), bob)
        await give_tickets(bob, alice.key)
        for _ in range(10):
            check_problem(await Contact(new_key(), bob).deliver(), "not_accepted")
        assert [(await alice.deliver(f"text {number}", number)).status for number in range(2)] == [201, 201]
        assert (await at(bob).deliver("signed", recipient=bob.key.address)).status == 201
        check_problem(await alice.deliver("one too many", 2), "too_many")
        check_problem(await Contact(new_key(), bob).deliver(), "not_accepted")  # which does not tell that it is busy


async def test_the_rate_by_network_counts_every_ticket(world: World, tmp_path: Path) -> None:
    settings = {
        "registration": OPEN,
        "limits": {"network_per_hour": 3},
        "server": {"proxy_header": "X-Real-IP", "behind_proxy": True},
    }
    async with inbox_server(world, tmp_path / "limited", settings) as bob:
        body = json.dumps({"message_id": "opaque", "to": bob.key.address}).encode()

        async def knock(network: str) -> Answer:
            headers = {"Authorization": f"InboxTicket {encode(bytes(32))}", "X-Real-IP": network}
            return await bob.send("POST", "/v1/messages", body, headers=headers)

        for _ in range(3):
            check_problem(await knock("203.0.113.1"), "not_accepted")
        check_problem(await knock("203.0.113.1"), "too_many")
        check_problem(await knock("203.0.113.2"), "not_accepted")


async def test_what_does_not_fit_leaves_its_ticket_unused(world: World, tmp_path: Path) -> None:
    settings = {"registration": OPEN, "limits": {"inbox_bytes": 1024}}
    async with inbox_server(world, tmp_path / "small", settings) as bob:
        await bob.claim()
        alice = Contact(new_key(), bob)
        await give_tickets(bob, alice.key)
        assert (await alice.deliver("a" * 1000, 0)).status == 201
        check_problem(await alice.deliver("b" * 100, 1), "inbox_full")
        await bob.acknowledge(id_of("a" * 1000))
        assert (await alice.deliver("another", 1)).status == 201


async def test_a_reader_who_waits_hears_of_it(bob: Caller, alice: Contact) -> None:
    cursor = (await bob.unread()).json()["cursor"]
    waiting = asyncio.create_task(bob.unread(after=cursor, wait=20))
    assert (await alice.deliver("opaque")).status == 201
    assert [entry["message_id"] for entry in (await waiting).json()["messages"]] == ["opaque"]


async def test_they_are_counted_without_saying_whose(world: World, tmp_path: Path) -> None:
    async with inbox_app(world, tmp_path / "counted", {"registration": OPEN}) as (bob, app):
        await bob.claim()
        alice = Contact(new_key(), bob)
        await give_tickets(bob, alice.key)
        for number in (0, 0, 1):
            await alice.deliver(f"text {number}", number)
        check_problem(await Contact(new_key(), bob).deliver(), "not_accepted")
        lines = app[METRICS].text().decode().splitlines()
    for line in (
        'inbox_sealed_deliveries_total{outcome="new"} 2.0',
        'inbox_sealed_deliveries_total{outcome="repeated"} 1.0',
        'inbox_deliveries_total{outcome="new"} 2.0',
        'inbox_refusals_total{code="not_accepted"} 1.0',
    ):
        assert line in lines


async def test_a_delivery_with_a_ticket_asks_nobody_else(world: World, bob: Caller, alice: Contact) -> None:
    before = world.register.look_ups
    assert (await alice.deliver("opaque")).status == 201
    check_problem(await Contact(new_key(), bob).deliver(), "not_accepted")
    assert world.register.look_ups == before
