"""Receipts over HTTP: what they prove, to whom, and what they do not tell."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.identity.keys import PublicKey, SigningKey, parse_key
from inbox_server.inboxes.receipts import Receipts
from inbox_server.protocol.base64url import decode, encode
from inbox_server.protocol.receipts import LEVELS, RECEIPT_TYPE, SALT_BYTES, leaf_of, root_of
from inbox_server.protocol.signed import NotSigned, read_signed
from inbox_server.world.local_world import World
from tests.conftest import HandClock
from tests.support.requests import SECRET, Answer, Caller, at, caller, check_problem, id_of, inbox_server


@pytest.fixture
async def anyone(world: World) -> Caller:
    owner = caller(world)
    assert (await owner.claim({"accept": "anyone"})).status == 201
    return owner


async def receipt_key(asked: Caller) -> PublicKey:
    return parse_key((await asked.send("GET", "/.well-known/message-inbox")).json()["receipts"]["key"])


def day_of(answer: Answer, address: str, text: str, key: PublicKey, origin: str) -> int:
    """The day of the receipt in an answer to the delivery of this text, which must hold."""
    document = answer.json()
    receipt = document["receipt"]
    assert list(document) == ["id", "expires", "receipt"]
    assert sorted(receipt) == ["path", "salt", "token"]
    assert len(receipt["path"]) == LEVELS
    leaf = leaf_of(decode(receipt["salt"]), address, decode(id_of(text)), document["expires"])
    claims = read_signed(receipt["token"], key, RECEIPT_TYPE)
    day: int = claims.pop("day")
    assert claims == {"iss": origin, "root": encode(root_of(leaf, map(decode, receipt["path"])))}
    return day


async def test_who_asks_gets_a_receipt_of_today_and_who_does_not_gets_what_was_always_given(anyone: Caller) -> None:
    sender, key = at(anyone), await receipt_key(anyone)
    for number, recipient in enumerate((anyone.key.public, anyone.key.address)):
        asked = await sender.deliver(f"with {number}", recipient=recipient, receipt=True)
        assert asked.status == 201
        assert day_of(asked, anyone.key.address, f"with {number}", key, anyone.url) == anyone.clock() // DAY_SECONDS
    members: list[dict[str, Any]] = [{}, {"receipt": False}]
    for more in members:
        answer = await sender.deliver(f"without {more}", recipient=anyone.key.public, **more)
        assert list(answer.json()) == ["id", "expires"]


async def test_a_recipient_who_goes_by_name_is_the_address_that_the_name_leads_to(
    world: World, alice: Any, bob: Any
) -> None:
    sender = caller(world, alice)
    answer = await sender.deliver("opaque", sender="alice.id", recipient="bob.id", receipt=True, ttl=60)
    day_of(answer, caller(world, bob).key.address, "opaque", await receipt_key(sender), sender.url)


@pytest.mark.parametrize("receipt", [None, 0, 1, "true", [], {}])
async def test_a_member_that_is_not_true_or_false_is_named(anyone: Caller, receipt: Any) -> None:
    answer = await at(anyone).deliver("opaque", recipient=anyone.key.public, receipt=receipt)
    check_problem(answer, "bad_request", "receipt")
    assert await anyone.texts() == []


async def test_repeats_get_a_receipt_of_the_day_alike_whether_the_entry_is_unread_read_or_gone(
    anyone: Caller, clock: HandClock
) -> None:
    sender, key = at(anyone), await receipt_key(anyone)

    async def repeat(text: str, **more: Any) -> tuple[int, list[str], int, int]:
        answer = await sender.deliver(text, recipient=anyone.key.public, receipt=True, ttl=5 * DAY_SECONDS, **more)
        return (
            answer.status,
            list(answer.json()["receipt"]),
            len(answer.body),
            day_of(answer, anyone.key.address, text, key, anyone.url),
        )

    for text in ("unread", "read"):
        assert (await repeat(text))[0] == 201
    await anyone.acknowledge(id_of("read"))
    clock.advance(2 * DAY_SECONDS)
    unread, read = await repeat("unread"), await repeat("read")
    assert unread == read
    assert (unread[0], unread[3]) == (200, clock() // DAY_SECONDS)
    clock.advance(9 * DAY_SECONDS)
    assert await repeat("unread") == await repeat("read")


async def test_one_signature_is_for_all_deliveries_of_a_commit_and_salts_and_paths_differ(anyone: Caller) -> None:
    """The first commit takes what has arrived by then, and the next ones what arrives meanwhile."""
    sender, key = at(anyone), await receipt_key(anyone)
    texts = [f"entry {number}" for number in range(60)]
    answers = await asyncio.gather(*(sender.deliver(text, recipient=anyone.key.public, receipt=True) for text in texts))
    for text, answer in zip(texts, answers, strict=True):
        day_of(answer, anyone.key.address, text, key, anyone.url)
    receipts = [answer.json()["receipt"] for answer in answers]
    assert len({receipt["token"] for receipt in receipts}) < len(texts) / 2
    assert len({receipt["salt"] for receipt in receipts}) == len({tuple(receipt["path"]) for receipt in receipts}) == 60


async def test_those_who_ask_at_once_are_signed_together_and_the_latest_day_counts() -> None:
    key, drawn = SigningKey(b"\x01" * 32), iter(range(10_000))
    receipts = Receipts(
        key, origin="https://inbox.example", random_bytes=lambda size: next(drawn).to_bytes(size, "big")
    )
    nows = [DAY_SECONDS - 1, DAY_SECONDS, DAY_SECONDS - 1] * 200
    tasks = [
        asyncio.create_task(receipts.sign("1Bob", bytes(32), expires=UnixTime(9 * DAY_SECONDS - 1), now=UnixTime(now)))
        for now in nows
    ]
    tasks.append(asyncio.create_task(receipts.sign("1Gone", bytes(32), expires=UnixTime(1), now=UnixTime(0))))
    await asyncio.sleep(0)  # all have asked, and nothing is signed yet
    tasks.pop().cancel()
    signed = await asyncio.gather(*tasks)
    assert len({receipt.token for receipt in signed}) == 2  # 512 and the rest: a tree has no more leaves
    assert {read_signed(receipt.token, key.public, RECEIPT_TYPE)["day"] for receipt in signed} == {1}
    assert len({receipt.salt for receipt in signed}) == len(nows)


async def test_a_receipt_that_cannot_be_made_is_a_failure_and_not_a_request_without_an_answer() -> None:
    def no_more_than_salts(size: int) -> bytes:
        if size != SALT_BYTES:
            raise OSError("no randomness")
        return bytes(size)

    receipts = Receipts(SigningKey(b"\x01" * 32), origin="https://inbox.example", random_bytes=no_more_than_salts)
    asked = [receipts.sign("1Bob", bytes(32), expires=UnixTime(1), now=UnixTime(0)) for _ in range(2)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OSError, OSError]


async def test_a_refused_delivery_has_no_receipt(anyone: Caller) -> None:
    await anyone.claim({"accept": "nobody"})
    answer = await at(anyone).deliver("opaque", recipient=anyone.key.public, receipt=True)
    assert "receipt" not in check_problem(answer, "not_accepted")


async def test_the_key_comes_from_the_secret_and_signs_nothing_else(world: World, tmp_path: Path) -> None:
    async with inbox_server(world, tmp_path / "one", {}) as one:
        key = await receipt_key(one)
    async with inbox_server(world, tmp_path / "two", {}) as two:
        assert await receipt_key(two) == key == SigningKey.from_seed(KeyedHash(SECRET).receipt_seed()).public
    assert SigningKey.from_seed(KeyedHash(bytes(32)).receipt_seed()).public != key
    assert KeyedHash(SECRET).receipt_seed() != KeyedHash(SECRET).vapid_seed()


async def test_a_receipt_of_another_server_or_with_one_changed_byte_does_not_hold(anyone: Caller) -> None:
    answer = await at(anyone).deliver("opaque", recipient=anyone.key.public, receipt=True)
    key, address = await receipt_key(anyone), anyone.key.address
    day_of(answer, address, "opaque", key, anyone.url)
    for changed in (
        answer.body.replace(b'"path":["', b'"path":["A'),
        answer.body.replace(b'"expires":1', b'"expires":2'),
    ):
        with pytest.raises((AssertionError, ValueError)):
            day_of(replace(answer, body=changed), address, "opaque", key, anyone.url)
    with pytest.raises(AssertionError):
        day_of(answer, address, "opaque", key, "https://other.example")
    with pytest.raises(NotSigned):
        day_of(answer, address, "opaque", SigningKey(b"\x01" * 32).public, anyone.url)
