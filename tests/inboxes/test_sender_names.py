"""Names in a delivery's token, proved over HTTP: the sender's leads to the key, the recipient's still to the inbox."""

import dataclasses
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inbox_server.client.user import AppUser
from inbox_server.resolver.cache import FAILURE_SECONDS, FRESH_SECONDS, LAPSE_SECONDS, STALE_SECONDS
from inbox_server.world.local_world import World
from inbox_server.world.name_service import Registration
from inbox_server.world.people import Person, make_person
from tests.conftest import APP, HandClock
from tests.support.hosts import Host, profile, running_host, zone_file
from tests.support.requests import LEFT_OUT, Caller, at, caller, check_problem, inbox_server

KEYLESS = {"key": LEFT_OUT}
OTHER_APP = "https://evil.example"


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    """A name service and bucket host in one."""
    async with running_host() as host:
        yield host


@pytest.fixture
async def owner(world: World, host: Host, tmp_path: Path) -> AsyncIterator[Caller]:
    """An inbox at a server that looks names up at that host; it takes deliveries by names."""
    settings: dict[str, dict[str, Any]] = {
        "names": {"services": [host.url]},
        "registration": {"mode": "open", "open_to_keys": True},
        "outgoing": {"allow": [host.url]},
    }
    async with inbox_server(world, tmp_path / "other", settings) as owner:
        await owner.claim()
        yield owner


@pytest.fixture
def person(host: Host) -> Person:
    """alice.id, whose profile states her app key."""
    person = make_person("alice.id", APP, secrets.token_bytes)
    host.put_person(person, stated_key=person.app_key.public)
    return person


async def test_a_name_with_the_key_is_proved_by_its_profile(owner: Caller, person: Person, host: Host) -> None:
    sender = at(owner, person.app_key)
    assert (await sender.deliver("one", sender="alice.id", recipient=owner.key.address)).status == 201
    assert host.asked == ["/v1/names/alice.id", f"/{person.data.address}/profile.json"]
    assert (await sender.deliver("two", sender="alice.id", recipient=owner.key.address)).status == 201
    assert len(host.asked) == 2  # remembered


async def test_a_name_without_the_key_is_proved_by_the_key_in_the_profile(
    owner: Caller, person: Person, host: Host
) -> None:
    sender = at(owner, person.app_key)
    answer = await sender.deliver("one", sender="alice.id", recipient=owner.key.address, bend=KEYLESS)
    assert answer.status == 201
    assert len(host.asked) == 2


@pytest.mark.parametrize("file", ["key.json", "public_key.txt"])
async def test_a_name_without_the_key_is_proved_by_a_key_file(owner: Caller, host: Host, file: str) -> None:
    person = make_person("carol.id", APP, secrets.token_bytes)
    host.put(host.put_person(person) + file, json.dumps(person.app_key.public))
    sender = at(owner, person.app_key)
    answer = await sender.deliver("one", sender="carol.id", recipient=owner.key.address, bend=KEYLESS)
    assert answer.status == 201


async def test_a_name_without_any_key_to_be_found_is_unproven(owner: Caller, host: Host) -> None:
    person = make_person("carol.id", APP, secrets.token_bytes)
    host.put_person(person)
    sender = at(owner, person.app_key)
    answer = await sender.deliver("one", sender="carol.id", recipient=owner.key.address, bend=KEYLESS)
    assert "key.json" in check_problem(answer, "name_unproven")["detail"]


async def test_a_key_that_the_profile_does_not_lead_to_is_refused(owner: Caller, person: Person) -> None:
    mallory = at(owner)
    answer = await mallory.deliver("one", sender="alice.id", recipient=owner.key.address)
    check_problem(answer, "name_unproven")
    answer = await mallory.deliver("one", sender="alice.id", recipient=owner.key.address, bend=KEYLESS)
    check_problem(answer, "bad_token", "signature")
    assert await owner.texts() == []


async def test_the_key_of_another_app_of_the_senders_does_not_speak_for_her(
    owner: Caller, person: Person, host: Host
) -> None:
    evil = make_person("alice.id", OTHER_APP, secrets.token_bytes)
    buckets = {each.app: f"{host.url}/hub/{each.app_key.address}/" for each in (person, evil)}
    host.put(f"/{person.data.address}/profile.json", profile(person.owner, {"apps": buckets}))
    answer = await at(owner, evil.app_key).deliver("one", sender="alice.id", recipient=owner.key.address)
    check_problem(answer, "name_unproven")
    assert (await at(owner, person.app_key).deliver(sender="alice.id", recipient=owner.key.address)).status == 201


@pytest.mark.parametrize("name", ["nobody.id", "nobody.id.blockstack"])
async def test_a_name_that_does_not_exist_is_unproven(owner: Caller, name: str) -> None:
    check_problem(await at(owner).deliver("one", sender=name, recipient=owner.key.address), "name_unproven")


async def test_a_sender_with_a_new_key_is_looked_up_again(
    owner: Caller, person: Person, host: Host, clock: HandClock
) -> None:
    await at(owner, person.app_key).deliver("old", sender="alice.id", recipient=owner.key.address)
    renewed = dataclasses.replace(person, app_key=at(owner).key)
    host.put_person(renewed, stated_key=renewed.app_key.public)
    clock.advance(60)
    for number, bend in enumerate([{}, KEYLESS]):
        answer = await at(owner, renewed.app_key).deliver(
            f"{number}", sender="alice.id", recipient=owner.key.address, bend=bend
        )
        assert answer.status == 201


async def test_a_misfit_makes_one_fresh_look_up_a_minute_at_most(
    owner: Caller, person: Person, host: Host, clock: HandClock
) -> None:
    await at(owner, person.app_key).deliver("one", sender="alice.id", recipient=owner.key.address)
    clock.advance(60)
    for _ in range(5):
        await at(owner).deliver("one", sender="alice.id", recipient=owner.key.address)
    assert host.asked.count("/v1/names/alice.id") == 2


async def test_while_names_cannot_be_looked_up_a_known_sender_is_known(
    owner: Caller, person: Person, host: Host, clock: HandClock
) -> None:
    sender = at(owner, person.app_key)
    await sender.deliver("one", sender="alice.id", recipient=owner.key.address)
    with host.down():
        clock.advance(FRESH_SECONDS)
        assert (await sender.deliver("two", sender="alice.id", recipient=owner.key.address)).status == 201
        clock.advance(STALE_SECONDS)
        answer = await sender.deliver("three", sender="alice.id", recipient=owner.key.address)
        check_problem(answer, "names_unavailable")


async def test_while_names_cannot_be_looked_up_a_new_sender_is_told_to_come_back(
    owner: Caller, person: Person, host: Host, clock: HandClock
) -> None:
    sender = at(owner, person.app_key)
    with host.down():
        for bend in ({}, KEYLESS):
            answer = await sender.deliver(sender="alice.id", recipient=owner.key.address, bend=bend)
            check_problem(answer, "names_unavailable")
            assert int(answer.headers["Retry-After"]) == FAILURE_SECONDS
        assert host.asked == ["/v1/names/alice.id"] * 2  # one for the address, one for the key
    assert await owner.texts() == []
    clock.advance(FAILURE_SECONDS)
    assert (await sender.deliver(sender="alice.id", recipient=owner.key.address)).status == 201


@pytest.mark.parametrize("bend", [{}, KEYLESS], ids=["with key", "without key"])
async def test_a_sender_with_a_new_key_is_told_to_come_back_while_names_cannot_be_looked_up(
    owner: Caller, person: Person, host: Host, clock: HandClock, bend: dict[str, Any]
) -> None:
    await at(owner, person.app_key).deliver("old", sender="alice.id", recipient=owner.key.address, bend=bend)
    renewed = dataclasses.replace(person, app_key=at(owner).key)
    host.put_person(renewed, stated_key=renewed.app_key.public)
    clock.advance(60)
    sender = at(owner, renewed.app_key)
    with host.down():
        answer = await sender.deliver("new", sender="alice.id", recipient=owner.key.address, bend=bend)
        check_problem(answer, "names_unavailable")  # a refusal would be the last word


async def test_a_name_that_changed_hands_stops_receiving_for_its_old_owner(
    world: World, alice: AppUser, bob: AppUser, clock: HandClock
) -> None:
    sender, old = caller(world, alice), caller(world, bob)
    assert (await sender.deliver("before", sender="alice.id", recipient="bob.id")).status == 201
    await world.settle("bob.id", APP)  # somebody else's keys
    assert (await sender.deliver("remembered", sender="alice.id", recipient="bob.id")).status == 201
    clock.advance(FRESH_SECONDS)
    check_problem(await sender.deliver("after", sender="alice.id", recipient="bob.id"), "not_accepted")
    assert await old.texts() == ["before", "remembered"]
    assert (await sender.deliver("by address", sender="alice.id", recipient=bob.key.address)).status == 201


async def test_the_new_owner_of_a_name_receives_once_the_name_is_proved(
    world: World, alice: AppUser, bob: AppUser, clock: HandClock
) -> None:
    new = caller(world, (await world.settle("bob.id", APP)).app_key)
    clock.advance(FRESH_SECONDS)
    assert (await new.claim({"names": ["bob.id"]})).status == 201
    answer = await caller(world, alice).deliver("to the new", sender="alice.id", recipient="bob.id")
    assert answer.status == 201
    assert await new.texts() == ["to the new"]
    assert await caller(world, bob).texts() == []
    assert (await caller(world, bob).settings()).json()["names"] == 0


@pytest.mark.parametrize("how", ["gone", "no profile", "broken profile"])
async def test_a_recipients_broken_chain_is_not_the_senders_business(
    world: World, alice: AppUser, bob: AppUser, clock: HandClock, how: str
) -> None:
    sender = caller(world, alice)
    clock.advance(FRESH_SECONDS)
    owner = world.register.names["bob.id"].owner
    if how == "gone":
        del world.register.names["bob.id"]
    elif how == "no profile":
        world.register.names["bob.id"] = Registration(owner, "")
    else:
        url = f"{world.read_url}{bob.key.address}/key.json"
        world.register.names["bob.id"] = Registration(owner, zone_file(url))
    broken = await sender.deliver(sender="alice.id", recipient="bob.id")
    if how != "broken profile":  # which may be a lapse, so it is not final yet
        assert check_problem(broken, "names_unavailable")["detail"].startswith("A name could not be looked up for now.")
        clock.advance(LAPSE_SECONDS)
        broken = await sender.deliver(sender="alice.id", recipient="bob.id")
    check_problem(broken, "not_accepted")
    assert broken.seen() == (await sender.deliver(sender="alice.id", recipient="nobody.id")).seen()


async def test_a_proven_name_is_proven_for_its_app_only(world: World, alice: AppUser, bob: AppUser) -> None:
    answer = await caller(world, alice, OTHER_APP).deliver(sender="alice.id", recipient="bob.id")
    check_problem(answer, "not_accepted")
