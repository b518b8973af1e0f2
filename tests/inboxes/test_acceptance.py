"""Who may deliver: the owner's policy over HTTP, and one answer to everybody who may not."""

from typing import Any

import pytest

from inbox_server.client.user import AppUser
from inbox_server.world.local_world import World
from tests.support.requests import Caller, at, caller, check_problem, new_key
from tests.support.stores import read_rows, row_counts


@pytest.fixture
async def owner(world: World) -> Caller:
    """Somebody without a name whose inbox has no rules yet."""
    owner = caller(world)
    await owner.claim()
    return owner


@pytest.fixture
def named(world: World, alice: AppUser) -> Caller:
    """alice.id, who signs with her app key."""
    return caller(world, alice)


async def _taken(sender: Caller, owner: Caller, name: str | None = None, text: str = "opaque") -> bool:
    """Whether the delivery is taken; by `name`, or by the key alone."""
    answer = await sender.deliver(text, sender=name, recipient=owner.key.address)
    if answer.status == 201:
        assert (await owner.texts())[-1] == text
        return True
    check_problem(answer, "not_accepted")
    assert text not in await owner.texts()
    return False


@pytest.mark.parametrize(
    ("accept", "by_name", "by_key", "by_contact"),
    [
        (None, True, False, False),
        ("names", True, False, False),
        ("anyone", True, True, True),
        ("contacts", False, False, True),
        ("nobody", False, False, False),
    ],
)
async def test_the_policy_says_who_may_deliver(
    owner: Caller, named: Caller, accept: str | None, by_name: bool, by_key: bool, by_contact: bool
) -> None:
    contact = at(owner)
    settings: dict[str, Any] = {"contacts": [contact.key.address]} | ({"accept": accept} if accept else {})
    await owner.claim(settings)
    assert await _taken(named, owner, "alice.id", "by name") is by_name
    assert await _taken(at(owner), owner, None, "by key") is by_key
    assert await _taken(contact, owner, None, "by contact") is by_contact
    assert await _taken(owner, owner, None, "by the owner")


async def test_a_contact_who_goes_by_a_name_is_a_contact(owner: Caller, named: Caller) -> None:
    await owner.claim({"accept": "contacts", "contacts": [named.key.address]})
    assert await _taken(named, owner, "alice.id")


async def test_who_is_blocked_delivers_neither_by_name_nor_by_key(owner: Caller, named: Caller) -> None:
    await owner.claim({"accept": "anyone", "contacts": [named.key.address], "blocked": [named.key.address]})
    assert not await _taken(named, owner, "alice.id")
    assert not await _taken(named, owner)
    await owner.claim({"blocked": []})
    assert await _taken(named, owner)


async def test_the_owner_delivers_even_when_blocked_by_mistake(owner: Caller) -> None:
    await owner.claim({"accept": "nobody", "blocked": [owner.key.address]})
    assert await _taken(owner, owner)


async def _refusals(world: World, owner: Caller, named: Caller) -> dict[str, Any]:
    """What each who may not deliver is told."""
    blocked = at(owner)
    await owner.claim({"accept": "contacts", "blocked": [blocked.key.address]})
    address = owner.key.address
    return {
        "no inbox": await named.deliver(sender="alice.id", recipient=new_key().address),
        "no inbox, by key": await named.deliver(recipient=new_key().public),
        "a name that nobody proved": await named.deliver(sender="alice.id", recipient="nobody.id"),
        "another app": await named.deliver(sender="alice.id", recipient=address, bend={"app": "https://x.example"}),
        "blocked": await blocked.deliver(recipient=address),
        "not a contact": await named.deliver(sender="alice.id", recipient=address),
        "not a contact, by key": await named.deliver(recipient=address),
        "a name that may not exist": await named.deliver(sender="who.knows.id", recipient=address),
    }


async def test_all_who_may_not_deliver_get_one_answer_without_a_look_up(
    world: World, owner: Caller, named: Caller
) -> None:
    counts, look_ups = row_counts(world.data_dir), world.register.look_ups
    refusals = await _refusals(world, owner, named)
    check_problem(refusals["no inbox"], "not_accepted")
    assert {name for name, answer in refusals.items() if answer.seen() != refusals["no inbox"].seen()} == set()
    assert world.register.look_ups == look_ups
    assert row_counts(world.data_dir) == counts | {"listed": 1}


async def test_a_refused_delivery_changes_no_setting_and_no_count(world: World, owner: Caller, named: Caller) -> None:
    await _refusals(world, owner, named)
    before = read_rows(world.data_dir, "SELECT * FROM inbox")
    for _ in range(3):
        assert not await _taken(named, owner, "alice.id")
    assert read_rows(world.data_dir, "SELECT * FROM inbox") == before


async def test_an_inbox_that_was_given_up_answers_as_one_that_never_was(owner: Caller) -> None:
    await owner.claim({"accept": "anyone"})
    sender = at(owner)
    assert await _taken(sender, owner)
    assert (await owner.give_up()).status == 204
    gone = await sender.deliver(recipient=owner.key.address)
    never = await sender.deliver(recipient=new_key().address)
    check_problem(gone, "not_accepted")
    assert gone.seen() == never.seen()
