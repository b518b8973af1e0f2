"""A delivery over HTTP: what a sender is told, and what the recipient finds."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from inbox_server.client.user import AppUser
from inbox_server.clock import DAY_SECONDS, UnixTime, end_of_day
from inbox_server.world.local_world import World
from tests.conftest import HandClock
from tests.support.requests import Caller, at, caller, check_common_headers, check_problem, id_of, inbox_server
from tests.support.stores import row_counts


@pytest.fixture
def sender(world: World, alice: AppUser) -> Caller:
    return caller(world, alice)


@pytest.fixture
def reader(world: World, bob: AppUser) -> Caller:
    return caller(world, bob)


@pytest.fixture
async def anyone(world: World) -> Caller:
    """The owner of an inbox that takes deliveries of any key."""
    owner = caller(world)
    assert (await owner.claim({"accept": "anyone"})).status == 201
    return owner


async def test_a_first_delivery_is_created_and_a_repeat_is_ok(sender: Caller, reader: Caller) -> None:
    first = await sender.deliver("opaque", sender="alice.id", recipient="bob.id")
    assert first.status == 201
    assert first.headers["Content-Type"] == "application/json"
    check_common_headers(first)
    expires = end_of_day(UnixTime(sender.clock() + 30 * DAY_SECONDS))
    assert first.json() == {"id": id_of("opaque"), "expires": expires}
    again = await sender.deliver("opaque", sender="alice.id", recipient="bob.id")
    assert (again.status, again.json()) == (200, first.json())
    entry = {"id": id_of("opaque"), "message_id": "opaque", "expires": expires}
    assert (await reader.unread()).json()["messages"] == [entry]


async def test_a_repeat_is_ok_also_after_it_was_read(sender: Caller, reader: Caller) -> None:
    unread = [await sender.deliver("one", sender="alice.id", recipient="bob.id") for _ in range(2)]
    read = [await sender.deliver("two", sender="alice.id", recipient="bob.id")]
    await reader.acknowledge(id_of("two"))
    read.append(await sender.deliver("two", sender="alice.id", recipient="bob.id"))
    assert [answer.status for answer in read] == [answer.status for answer in unread] == [201, 200]
    assert read[0].json() == read[1].json()
    assert unread[1].headers.keys() == read[1].headers.keys()
    assert await reader.texts() == ["one"]


async def test_the_same_request_again_is_the_same_delivery(world: World, sender: Caller, reader: Caller) -> None:
    body = b'{"message_id":"opaque"}'
    token = sender.deliver_token(body, "alice.id", "bob.id")
    answers = await asyncio.gather(*(sender.send("POST", "/v1/messages", body, token=token) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [200] * 19 + [201]
    assert len({answer.body for answer in answers}) == 1
    assert row_counts(world.data_dir)["message"] == 1


async def test_the_same_entry_by_two_senders_is_one_entry(world: World, anyone: Caller) -> None:
    first, second = caller(world), caller(world)
    assert (await first.deliver("opaque", recipient=anyone.key.address)).status == 201
    assert (await second.deliver("opaque", recipient=anyone.key.address)).status == 200


@pytest.mark.parametrize("message_id", ["x", " ", "~" * 1024, '{"v":1,"iv":"00"}', "\\\"'<script>"])
async def test_any_printable_text_is_kept_as_it_is(world: World, anyone: Caller, message_id: str) -> None:
    answer = await at(anyone).deliver(message_id, recipient=anyone.key.address)
    assert answer.json()["id"] == id_of(message_id)
    assert await anyone.texts() == [message_id]


async def test_an_escaped_text_is_the_text_it_means(anyone: Caller) -> None:
    sender = at(anyone)
    body = ('{"message_id":"' + "\\u0061" * 600 + '"}').encode()
    token = sender.deliver_token(body, sender.key.public, anyone.key.address)
    answer = await sender.send("POST", "/v1/messages", body, token=token)
    assert answer.json()["id"] == id_of("a" * 600)


@pytest.mark.parametrize(
    ("ttl", "life"),
    [(10, 10), (3600, 3600), (DAY_SECONDS - 1, DAY_SECONDS - 1), (10**12, None), (DAY_SECONDS, DAY_SECONDS)],
)
async def test_a_time_to_live_shortens_the_life(anyone: Caller, ttl: int, life: int | None) -> None:
    answer = await at(anyone).deliver("opaque", recipient=anyone.key.address, ttl=ttl)
    expires = UnixTime(anyone.clock() + (life or 30 * DAY_SECONDS))
    assert answer.json()["expires"] == (expires if ttl < DAY_SECONDS else end_of_day(expires))


async def test_a_life_is_reckoned_from_the_time_of_signing(anyone: Caller) -> None:
    now = anyone.clock()
    bend = {"iat": now - 100, "exp": now + 100}
    answer = await at(anyone).deliver("opaque", recipient=anyone.key.address, ttl=160, bend=bend)
    assert answer.json()["expires"] == now + 60
    check_problem(await at(anyone).deliver("late", recipient=anyone.key.address, ttl=100, bend=bend), "ttl_passed")
    assert await anyone.texts() == ["opaque"]


async def test_the_owners_retention_shortens_the_life(anyone: Caller) -> None:
    await anyone.claim({"retention": 7200})
    answer = await at(anyone).deliver("opaque", recipient=anyone.key.address, ttl=DAY_SECONDS)
    assert answer.json()["expires"] == anyone.clock() + 7200


async def test_an_entry_is_not_listed_after_it_expired(anyone: Caller, clock: HandClock) -> None:
    await at(anyone).deliver("opaque", recipient=anyone.key.address, ttl=10)
    clock.advance(9)
    assert await anyone.texts() == ["opaque"]
    clock.advance(1)
    assert await anyone.texts() == []


async def test_a_repeat_may_lengthen_the_life(anyone: Caller) -> None:
    sender = at(anyone)
    for ttl, expected in ((60, 60), (600, 600), (60, 600)):
        answer = await sender.deliver("opaque", recipient=anyone.key.address, ttl=ttl)
        assert answer.json()["expires"] == anyone.clock() + expected


@pytest.mark.parametrize("recipient", ["name", "key", "address"])
async def test_a_recipient_is_a_name_a_key_or_an_address(sender: Caller, reader: Caller, recipient: str) -> None:
    forms = {"name": "bob.id", "key": reader.key.public, "address": reader.key.address}
    assert (await sender.deliver("opaque", sender="alice.id", recipient=forms[recipient])).status == 201
    assert await reader.texts() == ["opaque"]


async def test_the_largest_body_that_is_allowed_is_taken(anyone: Caller) -> None:
    sender = at(anyone)
    body = json.dumps({"message_id": "x" * 1024}).encode().ljust(4096)
    token = sender.deliver_token(body, sender.key.public, anyone.key.address)
    assert (await sender.send("POST", "/v1/messages", body, token=token)).status == 201


async def test_a_lower_case_scheme_and_any_content_type_are_taken(anyone: Caller) -> None:
    sender = at(anyone)
    body = b'{"message_id":"opaque"}'
    token = sender.deliver_token(body, sender.key.public, anyone.key.address)
    headers = {"Authorization": f"bearer {token}", "Content-Type": "text/plain"}
    assert (await sender.send("POST", "/v1/messages", body, headers=headers)).status == 201


async def test_a_token_at_the_edges_of_its_time_is_taken(anyone: Caller) -> None:
    now = anyone.clock()
    for number, (issued, expires) in enumerate([(now + 60, now + 360), (now - 359, now - 59)]):
        bend = {"iat": issued, "exp": expires}
        answer = await at(anyone).deliver(f"{number}", recipient=anyone.key.address, bend=bend)
        assert answer.status == 201


async def test_what_is_delivered_to_one_app_is_not_in_another(world: World, anyone: Caller) -> None:
    elsewhere = caller(world, anyone.key, "https://other.example")
    check_problem(await elsewhere.claim(), "bad_token", "app")
    answer = await caller(world, app="https://other.example").deliver("opaque", recipient=anyone.key.address)
    check_problem(answer, "not_accepted")
    assert await anyone.texts() == []


async def test_a_full_inbox_tells_sender_and_owner(world: World, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "registration": {"mode": "open", "open_to_keys": True},
        "limits": {"inbox_entries": 2},
    }
    async with inbox_server(world, tmp_path / "small", settings) as owner:
        await owner.claim({"accept": "anyone"})
        sender = at(owner)
        for text in ("one", "two"):
            assert (await sender.deliver(text, recipient=owner.key.address)).status == 201
        check_problem(await sender.deliver("three", recipient=owner.key.address), "inbox_full")
        assert (await owner.settings()).json()["notices"] == ["inbox_full"]
        full = (await owner.unread()).json()
        assert full["notices"] == ["inbox_full"]
        assert (await owner.unread(after=full["cursor"])).json()["notices"] == ["inbox_full"]
        assert await owner.texts() == ["one", "two"]
        await owner.acknowledge(id_of("one"))
        assert (await owner.settings()).json()["notices"] == []
        assert "notices" not in (await owner.unread()).json()
        assert (await sender.deliver("three", recipient=owner.key.address)).status == 201
