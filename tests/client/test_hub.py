"""The Python client at a Gaia hub: which tokens it shows, what it repeats, and what it says when the hub refuses."""

import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from http import HTTPStatus

import aiohttp
import pytest
from aiohttp import web

from inbox_server.client.bucket import Bucket, BucketFailed
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.profile_file import parse_profile, render_profile
from inbox_server.client.storage import InMemory
from inbox_server.http.listening import listening
from inbox_server.world.hub_rules import STRICT
from inbox_server.world.local_world import World, free_socket
from tests.conftest import APP, HandClock
from tests.support.clients import client_of, opened, profile_of
from tests.support.requests import new_key


def _bucket(client: InboxClient) -> Bucket:
    return client.account.user.bucket


async def test_a_challenge_that_changes_is_asked_for_anew_once(world: World, alice: InboxClient) -> None:
    await _bucket(alice).write("a.json", b"1")
    world.hub.challenge = '["gaiahub","0","another","blockstack_storage_please_sign"]'
    await _bucket(alice).write("a.json", b"2")
    assert await _bucket(alice).read("a.json") == b"2"


@pytest.mark.parametrize("ahead", [-86_400, 86_400])
async def test_a_clock_that_is_wrong_makes_tokens_by_the_hub_s(world: World, ahead: int) -> None:
    profile = InMemory(profile_of(world, await world.settle("alice.id", APP)))
    async with opened(world, profile, ahead=ahead) as alice:
        await _bucket(alice).write("a.json", b"1")
        await _bucket(alice).write("a.json", b"2")
        assert await _bucket(alice).read("a.json") == b"2"


@pytest.mark.parametrize("hub_rules", [STRICT])
async def test_a_strict_hub_takes_what_is_written_also_after_revoking_all(
    world: World, alice: InboxClient, clock: HandClock
) -> None:
    await _bucket(alice).write("a.json", b"1")
    clock.advance(1)
    world.hub.oldest_valid[_bucket(alice).key.address] = clock()
    await _bucket(alice).write("a.json", b"2")
    assert await _bucket(alice).read("a.json") == b"2"
    alice.account.profile.change(lambda profile: replace(profile, association=None))
    async with opened(world, alice.account.profile) as unknown:
        with pytest.raises(BucketFailed, match=r"401 to storing a\.json without an association token: Address \w+ not"):
            await _bucket(unknown).write("a.json", b"3")


@pytest.mark.parametrize("status", [409, 429, 503])
async def test_a_hub_that_is_busy_once_is_asked_once_more(world: World, status: int) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    profile = InMemory(profile_of(world, await world.settle("alice.id", APP)))
    async with opened(world, profile, sleep=sleep) as alice:
        world.faults.refused_writes.append((status, 1))
        await _bucket(alice).write("a.json", b"1")
        world.faults.refused_writes += [(status, 2), (status, 2), (status, 3600)]
        with pytest.raises(BucketFailed, match=f"answered {status} to storing a.json: Not now"):
            await _bucket(alice).write("a.json", b"2")
        with pytest.raises(BucketFailed):
            await _bucket(alice).write("a.json", b"2")
    assert waited == [1, 2]


class OddHub:
    """A hub that answers what a test says, and notes the tokens that it gets."""

    def __init__(self, status: int, body: str, content_type: str) -> None:
        self.answer = status, body, content_type
        self.claims: list[dict[str, object]] = []

    async def info(self, _: web.Request) -> web.Response:
        return web.json_response({"challenge_text": "x", "read_url_prefix": "http://127.0.0.1:1/"})

    async def store(self, request: web.Request) -> web.Response:
        token = request.headers["Authorization"].removeprefix("bearer v1:")
        payload = token.split(".")[1]
        self.claims.append(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))
        status, body, content_type = self.answer
        return web.Response(status=status, text=body.replace("TOKEN", token), content_type=content_type)


@contextlib.asynccontextmanager
async def _odd(hub: OddHub, session: aiohttp.ClientSession, clock: HandClock) -> AsyncIterator[Bucket]:
    app = web.Application()
    app.router.add_get("/hub_info", hub.info)
    app.router.add_post("/store/{path:.+}", hub.store)
    with free_socket() as bound:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        async with listening(app, bound):
            yield Bucket(session, url, "http://127.0.0.1:1/", new_key(), bytes(16), "a.b.c", clock)


@pytest.mark.parametrize(
    ("status", "body", "content_type", "words"),
    [
        (401, '{"message": "Not allowed here"}', "application/json", "Not allowed here"),
        (413, '{"message": "' + "x" * 500 + '"}', "application/json", "x" * 200),
        (413, "<html>no</html>", "text/html", HTTPStatus(413).phrase),
        (500, "out of\n order", "text/plain", "out of order"),
        (402, '{"message": "a\\u001b[2J\\u202eb"}', "application/json", "a\ufffd[2J\ufffdb"),
        (401, '{"message": "bad: TOKEN a.b.c"}', "application/json", "bad: (token) (token)"),
        (401, "[1", "application/json", "Unauthorized"),
    ],
)
async def test_the_hub_s_words_are_told_short_and_plain(
    world: World, clock: HandClock, status: int, body: str, content_type: str, words: str
) -> None:
    hub = OddHub(status, body, content_type)
    async with _odd(hub, world.session, clock) as bucket:
        with pytest.raises(BucketFailed) as failed:
            await bucket.write("a.json", b"1")
    assert str(failed.value) == f"the hub {bucket.hub} answered {status} to storing a.json: {words}"
    assert len(hub.claims) == (2 if status == 401 else 1)
    assert hub.claims[0] == {
        "gaiaChallenge": "x",
        "hubUrl": bucket.hub,
        "iss": bucket.key.public,
        "salt": bytes(16).hex(),
        "iat": clock(),
        "exp": clock() + 600,
        "associationToken": "a.b.c",
    }


async def test_a_token_is_used_for_nine_minutes(world: World, clock: HandClock) -> None:
    hub, start = OddHub(202, '{"publicURL": "http://127.0.0.1:1/a.json"}', "application/json"), clock()
    async with _odd(hub, world.session, clock) as bucket:
        for passing in (0, 539, 1, 10, -100):
            clock.advance(passing)
            await bucket.write("a.json", b"1")
    assert [claims["iat"] for claims in hub.claims] == [start, start, start + 540, start + 540, start + 450]


@pytest.mark.parametrize("hub_rules", [STRICT])
async def test_a_profile_keeps_an_association_token_and_hides_it(world: World) -> None:
    profile = profile_of(world, await world.settle("alice.id", APP))
    token = profile.association
    assert token
    assert token not in repr(profile)
    assert parse_profile(render_profile(profile)).association == token
    with pytest.raises(ValueError, match="of the wrong type"):
        parse_profile(render_profile(replace(profile, association="one.two")))


@pytest.mark.parametrize(("redirects", "is_gzipped"), [(1, False), (2, False), (0, True), (2, True)])
async def test_a_hub_that_moved_or_compresses_is_read(
    world: World, alice: InboxClient, redirects: int, is_gzipped: bool
) -> None:
    async with client_of(world, "bob.id", world.inbox_url, app=APP) as bob:
        world.faults.redirects, world.faults.gzip = redirects, is_gzipped
        assert (await alice.send("bob.id", "hello")).stored == (world.inbox_url,)
        (entry,) = (await bob.unread()).entries
        assert (await bob.fetch(entry)).content == "hello"
        await bob.publish((world.inbox_url,))
        assert await bob.catch_up() == ()


async def test_what_carries_a_token_follows_no_redirect(world: World, clock: HandClock) -> None:
    hub = OddHub(307, "", "text/plain")
    async with _odd(hub, world.session, clock) as bucket:
        with pytest.raises(BucketFailed, match="answered 307"):
            await bucket.write("a.json", b"1")
    assert len(hub.claims) == 1
