"""Deliveries while names, buckets and hubs are not as they were a moment ago: for now is not for ever."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from inbox_server.client.tokens_and_cards import Pointer
from inbox_server.client.user import AppUser
from inbox_server.resolver.cache import FAILURE_SECONDS, FRESH_SECONDS, LAPSE_SECONDS
from inbox_server.world.faults import Faults
from inbox_server.world.local_world import World
from inbox_server.world.people import Person
from tests.conftest import APP, HandClock
from tests.support.requests import Answer, at, caller, check_problem

pytestmark = pytest.mark.both_hubs
PROFILE = "profile.json"
LATER = FRESH_SECONDS  # what was remembered is looked up again


@dataclass(frozen=True, slots=True)
class Sender:
    """Alice, who writes to Bob's inbox by her name."""

    world: World
    person: Person
    bob: AppUser

    async def deliver(self, text: str) -> Answer:
        bob = caller(self.world, self.bob)
        return await at(bob, self.person.app_key).deliver(text, sender="alice.id", recipient=bob.key.public)


@pytest.fixture
async def alice(world: World, bob: AppUser) -> Sender:
    await caller(world, bob).claim({"accept": "anyone"})
    return Sender(world, await world.settle("alice.id", APP), bob)


def names_absent(faults: Faults, until: int) -> None:
    faults.names_absent_until = until


def names_empty(faults: Faults, until: int) -> None:
    faults.names_empty_until = until


def files_absent(faults: Faults, until: int) -> None:
    faults.files_absent_until = until


LAPSES = pytest.mark.parametrize("lapse", [names_absent, names_empty, files_absent])
Lapse = Callable[[Faults, int], None]


@LAPSES
async def test_a_sender_who_was_known_waits_until_the_lapse_is_over(
    alice: Sender, world: World, clock: HandClock, lapse: Lapse
) -> None:
    assert (await alice.deliver("first")).status == 201
    clock.advance(86_400)
    lapse(world.faults, clock.now + 3600)
    answer = await alice.deliver("second")
    check_problem(answer, "names_unavailable")
    clock.advance(int(answer.headers["Retry-After"]))
    check_problem(await alice.deliver("second"), "names_unavailable")
    clock.advance(3600)
    assert (await alice.deliver("second")).status == 201
    assert await caller(world, alice.bob).texts() == ["first", "second"]


@LAPSES
async def test_what_lasts_longer_than_a_lapse_is_final(
    alice: Sender, world: World, clock: HandClock, lapse: Lapse
) -> None:
    await alice.deliver("first")
    clock.advance(LATER)
    lapse(world.faults, clock.now + 2 * LAPSE_SECONDS)
    check_problem(await alice.deliver("second"), "names_unavailable")
    clock.advance(LAPSE_SECONDS - 1)
    check_problem(await alice.deliver("second"), "names_unavailable")
    clock.advance(FAILURE_SECONDS)
    check_problem(await alice.deliver("second"), "name_unproven")


@LAPSES
async def test_a_sender_who_was_never_known_is_told_at_once(
    alice: Sender, world: World, clock: HandClock, lapse: Lapse
) -> None:
    lapse(world.faults, clock.now + 3600)
    check_problem(await alice.deliver("first"), "name_unproven")


@pytest.mark.parametrize("length", [0, 1, 300])
async def test_while_a_profile_is_being_written_what_is_remembered_holds(
    alice: Sender, world: World, clock: HandClock, length: int
) -> None:
    await alice.deliver("first")
    clock.advance(LATER)
    world.hub.cut(alice.person.data.address, PROFILE, length)
    assert (await alice.deliver("second")).status == 201


@pytest.mark.parametrize("length", [0, 1, 300])
async def test_a_profile_that_is_being_written_is_no_refusal_and_not_remembered_for_long(
    alice: Sender, world: World, clock: HandClock, length: int
) -> None:
    whole = world.hub.read(alice.person.data.address, PROFILE)
    assert whole
    world.hub.cut(alice.person.data.address, PROFILE, length)
    assert "not whole" in check_problem(await alice.deliver("first"), "names_unavailable")["detail"]
    world.hub.store(alice.person.data.address, PROFILE, whole.content, whole.content_type)
    clock.advance(FAILURE_SECONDS)
    assert (await alice.deliver("first")).status == 201


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_hubs_that_moved_and_hubs_that_gzip_are_read_all_the_same(
    alice: Sender, world: World, status: int
) -> None:
    world.faults.redirects, world.faults.redirect_status, world.faults.gzip = 2, status, True
    assert (await alice.deliver("first")).status == 201
    async with world.user(alice.person) as user:
        await user.publish((world.inbox_url,), seq=1)
        key, card = await user.look_up("bob.id")
        assert (key.hex, card.inboxes) == (alice.bob.key.public, (world.inbox_url,))
        id = await user.write_message("hello", key)
    assert await alice.bob.fetch(Pointer(id, "alice.id", APP)) == "hello"
