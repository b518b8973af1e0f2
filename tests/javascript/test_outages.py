"""The JavaScript client in clients/js while hubs and name services fail for a moment, and at a hub that is strict."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from inbox_server.client.appkey import AppKey
from inbox_server.http.listening import listening
from inbox_server.protocol.base64url import encode
from inbox_server.world.hub_rules import STRICT
from inbox_server.world.local_world import World, free_socket
from tests.conftest import APP, HandClock
from tests.support.home_servers import BOT, running_home_server
from tests.support.javascript import Node
from tests.support.pages import Failed, Page, page_of
from tests.support.requests import inbox_server

pytestmark = pytest.mark.timeout(90, func_only=True)


@pytest.fixture
async def pages(node: Node, world: World) -> tuple[Page, Page]:
    """alice.id, who sends, and bob.id, who published and claimed."""
    person = await world.settle("bob.id", APP)
    bob = page_of(node, world, person.app_key, "bob.id")
    await bob.call("publish", [world.inbox_url])
    await bob.call("claim", {"names": ["bob.id"]})
    alice = await world.settle("alice.id", APP)
    return page_of(node, world, alice.app_key, "alice.id"), bob


@pytest.mark.both_hubs
@pytest.mark.parametrize("fault", ["names_absent_until", "names_empty_until", "files_absent_until"])
async def test_what_a_contact_sent_is_read_after_a_lapse(
    pages: tuple[Page, Page], world: World, clock: HandClock, fault: str
) -> None:
    alice, bob = pages
    await alice.call("send", "bob.id", "hello")
    (entry,) = (await bob.call("unread"))["entries"]
    setattr(world.faults, fault, clock() + 2)
    with pytest.raises(Failed) as failed:
        await bob.call("fetch", entry)
    assert failed.value.is_for_now
    clock.advance(2)
    assert await bob.read_all() == ["hello"]


@pytest.mark.parametrize("status", [200, 403, 404, 503])
async def test_a_hub_that_answers_rubbish_makes_no_message_final(
    pages: tuple[Page, Page], world: World, status: int
) -> None:
    alice, bob = pages
    await bob.call("claim", {"accept": "anyone"})
    alice.options = {key: value for key, value in alice.options.items() if key != "name"}  # so that hubs are asked
    await alice.call("send", "bob.id", "hello")

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text="<html>Sign in", content_type="text/html")

    app = web.Application()
    app.router.add_get("/hub_info", answer)
    bound = free_socket()
    async with listening(app, bound):
        (entry,) = (await bob.call("unread"))["entries"]
        hub, rubbish = bob.options["hub"], f"http://127.0.0.1:{bound.getsockname()[1]}"
        bob.options = {**bob.options, "hub": rubbish}
        with pytest.raises(Failed, match="BucketFailed") as failed:
            await bob.call("fetch", entry)
    assert failed.value.is_for_now
    bob.options = {**bob.options, "hub": hub}
    assert await bob.read_all() == ["hello"]


@pytest.mark.both_hubs
async def test_after_three_days_what_is_missing_is_gone(
    pages: tuple[Page, Page], world: World, clock: HandClock
) -> None:
    alice, bob = pages
    report = await alice.call("send", "bob.id", "hello")
    (entry,) = (await bob.call("unread"))["entries"]
    address = AppKey.from_hex(alice.options["privateKey"]).address
    world.hub.delete(address, f"outbox/{report['id']}.json")
    for ahead, passes, is_for_now in ((0, 0, True), (4, 0, True), (0, 3, False)):  # a clock that jumps ends nothing
        clock.advance(passes * 86_400)
        with pytest.raises(Failed, match="Absent") as failed:
            await bob.call("fetch", entry, clock_ahead=ahead * 86_400)
        assert failed.value.is_for_now is is_for_now


@pytest.mark.both_hubs
async def test_a_hub_that_says_not_now_once_stores_all_the_same(pages: tuple[Page, Page], world: World) -> None:
    alice, _ = pages
    world.faults.refused_writes.append((429, 1))
    assert (await alice.call("send", "bob.id", "hello"))["stored"] != []


@pytest.mark.parametrize("hub_rules", [STRICT], ids=["strict"])
async def test_a_strict_hub_takes_the_association_token_that_no_inbox_sees(
    pages: tuple[Page, Page], world: World
) -> None:
    _, bob = pages
    token = bob.options["associationToken"]
    assert await bob.call("unread") == {"entries": [], "problems": []}
    assert not any(token in str(request) for request in bob.requests)
    bob.options = {key: value for key, value in bob.options.items() if key != "associationToken"}
    with pytest.raises(Failed, match=r"BucketFailed: .* 401 to storing key.json without an association token: .+"):
        await bob.call("publish", [world.inbox_url])


async def test_web_push_subscriptions_are_made_listed_and_dropped(pages: tuple[Page, Page], world: World) -> None:
    _, bob = pages
    endpoint = "https://push.example/bobs-phone"
    keys = {"p256dh": encode(bytes.fromhex(_POINT)), "auth": encode(bytes(16))}
    await bob.call("subscribe", world.inbox_url, {"endpoint": endpoint, "expirationTime": None, "keys": keys})
    (listed,) = await bob.call("subscriptions")
    (subscription,) = listed["result"]
    assert subscription["id"] == encode(hashlib.sha256(endpoint.encode()).digest())[:16]
    assert subscription["service"] == "https://push.example"
    await bob.call("unsubscribe", world.inbox_url, {"id": subscription["id"]})
    assert await bob.call("subscriptions") == [{"inbox": world.inbox_url, "result": []}]


async def test_a_matrix_room_is_given_listed_and_dropped(
    node: Node, pages: tuple[Page, Page], world: World, tmp_path: Path
) -> None:
    chat = {"room": "!a-direct-chat"}
    async with running_home_server() as home:
        home.room(chat["room"])
        settings: dict[str, dict[str, Any]] = {
            "registration": {"mode": "open", "open_to_keys": True},
            "notify": {"matrix": home.settings(tmp_path)},
        }
        async with inbox_server(world, tmp_path / "with a bot", settings) as there:
            bob = page_of(node, world, AppKey(b"\7" * 32))
            await bob.call("publish", [there.url])
            await bob.call("claim", {"accept": "anyone"})
            await bob.call("subscribe", there.url, chat)
            (listed,) = await bob.call("subscriptions", "matrix")
            assert [each["service"] for each in listed["result"]] == ["matrix.example"]
            assert BOT in home.rooms[chat["room"]].members
            for which in (chat, None):
                await bob.call("subscribe", there.url, chat)
                await bob.call("unsubscribe", there.url, which, "matrix")
                assert await bob.call("subscriptions", "matrix") == [{"inbox": there.url, "result": []}]
            home.room(chat["room"]).members.discard(BOT)
            with pytest.raises(Failed, match=f"{BOT} is not invited"):
                await bob.call("subscribe", there.url, chat)
    with pytest.raises(Failed, match="does not offer this"):
        await pages[1].call("subscribe", world.inbox_url, chat)


async def test_a_webhook_is_given_listed_and_dropped(pages: tuple[Page, Page], world: World) -> None:
    _, bob = pages
    url = "https://ntfy.example/bobs-topic"
    for which, channel in (({"url": url}, ()), (None, ("webhook",))):
        await bob.call("subscribe", world.inbox_url, {"url": url, "authorization": "Bearer tk_1"})
        (listed,) = await bob.call("subscriptions", "webhook")
        assert [each["service"] for each in listed["result"]] == ["https://ntfy.example"]
        await bob.call("unsubscribe", world.inbox_url, which, *channel)
        assert await bob.call("subscriptions", "webhook") == [{"inbox": world.inbox_url, "result": []}]
    with pytest.raises(Failed, match="`url` is not an https URL"):
        await bob.call("subscribe", world.inbox_url, {"url": url.replace("https", "http")})


# The generator of P-256, which is a point on it.
_POINT = (
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
