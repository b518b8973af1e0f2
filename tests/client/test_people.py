"""Devices of one owner agree in a file in the own bucket who has tickets, and take nobody's away."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from inbox_server.client.ecies import decrypt, encrypt, open_envelope, sign_envelope
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.own_card import published_card
from inbox_server.client.profile_file import parse_profile, render_profile
from inbox_server.client.remembered import Remembered
from inbox_server.client.reports import SheetsWait
from inbox_server.client.sealed import Offer, Sealing
from inbox_server.client.sheets import EDITION_SECONDS
from inbox_server.client.storage import InMemory
from inbox_server.client.tickets import PER, Sheet, ids_of
from inbox_server.world.local_world import World
from tests.client.test_sealed import greet, renew, settled, ways
from tests.conftest import HandClock
from tests.support.clients import Scissors, opened
from tests.support.patience import PATIENCE_SECONDS

PEOPLE = "people.json"


@pytest.fixture
async def alice(world: World) -> AsyncIterator[InboxClient]:
    async with settled(world, "alice.id") as client:
        yield client


@pytest.fixture
async def carol(world: World) -> AsyncIterator[InboxClient]:
    async with settled(world, "carol.id") as client:
        yield client


@pytest.fixture
async def laptop(world: World) -> AsyncIterator[InboxClient]:
    async with settled(world, "bob.id") as client:
        yield client


@pytest.fixture
async def phone(world: World, laptop: InboxClient) -> AsyncIterator[InboxClient]:
    """The same owner's, and it has met nobody."""
    profile = replace(laptop.account.profile.read(), remembered=Remembered(), sealing=Sealing())
    async with opened(world, InMemory(profile)) as client:
        yield client


async def settle(clock: HandClock, *devices: InboxClient) -> None:
    """Each device looks at the sheets as `watch` does, until everybody may have got into an edition."""
    for _ in range(2):
        clock.advance(EDITION_SECONDS)
        for device in devices:
            await renew(device)


def file_in(world: World, owner: InboxClient) -> dict[str, Any]:
    file = world.hub.read(owner.account.user.key.address, PEOPLE)
    assert file
    signer, sealed = open_envelope(file.content.decode())
    assert signer.hex == owner.account.user.key.public
    members: dict[str, Any] = json.loads(decrypt(owner.account.user.key, sealed))
    return members


async def put(owner: InboxClient, members: dict[str, Any]) -> None:
    user = owner.account.user
    iv = user.random_bytes(16)
    sealed = encrypt(user.key.public, json.dumps(members), ephemeral=user.ephemeral(), iv=iv, as_base64=True)
    await user.bucket.write(PEOPLE, sign_envelope(user.key, sealed).encode())


def key_of(client: InboxClient) -> str:
    return client.account.user.key.public


def sealing_of(client: InboxClient) -> Sealing:
    return client.account.profile.read().sealing


def sheet_of(client: InboxClient) -> bytes:
    sealing = sealing_of(client)
    sheet = Sheet("https://inbox.example", 2951, sealing.edition)
    return ids_of(client.account.user.key, sealing.contacts, sheet, sealing.per)


async def test_contacts_whom_only_one_device_knows_keep_their_tickets(
    world: World, alice: InboxClient, carol: InboxClient, laptop: InboxClient, phone: InboxClient, clock: HandClock
) -> None:
    await greet(alice, laptop)
    await greet(carol, phone)
    await settle(clock, laptop, phone)
    await renew(laptop)
    for client in (alice, carol):
        assert ways(await client.send("bob.id", "sealed")) == ["sealed"]
    card = await published_card(laptop.account)
    assert card
    assert card.offer
    members = file_in(world, laptop)
    both = {"heard": True, "written": True, "out": False, "at": 0}
    people = {key_of(alice): {**both, "name": "alice.id"}, key_of(carol): {**both, "name": "carol.id"}}
    assert members == {"v": 1, "edition": card.offer.edition, "people": people}
    assert sheet_of(laptop) == sheet_of(phone)
    assert sealing_of(laptop).given == sealing_of(phone).given


async def test_two_devices_that_write_at_once_lose_nobody(
    alice: InboxClient, carol: InboxClient, laptop: InboxClient, phone: InboxClient, clock: HandClock
) -> None:
    await greet(alice, laptop)
    await greet(carol, phone)
    for _ in range(2):
        clock.advance(EDITION_SECONDS)
        await asyncio.gather(renew(laptop), renew(phone))
    await renew(laptop)
    assert sheet_of(laptop) == sheet_of(phone)
    assert set(sealing_of(laptop).contacts) == {key_of(alice), key_of(carol)}


class Meanwhile(Scissors):
    """Does not cut: while the first sheet is under way, another device does something."""

    def __init__(self, write: Callable[[], Awaitable[None]]) -> None:
        super().__init__(0, "")
        self.writes = [write]

    def trace(self) -> aiohttp.TraceConfig:
        async def end(_: object, __: object, sent: aiohttp.TraceRequestEndParams) -> None:
            if sent.method == "PUT" and sent.url.path == "/v1/inbox/tickets" and self.writes:
                await self.writes.pop()()

        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(end)
        return trace


async def test_sheets_that_may_have_come_over_a_newer_edition_are_sent_again(
    world: World, alice: InboxClient, carol: InboxClient, laptop: InboxClient, clock: HandClock
) -> None:
    await greet(alice, laptop)
    await greet(carol, laptop)
    clock.advance(EDITION_SECONDS)
    known = {"heard": True, "written": True, "out": False, "at": 0}
    newer = {"v": 1, "edition": clock() + 9, "people": {key_of(alice): known, key_of(carol): known}}

    async def publish_newer() -> None:
        card = await published_card(laptop.account)
        assert card
        await put(laptop, newer)
        await laptop.account.user.publish(card.inboxes, seq=card.seq + 1, offer=Offer(PER, clock() + 9))

    async with opened(world, laptop.account.profile, scissors=Meanwhile(publish_newer)) as phone:
        await renew(phone)
    assert sealing_of(laptop).edition == newer["edition"]
    for client in (alice, carol):
        assert ways(await client.send("bob.id", "sealed")) == ["sealed"]


async def test_who_wrote_to_one_device_and_was_written_to_by_the_other_has_tickets(
    alice: InboxClient, laptop: InboxClient, phone: InboxClient, clock: HandClock
) -> None:
    await alice.send("bob.id", "hello")
    for entry in (await laptop.unread()).entries:
        await laptop.fetch(entry)
    await phone.send("alice.id", "hello")
    await settle(clock, laptop, phone)
    assert sealing_of(phone).contacts == sealing_of(laptop).contacts == (key_of(alice),)


async def test_who_is_blocked_on_one_device_has_tickets_of_none(
    world: World, alice: InboxClient, carol: InboxClient, laptop: InboxClient, phone: InboxClient, clock: HandClock
) -> None:
    await greet(alice, laptop)
    await greet(alice, phone)
    await greet(carol, phone)
    await settle(clock, laptop, phone)
    blocked = alice.account.user.key.address
    await laptop.claim({"blocked": [blocked]})
    await settle(clock, laptop, phone)
    assert sealing_of(laptop).contacts == sealing_of(phone).contacts == (key_of(carol),)
    person = file_in(world, laptop)["people"][key_of(alice)]
    assert (person["out"], person["at"]) == (True, clock() - EDITION_SECONDS)
    await laptop.claim({"blocked": []})
    await settle(clock, phone, laptop)
    await settle(clock, phone)
    assert set(sealing_of(phone).contacts) == {key_of(alice), key_of(carol)}
    assert parse_profile(render_profile(laptop.account.profile.read())).sealing == sealing_of(laptop)


async def test_a_file_of_another_client_is_taken_over(
    alice: InboxClient, carol: InboxClient, laptop: InboxClient, clock: HandClock
) -> None:
    edition = clock() + 5
    people = {
        key_of(alice): {"heard": True, "written": True, "out": False, "at": 0, "more": 1},
        key_of(carol): {"heard": True, "written": True, "out": True, "at": clock()},
    }
    await put(laptop, {"v": 1, "edition": edition, "people": people, "more": 1})
    await greet(alice, laptop)
    await greet(carol, laptop)
    await renew(laptop)
    assert (sealing_of(laptop).edition, sealing_of(laptop).contacts) == (edition, (key_of(alice),))
    assert ways(await alice.send("bob.id", "sealed")) == ["sealed"]
    assert ways(await carol.send("bob.id", "has none")) == ["signed, first contact"]


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"v": 2}, "people.json in your bucket is of a later version: update this client"),
        ({"v": 1, "edition": 1}, "damaged"),
        ({"v": 1, "edition": True, "people": {}}, "damaged"),
        ({"v": 1, "edition": 1, "people": {"02" * 33: {}}}, "damaged"),
        ({"v": 1, "edition": 1, "people": {"x": {"heard": True, "written": True, "out": False, "at": 0}}}, "damaged"),
    ],
)
async def test_with_a_file_that_cannot_be_read_nothing_is_sent_and_what_is_there_stays_good(
    world: World, alice: InboxClient, laptop: InboxClient, clock: HandClock, members: dict[str, Any], why: str
) -> None:
    await greet(alice, laptop)
    await settle(clock, laptop)
    before, good = sealing_of(laptop), file_in(world, laptop)
    await put(laptop, members)
    await renew(laptop)
    await laptop.publish(laptop.account.profile.read().inboxes)
    assert why in sealing_of(laptop).fault
    assert replace(sealing_of(laptop), fault="") == before
    assert file_in(world, laptop) == members
    assert ways(await alice.send("bob.id", "sealed")) == ["sealed"]
    await put(laptop, good)
    await renew(laptop)
    assert sealing_of(laptop) == before


async def test_a_file_that_another_key_signed_is_not_taken_and_a_watch_says_so(
    alice: InboxClient, laptop: InboxClient
) -> None:
    user = alice.account.user
    sealed = encrypt(key_of(laptop), "{}", ephemeral=user.ephemeral(), iv=user.random_bytes(16), as_base64=True)
    await laptop.account.user.bucket.write(PEOPLE, sign_envelope(user.key, sealed).encode())
    async with asyncio.timeout(PATIENCE_SECONDS), contextlib.aclosing(laptop.watch()) as watch:
        said = [news async for news in _until_sheets_wait(watch)]
    assert said == [SheetsWait("people.json in your bucket is not signed by your key")]


async def _until_sheets_wait(watch: Any) -> AsyncIterator[SheetsWait]:
    async for news in watch:
        if isinstance(news, SheetsWait):
            yield news
            return
