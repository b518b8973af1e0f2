"""Moving an inbox with the JavaScript client: cut off at every request, every answer and every write, and repeated."""

from typing import Any

import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.world.local_world import World
from tests.conftest import APP
from tests.support.amounts import amounts
from tests.support.javascript import Node
from tests.support.pages import page_of
from tests.support.requests import Caller

# npm ci has its own limit, and comes in only once.
pytestmark = pytest.mark.timeout(120, func_only=True)

WHERE = {"request": 15, "answer": 15, "before writing": 8, "after writing": 8}
"""Where a move is cut off, and at how many places at least."""
MOST_PLACES = 50


async def options_of(node: Node, world: World, name: str) -> dict[str, Any]:
    person = await world.settle(name, APP)
    return dict(page_of(node, world, person.app_key, name).options)


@pytest.fixture
async def given(node: Node, world: World, second_inbox: str) -> dict[str, Any]:
    alice = await options_of(node, world, "alice.id")
    return {"alice": alice, "from": world.inbox_url, "to": second_inbox, "now": world.clock()}


@pytest.mark.parametrize("where", WHERE)
@amounts(5, 1)
async def test_a_move_cut_off_anywhere_and_repeated_loses_nothing(
    node: Node, world: World, given: dict[str, Any], where: str, amount: int
) -> None:
    """At every fifth place, and in `make long` at every one."""
    people = [await options_of(node, world, f"bob{number}.id") for number in range(MOST_PLACES // amount)]
    given |= {"where": where, "first": 1 + list(WHERE).index(where) % amount, "every": amount, "people": people}
    told = await node.run("inbox_move_cut.mjs", given)
    assert told["places"] > WHERE[where]
    for key in told["left"]:
        owner = Caller(world.session, world.inbox_url, AppKey.from_hex(key), world.clock, APP)
        assert (await owner.settings()).status == 404


@pytest.mark.parametrize(
    "scenario",
    [
        "watched",
        "acknowledged_in_the_middle",
        "read_while_the_old_server_was_down",
        "moved_by_another_device",
        "two_at_once",
        "left_off",
        "to_what_is_none",
        "whose_lists_are_not_known",
        "that_waits_for_a_rate",
        "given_up_in_the_middle",
    ],
)
async def test_a_move_loses_nothing_when_it_meets_something(
    node: Node, world: World, given: dict[str, Any], scenario: str
) -> None:
    bob = await options_of(node, world, "bob.id")
    await node.run("inbox_move.mjs", {**given, "bob": bob, "scenario": scenario})


async def test_a_late_repeat_of_what_was_read_at_the_old_server_stays_read_at_the_new(
    node: Node, world: World, given: dict[str, Any]
) -> None:
    bob = await options_of(node, world, "bob.id")
    read = await node.run("inbox_move.mjs", {**given, "bob": bob, "scenario": "repeated_late"})
    alice, owner = (AppKey.from_hex(options["privateKey"]) for options in (given["alice"], bob))
    sender = Caller(world.session, given["to"], alice, world.clock, APP)
    again = await sender.deliver(read["messageId"], sender="alice.id", recipient="bob.id")
    assert again.status in (200, 201)
    unread = await Caller(world.session, given["to"], owner, world.clock, APP).unread()
    assert read["messageId"] not in [entry["message_id"] for entry in unread.json()["messages"]]
    assert len(unread.json()["messages"]) == 1
