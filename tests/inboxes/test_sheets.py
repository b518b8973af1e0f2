"""Sheets of tickets over HTTP: what an owner may send, what becomes of the sheet before, and when one is gone."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from inbox_server.clock import UnixTime
from inbox_server.protocol.base64url import encode
from inbox_server.protocol.tickets import MAX_SHEET_BYTES
from inbox_server.store.contract import WEEK_SECONDS
from inbox_server.world.local_world import World
from tests.conftest import HandClock
from tests.support.requests import Caller, at, caller, check_problem, new_key
from tests.support.sealed import Contact, give_tickets, put_body, sheet_at, sheet_body


@pytest.fixture
async def bob(world: World) -> Caller:
    owner = caller(world)
    assert (await owner.claim()).status == 201
    return owner


def ids(count: int) -> list[bytes]:
    return [number.to_bytes(16, "big") for number in range(count)]


def joined(count: int) -> str:
    return encode(b"".join(ids(count)))


@pytest.mark.parametrize(
    ("bent", "member"),
    [
        ({"ids": joined(1023)}, "ids"),
        ({"ids": joined(1025)}, "ids"),
        ({"ids": joined(3072)}, "ids"),
        ({"ids": ""}, "ids"),
        ({"ids": encode(b"".join(ids(1024)) + b"x")}, "ids"),
        ({"ids": encode(b"".join(reversed(ids(1024))))}, "ids"),
        ({"ids": encode(b"".join([*ids(1023), ids(1023)[-1]]))}, "ids"),
        ({"ids": joined(1024) + "="}, "ids"),
        ({"ids": [encode(id) for id in ids(1024)]}, "ids"),
        ({"ids": None}, "ids"),
        ({"week": -1}, "week"),
        ({"week": "2976"}, "week"),
        ({"week": 2976.0}, "body"),
        ({"week": True}, "week"),
        ({"week": None}, "week"),
        ({"edition": 1}, "body"),
    ],
)
async def test_a_sheet_of_another_form_is_refused_in_words(bob: Caller, bent: dict[str, Any], member: str) -> None:
    body = json.loads(sheet_body(bob, [])) | bent
    check_problem(await put_body(bob, json.dumps(body).encode()), "bad_request", member)
    assert (await bob.settings()).json()["tickets"] == []


@pytest.mark.parametrize("member", ["week", "ids"])
async def test_what_is_missing_is_named(bob: Caller, member: str) -> None:
    body = {name: value for name, value in json.loads(sheet_body(bob, [])).items() if name != member}
    check_problem(await put_body(bob, json.dumps(body).encode()), "bad_request", member)


@pytest.mark.parametrize("count", [1024, 2048, 4096])
async def test_the_sizes_of_sheets_are_taken_and_fit_the_body(bob: Caller, count: int) -> None:
    body = json.dumps({"week": sheet_at(bob).week, "ids": joined(count)}).encode()
    assert len(body) < MAX_SHEET_BYTES
    assert (await put_body(bob, body)).status == 204


async def test_a_body_beyond_the_largest_sheet_is_too_large(bob: Caller) -> None:
    check_problem(await put_body(bob, b" " * (MAX_SHEET_BYTES + 1)), "too_large")
    check_problem(await put_body(bob, b" " * MAX_SHEET_BYTES), "bad_request", "body")


async def test_this_week_and_the_next_four_may_have_a_sheet(bob: Caller) -> None:
    answers = [await put_body(bob, sheet_body(bob, [], sheet_at(bob, weeks=weeks))) for weeks in range(-1, 6)]
    assert [answer.status for answer in answers] == [400, 204, 204, 204, 204, 204, 400]
    detail = check_problem(answers[-1], "bad_request", "week")["detail"]
    this = sheet_at(bob).week
    assert f"from {this} to {this + 4}" in detail
    assert (await bob.settings()).json()["tickets"] == list(range(this, this + 5))


async def test_near_the_turn_of_a_week_both_weeks_count_as_this_one(bob: Caller, clock: HandClock) -> None:
    next_week = sheet_at(bob, weeks=1).week
    clock.now = UnixTime(next_week * WEEK_SECONDS - 30)
    this_week = next_week - 1
    for week, status in ((this_week - 1, 400), (this_week, 204), (next_week + 4, 204), (next_week + 5, 400)):
        body = json.dumps({"week": week, "ids": joined(1024)}).encode()
        assert (await put_body(bob, body)).status == status


async def test_a_sheet_takes_the_place_of_the_one_before_and_what_was_used_stays_used(bob: Caller) -> None:
    alice, carol = Contact(new_key(), bob), Contact(new_key(), bob)
    await give_tickets(bob, alice.key)
    assert (await alice.deliver("one", 0)).status == 201
    new = sheet_at(bob, edition=2)
    await give_tickets(bob, alice.key, carol.key, sheet=new)
    assert (await alice.deliver("one", 0)).status == 200  # a repeat gets its answer
    check_problem(await alice.deliver("another", 0), "ticket_spent")
    check_problem(await alice.deliver("another", 1), "not_accepted")
    assert (await alice.deliver("another", 0, sheet=new)).status == 201
    assert (await carol.deliver("third", 0, sheet=new)).status == 201
    await give_tickets(bob, alice.key)
    check_problem(await alice.deliver("fourth", 0), "ticket_spent")
    assert (await alice.deliver("fourth", 1)).status == 201


async def test_the_same_sheet_again_changes_nothing(bob: Caller) -> None:
    alice = Contact(new_key(), bob)
    for number in range(3):
        await give_tickets(bob, alice.key)
        assert (await alice.deliver("one", 0)).status == (200 if number else 201)
    check_problem(await alice.deliver("another", 0), "ticket_spent")
    assert (await alice.deliver("another", 1)).status == 201


async def test_a_sheet_of_dummies_takes_all_tickets_back(bob: Caller) -> None:
    alice = Contact(new_key(), bob)
    await give_tickets(bob, alice.key)
    await give_tickets(bob)
    check_problem(await alice.deliver(), "not_accepted")


async def test_the_rules_of_settings_tokens_hold(bob: Caller) -> None:
    body = sheet_body(bob, [new_key()])
    for bend, member in (
        ({"scope": "read"}, "scope"),
        ({"scope": "ack"}, "scope"),
        ({"app": "https://o.example"}, "app"),
    ):
        check_problem(await put_body(bob, body, bend), "bad_token", member)
    check_problem(await put_body(at(bob), body), "no_inbox")
    assert (await put_body(bob, body)).status == 204
    earlier = {"iat": bob.clock() - 1, "exp": bob.clock() + 100}
    assert (await put_body(bob, body, earlier)).status == 204  # the last request again
    check_problem(await put_body(bob, sheet_body(bob, [new_key()]), earlier), "stale_token")
    await bob.claim({"retention": 7200})
    check_problem(await put_body(bob, body, earlier), "stale_token")


async def leave(bob: Caller) -> None:
    assert (await bob.give_up()).status == 204
    assert (await bob.claim()).status == 201


async def wait_a_week(bob: Caller) -> None:
    bob.clock.advance(WEEK_SECONDS)  # type: ignore[attr-defined]


@pytest.mark.parametrize("act", [leave, wait_a_week])
async def test_a_new_claim_and_a_new_week_begin_without_that_sheet(bob: Caller, act: Callable[[Caller], Any]) -> None:
    alice, sheet = Contact(new_key(), bob), sheet_at(bob)
    await give_tickets(bob, alice.key)
    assert (await alice.deliver("one", 0)).status == 201
    await act(bob)
    for text, number in (("one", 0), ("another", 1)):
        check_problem(await alice.deliver(text, number, sheet=sheet), "not_accepted")
