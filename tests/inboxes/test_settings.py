"""An owner's inbox over HTTP: claiming it, its settings, and giving it up."""

import json
from pathlib import Path
from typing import Any

import pytest

from inbox_server.client.user import AppUser
from inbox_server.clock import DAY_SECONDS
from inbox_server.world.local_world import World
from tests.conftest import APP, HandClock
from tests.support.requests import Answer, Caller, caller, check_common_headers, check_problem, id_of, new_key
from tests.support.stores import row_counts

DEFAULTS = {
    "retention": 30 * DAY_SECONDS,
    "accept": "names",
    "contacts": 0,
    "blocked": 0,
    "names": 0,
    "unread": 0,
    "read": 0,
    "quota": {"entries": 10_000, "bytes": 8 << 20, "bytes_used": 0, "read_entries": 50_000},
    "push": 0,
    "webhook": 0,
    "tickets": [],
    "notices": [],
}


@pytest.fixture
async def owner(world: World) -> Caller:
    """The owner of an inbox as it is when nothing was asked for."""
    owner = caller(world)
    assert (await owner.claim()).status == 201
    return owner


async def _seen(owner: Caller) -> dict[str, Any]:
    answer = await owner.settings()
    assert answer.status == 200
    document: dict[str, Any] = answer.json()
    return document


async def test_a_claim_is_created_and_answers_the_settings(world: World) -> None:
    owner = caller(world)
    answer = await owner.claim()
    assert (answer.status, answer.json()) == (201, DEFAULTS)
    check_common_headers(answer)
    again = await owner.claim()
    assert (again.status, again.json()) == (200, DEFAULTS)
    assert await _seen(owner) == DEFAULTS
    assert row_counts(world.data_dir)["inbox"] == 1


async def test_an_empty_body_asks_for_nothing(world: World) -> None:
    owner = caller(world)
    answer = await owner.send("PUT", "/v1/inbox", b"", token=owner.owner_token("settings"))
    assert (answer.status, answer.json()) == (201, DEFAULTS)


async def test_every_setting_can_be_asked_for(world: World, bob: AppUser) -> None:
    settings = {
        "retention": DAY_SECONDS,
        "accept": "contacts",
        "contacts": [new_key().address, new_key().address],
        "blocked": [new_key().address],
        "names": ["bob.id"],
    }
    answer = await caller(world, bob).claim(settings)
    expected = {"retention": DAY_SECONDS, "accept": "contacts", "contacts": 2, "blocked": 1, "names": 1}
    assert (answer.status, answer.json()) == (200, DEFAULTS | expected)


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({}, {}),
        ({"retention": 3600}, {"retention": 3600}),
        ({"accept": "nobody"}, {"accept": "nobody"}),
        ({"contacts": []}, {"contacts": 0}),
        ({"blocked": [new_key().address]}, {"blocked": 1}),
        ({"names": []}, {"names": 0}),
    ],
)
async def test_what_is_not_asked_for_stays(
    world: World, bob: AppUser, change: dict[str, Any], shown: dict[str, Any]
) -> None:
    owner = caller(world, bob)
    await owner.claim({"retention": 7200, "accept": "anyone", "contacts": [new_key().address], "names": ["bob.id"]})
    before = await _seen(owner)
    await owner.claim(change)
    assert await _seen(owner) == before | shown


async def test_the_settings_show_what_waits(owner: Caller) -> None:
    for text in ("first", "second"):
        await owner.deliver(text, recipient=owner.key.address)
    seen = await _seen(owner)
    assert (seen["unread"], seen["quota"]["bytes_used"]) == (2, len("firstsecond"))
    await owner.acknowledge(id_of("first"))
    seen = await _seen(owner)
    assert (seen["unread"], seen["quota"]["bytes_used"]) == (1, len("second"))


@pytest.mark.parametrize(
    ("body", "member"),
    [
        (b"[]", "body"),
        (b'{"unknown":1}', "body"),
        (b'{"accept":"anyone","accept":"nobody"}', "body"),
        (b'{"retention":3600.0}', "body"),
        (b'{"retention":3599}', "retention"),
        (b'{"retention":7776001}', "retention"),
        (b'{"accept":"friends"}', "accept"),
        (b'{"accept":["anyone"]}', "accept"),
        (b'{"contacts":["alice.id"]}', "contacts"),
        (b'{"contacts":null}', "contacts"),
        (b'{"blocked":"1HEznKZ7mK5fmibweM7eAk8SwRgJ1bWY92"}', "blocked"),
        (json.dumps({"blocked": [new_key().address] * 1001}).encode(), "blocked"),
        (b'{"names":["Bob.id"]}', "names"),
        (b'{"names":["a.id","b.id","c.id","d.id","e.id","f.id"]}', "names"),
        (b'{"invite":""}', "invite"),
        (b'{"invite":7}', "invite"),
    ],
)
async def test_a_setting_that_breaks_a_rule_is_named(owner: Caller, body: bytes, member: str) -> None:
    answer = await owner.send("PUT", "/v1/inbox", body, token=owner.owner_token("settings", body))
    check_problem(answer, "bad_request", member)
    assert await _seen(owner) == DEFAULTS


async def test_settings_take_no_query(owner: Caller) -> None:
    for method, token in (
        ("PUT", owner.owner_token("settings")),
        ("GET", owner.owner_token("read")),
        ("DELETE", owner.owner_token("settings")),
    ):
        check_problem(await owner.send(method, "/v1/inbox?name=bob.id", token=token), "bad_request", "query")


async def test_a_name_that_leads_to_another_key_is_not_proved(world: World, bob: AppUser) -> None:
    mallory = caller(world)
    check_problem(await mallory.claim({"names": ["bob.id"]}), "name_unproven")
    assert row_counts(world.data_dir)["inbox"] == 1  # Bob's; without the name there is no claim either
    check_problem(await mallory.claim({"names": ["nobody.id"]}), "name_unproven")
    assert (await _seen(caller(world, bob)))["names"] == 1


async def test_one_unproven_name_spoils_the_whole_request(world: World, bob: AppUser) -> None:
    owner = caller(world, bob)
    before = await _seen(owner)
    check_problem(await owner.claim({"accept": "nobody", "names": ["bob.id", "nobody.id"]}), "name_unproven")
    assert await _seen(owner) == before


async def test_a_name_is_proved_for_the_app_of_the_token(world: World, bob: AppUser) -> None:
    owner = caller(world, app="https://other.example")
    check_problem(await owner.claim({"names": ["bob.id"]}), "name_unproven")


async def test_a_name_proved_by_a_new_key_is_looked_up_again(world: World, bob: AppUser, clock: HandClock) -> None:
    renewed = caller(world, (await world.settle("bob.id", APP)).app_key)
    clock.advance(60)
    assert (await renewed.claim({"names": ["bob.id"]})).status == 201


async def test_an_inbox_that_nobody_claimed_has_no_settings(world: World) -> None:
    check_problem(await caller(world).settings(), "no_inbox")


async def test_an_older_settings_token_does_not_undo_a_later_one(owner: Caller, clock: HandClock) -> None:
    body = b'{"accept":"anyone"}'
    older = owner.owner_token("settings", body)
    clock.advance(1)
    await owner.claim({"accept": "nobody"})
    check_problem(await owner.send("PUT", "/v1/inbox", body, token=older), "stale_token")
    assert (await _seen(owner))["accept"] == "nobody"


async def test_the_same_settings_request_again_is_a_retry(owner: Caller, clock: HandClock) -> None:
    body = b'{"accept":"anyone"}'
    token = owner.owner_token("settings", body)
    answers: list[Answer] = []
    for _ in range(3):
        answers.append(await owner.send("PUT", "/v1/inbox", body, token=token))
        clock.advance(10)
    assert [answer.status for answer in answers] == [200] * 3
    assert len({answer.body for answer in answers}) == 1


async def test_giving_up_removes_everything(world: World, bob: AppUser) -> None:
    owner = caller(world, bob)
    await owner.claim({"contacts": [new_key().address], "blocked": [new_key().address]})
    await owner.deliver("opaque", recipient=owner.key.address)
    answer = await owner.give_up()
    assert (answer.status, answer.body) == (204, b"")
    check_common_headers(answer)
    kept = {"secret_check": 1, "seen": 1, "text": 66, "free_slot": 66, "recent_use": 32}  # every slot and page is free
    assert row_counts(world.data_dir) == dict.fromkeys(row_counts(world.data_dir), 0) | kept
    check_problem(await owner.settings(), "no_inbox")
    check_problem(await owner.unread(), "no_inbox")


async def test_giving_up_twice_is_no_error(owner: Caller) -> None:
    assert [(await owner.give_up()).status for _ in range(2)] == [204, 204]


async def test_giving_up_takes_no_body(owner: Caller) -> None:
    token = owner.owner_token("settings", b"{}")
    check_problem(await owner.send("DELETE", "/v1/inbox", b"{}", token=token), "bad_request", "body")
    assert await _seen(owner) == DEFAULTS


async def test_a_claim_from_before_the_giving_up_does_not_bring_the_inbox_back(owner: Caller, clock: HandClock) -> None:
    body = b"{}"
    older = owner.owner_token("settings", body)
    clock.advance(10)
    await owner.give_up()
    check_problem(await owner.send("PUT", "/v1/inbox", body, token=older), "stale_token")
    check_problem(await owner.settings(), "no_inbox")
    assert (await owner.claim()).status == 201


async def test_a_clock_that_was_ahead_at_a_giving_up_locks_nobody_out(owner: Caller, clock: HandClock) -> None:
    clock.advance(60 * 86_400)
    assert (await owner.give_up()).status == 204
    clock.advance(-60 * 86_400)
    assert (await owner.claim()).status == 201


async def test_an_older_giving_up_does_not_let_an_older_claim_in(owner: Caller, clock: HandClock) -> None:
    first = owner.owner_token("settings")
    clock.advance(10)
    claim = owner.owner_token("settings", b"{}")
    clock.advance(10)
    await owner.give_up()
    await owner.send("DELETE", "/v1/inbox", token=first)
    check_problem(await owner.send("PUT", "/v1/inbox", b"{}", token=claim), "stale_token")


async def test_an_older_giving_up_does_not_remove_a_later_claim(owner: Caller, clock: HandClock) -> None:
    older = owner.owner_token("settings")
    clock.advance(10)
    await owner.give_up()
    clock.advance(1)
    await owner.claim()
    check_problem(await owner.send("DELETE", "/v1/inbox", token=older), "stale_token")
    assert await _seen(owner) == DEFAULTS


async def test_no_answer_of_the_server_shows_a_list_or_a_name(world: World, bob: AppUser) -> None:
    owner, address = caller(world, bob), new_key().address
    await owner.claim({"contacts": [address], "blocked": [address], "names": ["bob.id"]})
    shown = json.dumps(await _seen(owner))
    assert not [each for each in ("bob.id", address, owner.key.address, owner.key.public) if each in shown]


async def test_the_database_has_no_name_address_key_or_app(world: World, bob: AppUser) -> None:
    owner, address = caller(world, bob), new_key().address
    await owner.claim({"contacts": [address], "blocked": [address]})
    await owner.deliver("opaque", recipient="bob.id")
    content = b"".join(_contents(world.data_dir))
    assert b"opaque" in content
    marks = ("bob.id", APP, address, owner.key.address, owner.key.public)
    assert not [mark for mark in marks if mark.encode() in content]
    assert bytes.fromhex(owner.key.public) not in content


def _contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
