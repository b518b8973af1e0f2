"""Every bad delivery is refused with a problem that names the rule; nothing is stored, nothing logged about who."""

import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.client.user import AppUser
from inbox_server.world.local_world import World
from tests.support.requests import LEFT_OUT, Answer, Caller, caller, check_problem, digest_of, new_key
from tests.support.stores import read_rows, row_counts

STRANGER = AppKey(bytes(range(1, 33)))
GAIA_CLAIMS = {"gaiaChallenge": "[]", "hubUrl": "https://hub.example", "salt": "00"}


@dataclass(frozen=True, slots=True)
class Scene:
    """Alice, who may write to Bob, and whatever would tell that it was she."""

    alice: Caller
    who: tuple[str, ...]

    async def post(self, body: bytes, authorization: str | None) -> Answer:
        headers = {} if authorization is None else {"Authorization": authorization}
        return await self.alice.send("POST", "/v1/messages", body, headers=headers)


@pytest.fixture
def scene(world: World, alice: AppUser, bob: AppUser, caplog: pytest.LogCaptureFixture) -> Iterator[Scene]:
    """Whatever a test does in it, no row of the database changes and no log names anybody."""
    for name in ("inbox_server", "aiohttp.server"):
        caplog.set_level(logging.DEBUG, logger=name)
    who = ("alice.id", "bob.id", alice.key.public, alice.key.address, bob.key.public, bob.key.address, "eyJ")
    counts, messages = row_counts(world.data_dir), read_rows(world.data_dir, "SELECT * FROM message")
    caplog.clear()
    yield Scene(caller(world, alice), who)
    assert row_counts(world.data_dir) == counts
    assert read_rows(world.data_dir, "SELECT * FROM message") == messages
    assert not [each for each in who if each in caplog.text]


# What is bent, as claims given the moment of signing; the member that the refusal names.
BENT_CLAIMS: dict[str, tuple[Callable[[int], dict[str, Any]], str]] = {
    "another server": (lambda now: {"aud": "https://other.example"}, "aud"),
    "a list of servers": (lambda now: {"aud": ["https://other.example"]}, "aud"),
    "no server": (lambda now: {"aud": LEFT_OUT}, "aud"),
    "a life too long": (lambda now: {"exp": now + 301}, "exp"),
    "no life": (lambda now: {"exp": now}, "exp"),
    "an end before the beginning": (lambda now: {"exp": now - 10}, "exp"),
    "no end": (lambda now: {"exp": LEFT_OUT}, "exp"),
    "an end in words": (lambda now: {"exp": str(now + 300)}, "exp"),
    "a time with a fraction": (lambda now: {"iat": now + 0.5}, "claims"),
    "a time that is true": (lambda now: {"iat": True}, "iat"),
    "a surplus claim": (lambda now: {"jti": "1"}, "claims"),
    "the digest of another body": (lambda now: {"digest": digest_of(b"another")}, "digest"),
    "no digest": (lambda now: {"digest": LEFT_OUT}, "digest"),
    "another's key": (lambda now: {"key": STRANGER.public}, "signature"),
    "a key of another kind": (lambda now: {"key": "04" + "00" * 64}, "key"),
    "no sender": (lambda now: {"iss": LEFT_OUT, "key": LEFT_OUT}, "iss"),
    "a sender that is neither name nor key": (lambda now: {"iss": "Alice"}, "iss"),
    "an address as the sender": (lambda now: {"iss": STRANGER.address}, "iss"),
    "another bare key as the sender": (lambda now: {"iss": STRANGER.public, "key": LEFT_OUT}, "signature"),
    "a key beside a bare key": (lambda now: {"iss": STRANGER.public}, "key"),
    "a recipient that is nobody": (lambda now: {"sub": "Bob"}, "sub"),
    "an app that is no origin": (lambda now: {"app": "https://chat.example/"}, "app"),
}


@pytest.mark.parametrize(("bend", "member"), BENT_CLAIMS.values(), ids=BENT_CLAIMS.keys())
async def test_a_bent_claim_is_named(scene: Scene, bend: Callable[[int], dict[str, Any]], member: str) -> None:
    answer = await scene.alice.deliver(sender="alice.id", recipient="bob.id", bend=bend(scene.alice.clock()))
    document = check_problem(answer, "bad_token", member)
    assert "now" not in document


@pytest.mark.parametrize(
    ("issued", "expires", "member"),
    [(-400, -100, "exp"), (-360, -60, "exp"), (61, 361, "iat"), (100_000, 100_300, "iat")],
)
async def test_a_token_of_another_time_is_told_the_time(scene: Scene, issued: int, expires: int, member: str) -> None:
    now = scene.alice.clock()
    bend = {"iat": now + issued, "exp": now + expires}
    answer = await scene.alice.deliver(sender="alice.id", recipient="bob.id", bend=bend)
    assert check_problem(answer, "bad_token", member)["now"] == now


async def test_a_delivery_without_a_token_is_refused(scene: Scene) -> None:
    check_problem(await scene.post(b'{"message_id":"opaque"}', None), "no_token")


@pytest.mark.parametrize(
    ("authorization", "member"),
    [
        ("Basic YWxpY2U6", "Authorization"),
        ("Bearer", "Authorization"),
        ("Bearer one two", "Authorization"),
        ("Bearer opaque", "token"),
        ("Bearer a.b", "token"),
        ("Bearer " + "a" * 2049, "token"),
        ("Bearer e30.e30.AA", "alg"),
    ],
)
async def test_what_is_no_token_of_this_protocol_is_refused(scene: Scene, authorization: str, member: str) -> None:
    check_problem(await scene.post(b'{"message_id":"opaque"}', authorization), "bad_token", member)


@pytest.mark.parametrize("typ", ["JWT", "inbox-owner+jwt", "INBOX-DELIVER+JWT"])
async def test_a_token_of_another_type_is_refused(scene: Scene, typ: str) -> None:
    now, body = scene.alice.clock(), b'{"message_id":"opaque"}'
    key = scene.alice.key
    claims = {"iss": key.public, "sub": "bob.id", "app": scene.alice.app, "aud": scene.alice.url}
    token = key.token(claims | {"digest": digest_of(body), "iat": now, "exp": now + 300}, typ)
    check_problem(await scene.post(body, f"Bearer {token}"), "bad_token", "typ")


async def test_a_token_to_read_does_not_deliver(scene: Scene) -> None:
    token = scene.alice.owner_token("read")
    check_problem(await scene.post(b'{"message_id":"opaque"}', f"Bearer {token}"), "bad_token", "typ")


async def test_a_gaia_hub_token_is_refused_by_its_own_code(scene: Scene) -> None:
    token = scene.alice.key.token(GAIA_CLAIMS | {"iss": scene.alice.key.public})
    for authorization in (f"bearer v1:{token}", f"Bearer {token}"):
        answer = await scene.post(b'{"message_id":"opaque"}', authorization)
        document = check_problem(answer, "gaia_token")
        assert token not in json.dumps(document)


@pytest.mark.parametrize("claim", ["gaiaChallenge", "hubUrl", "associationToken", "scopes", "salt", "childToAssociate"])
async def test_any_claim_of_a_gaia_hub_token_marks_one(scene: Scene, claim: str) -> None:
    answer = await scene.alice.deliver(sender="alice.id", recipient="bob.id", bend={claim: "x"})
    check_problem(answer, "gaia_token")


async def test_another_body_than_the_one_that_was_signed_is_refused(scene: Scene) -> None:
    token = scene.alice.deliver_token(b'{"message_id":"opaque"}', "alice.id", "bob.id")
    check_problem(await scene.post(b'{"message_id": "opaque"}', f"Bearer {token}"), "bad_token", "digest")


@pytest.mark.parametrize(
    ("body", "member"),
    [
        (b"", "body"),
        (b"opaque", "body"),
        (b'["opaque"]', "body"),
        (b'{"message_id":"a","message_id":"b"}', "body"),
        (b'{"message_id":"a"', "body"),
        (b'{"message_id":"a","sender":"alice.id"}', "body"),
        (b'{"message_id":"a","ttl":1e3}', "body"),
        (b"\xff\xfe", "body"),
        (b"{}", "message_id"),
        (b'{"ttl":60}', "message_id"),
        (b'{"message_id":null}', "message_id"),
        (b'{"message_id":7}', "message_id"),
        (b'{"message_id":["a"]}', "message_id"),
        (b'{"message_id":""}', "message_id"),
        (b'{"message_id":"\\u0000"}', "message_id"),
        (b'{"message_id":"a\\nb"}', "message_id"),
        ('{"message_id":"ä"}'.encode(), "message_id"),
        (b'{"message_id":"%s"}' % (b"x" * 1025), "message_id"),
        (b'{"message_id":"a","ttl":9}', "ttl"),
        (b'{"message_id":"a","ttl":-60}', "ttl"),
        (b'{"message_id":"a","ttl":"60"}', "ttl"),
        (b'{"message_id":"a","ttl":null}', "ttl"),
        (b'{"message_id":"a","ttl":true}', "ttl"),
    ],
)
async def test_a_body_that_breaks_a_rule_is_named(scene: Scene, body: bytes, member: str) -> None:
    token = scene.alice.deliver_token(body, "alice.id", "bob.id")
    answer = await scene.post(body, f"Bearer {token}")
    document = check_problem(answer, "bad_request", member)
    assert "alice.id" not in json.dumps(document)


async def _as_another_app(scene: Scene) -> Answer:
    bend = {"app": "https://evil.example"}
    return await scene.alice.deliver(sender="alice.id", recipient="bob.id", bend=bend)


async def _with_the_key_of_another_app(scene: Scene) -> Answer:
    mallory = Caller(scene.alice.session, scene.alice.url, new_key(), scene.alice.clock)
    return await mallory.deliver(sender="alice.id", recipient="bob.id")


async def _with_a_key_of_no_name(scene: Scene) -> Answer:
    return await scene.alice.deliver(recipient="bob.id")  # Bob takes names only


async def _to_nobody(scene: Scene) -> Answer:
    return await scene.alice.deliver(sender="alice.id", recipient=STRANGER.address)


async def _too_late(scene: Scene) -> Answer:
    now = scene.alice.clock()
    bend = {"iat": now - 60, "exp": now + 60}
    return await scene.alice.deliver(sender="alice.id", recipient="bob.id", ttl=60, bend=bend)


async def _with_a_query(scene: Scene) -> Answer:
    body = b'{"message_id":"opaque"}'
    token = scene.alice.deliver_token(body, "alice.id", "bob.id")
    return await scene.alice.send("POST", "/v1/messages?sender=alice.id", body, token=token)


@pytest.mark.parametrize(
    ("send", "code", "member"),
    [
        (_as_another_app, "not_accepted", None),
        (_with_the_key_of_another_app, "name_unproven", None),
        (_with_a_key_of_no_name, "not_accepted", None),
        (_to_nobody, "not_accepted", None),
        (_too_late, "ttl_passed", None),
        (_with_a_query, "bad_request", "query"),
    ],
)
async def test_a_sound_token_that_may_not_deliver_is_refused(
    scene: Scene, send: Callable[[Scene], Awaitable[Answer]], code: str, member: str | None
) -> None:
    check_problem(await send(scene), code, member)
