"""A server that drops an entry and has an excuse ready: the audit does not say that everything is accounted for."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from inbox_server.client.inbox_client import InboxClient
from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.identity.keys import SigningKey
from inbox_server.inbox_log import HEAD_TYPE
from inbox_server.protocol.base64url import decode, encode
from inbox_server.protocol.receipts import RECEIPT_TYPE, leaf_of, root_of
from inbox_server.protocol.signed import read_signed, write_signed
from inbox_server.world.local_world import World
from tests.client.test_audit_cheats import codes, read_all, sent
from tests.conftest import APP, HandClock
from tests.support.clients import client_of, index_of, opened
from tests.support.providers import SECRET, Document, Lie, Provider, dropped


@pytest.fixture
async def bob(world: World, provider: Provider) -> AsyncIterator[InboxClient]:
    """He has read a message and audited."""
    async with client_of(world, "bob.id", provider.url, app=APP) as client:
        yield client


def with_limits(**limits: int) -> Lie:
    def lie(_: str, document: Document) -> Document:
        return {**document, "limits": {**document["limits"], **limits}} if "limits" in document else document

    return lie


def without_feature(name: str) -> Lie:
    def lie(_: str, document: Document) -> Document:
        features = [each for each in document.get("features", ()) if each != name]
        return {**document, "features": features} if "features" in document else document

    return lie


def with_claims(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Lie:
    """Heads of the log that say something else, signed anew."""

    def lie(path: str, document: Document) -> Document:
        if path != "/v1/inbox/log":
            return document
        key = SigningKey.from_seed(KeyedHash(SECRET).receipt_seed())
        claims = change(dict(read_signed(document["signed"], key.public, HEAD_TYPE)))
        return {**document, "signed": write_signed(key.sign, claims, HEAD_TYPE)}

    return lie


async def drop_second(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock, *excuses: Lie
) -> None:
    """Bob has read and checked one message; the server took a second one and hides it."""
    await sent(world, alice, bob, "one")
    await read_all(bob)
    assert (await bob.audit()).is_in_order
    (two,) = await sent(world, alice, bob, "two")
    provider.lies += [*dropped(two), *excuses]
    clock.advance(DAY_SECONDS)


async def found_by(bob: InboxClient, *, code: str) -> list[str | bytes]:
    """What an audit finds in the senders' buckets, when it says this and accuses nobody."""
    audit = await bob.audit()
    assert codes(audit) == [code] if code else codes(audit) == []
    assert not audit.is_accusation
    assert not audit.is_in_order
    return [(await bob.fetch(entry)).content for entry in audit.found]


async def test_a_log_that_is_called_full(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock
) -> None:
    await drop_second(world, alice, bob, provider, clock, with_limits(log_entries=1))
    assert await found_by(bob, code="full") == ["two"]


async def test_a_log_that_is_called_full_lacks_what_was_listed(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock
) -> None:
    one, _ = await sent(world, alice, bob, "one", "two")
    await bob.unread()
    provider.lies += [*dropped(one), with_limits(log_entries=1)]
    assert "full" in codes(await bob.audit())


@pytest.mark.parametrize("days", [80, -80])
async def test_a_log_that_is_signed_at_another_time(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock, days: int
) -> None:
    later = with_claims(lambda claims: claims | {"iat": claims["iat"] + days * DAY_SECONDS})
    await drop_second(world, alice, bob, provider, clock, later)
    audit = await bob.audit()
    assert "other_time" in codes(audit)
    assert [(await bob.fetch(entry)).content for entry in audit.found] == ["two"]
    provider.lies.remove(later)
    assert codes(await bob.audit()) == ["receipt_without_entry"]  # the checkpoint stayed where it was


async def test_a_server_that_gave_no_receipt(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock
) -> None:
    await sent(world, alice, bob, "one")
    await read_all(bob)
    await bob.audit()
    gives_none = without_feature("receipts")
    provider.lies.append(gives_none)
    async with opened(world, alice.account.profile, alice.account.outbox) as later:
        [outcome] = (await later.send("bob.id", "two")).outcomes
    assert outcome.state == "done"
    assert "no receipt" in outcome.receipt  # the sender is told
    provider.lies.remove(gives_none)
    provider.lies += dropped(index_of(world, alice, bob)[-1].entry)
    assert await found_by(bob, code="") == ["two"]


def with_short_life(address: str, clock: HandClock) -> Lie:
    """The sender is told, with a receipt that holds, that the message lives for an hour."""

    def lie(_: str, document: Document) -> Document:
        if "receipt" not in document:
            return document
        key = SigningKey.from_seed(KeyedHash(SECRET).receipt_seed())
        salt, nodes, expires = bytes(16), [bytes(32)] * 9, UnixTime(clock() + 3600)
        root = root_of(leaf_of(salt, address, decode(document["id"]), expires), nodes)
        iss = read_signed(document["receipt"]["token"], key.public, RECEIPT_TYPE)["iss"]
        claims = {"iss": iss, "root": encode(root), "day": clock() // DAY_SECONDS}
        token = write_signed(key.sign, claims, RECEIPT_TYPE)
        receipt = {"token": token, "salt": encode(salt), "path": [*map(encode, nodes)]}
        return {**document, "expires": expires, "receipt": receipt}

    return lie


@pytest.mark.parametrize("ttl", [None, 5 * DAY_SECONDS])
async def test_a_life_that_was_cut_short(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock, ttl: int | None
) -> None:
    await sent(world, alice, bob, "one")
    await read_all(bob)
    assert (await bob.audit()).is_in_order
    provider.lies.append(with_short_life(bob.account.user.key.address, clock))
    await alice.send("bob.id", "two", ttl=ttl)
    provider.lies += dropped(index_of(world, alice, bob)[-1].entry)
    clock.advance(DAY_SECONDS)
    assert await found_by(bob, code="") == ["two"]


async def test_a_contact_s_index_that_cannot_be_read(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    await sent(world, alice, bob, "one")
    await read_all(bob)
    address = alice.account.user.key.address
    [path] = [path for path in world.hub.list(address, None).files if path.startswith("index/")]
    world.hub.cut(address, path, 100)
    audit = await bob.audit()
    assert [sender for sender, _ in audit.unread_indexes] == ["alice.id"]
    assert not audit.is_in_order


async def test_an_honest_clock_that_is_an_hour_off_is_nothing(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    await sent(world, alice, bob, "one")
    await read_all(bob)
    for ahead in (-3600, 3600):
        async with opened(world, bob.account.profile, ahead=ahead) as device:
            assert (await device.audit()).is_in_order
