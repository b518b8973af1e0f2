"""Web Push from end to end: a browser subscribes, something is delivered, and a push service tells the browser."""

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.clock import DAY_SECONDS
from inbox_server.notify.webpush import PAYLOAD
from inbox_server.protocol.base64url import encode
from inbox_server.protocol.push_subscription import MAX_ENDPOINT_CHARACTERS
from inbox_server.protocol.requests import MAX_SUBSCRIPTIONS
from inbox_server.world.local_world import World
from tests.conftest import HandClock
from tests.support.patience import PATIENCE_SECONDS
from tests.support.push_services import Browser, PushService, body_of, running_push_service
from tests.support.requests import Answer, Bend, Caller, at, check_problem, inbox_server
from tests.support.stores import read_rows

OFTEN: Mapping[str, int] = {"pause_seconds": 1, "jitter_seconds": 0}
SELDOM: Mapping[str, int] = {"pause_seconds": 86_400, "jitter_seconds": 0}


@dataclass(slots=True)
class Scene:
    """A server, a push service that it may reach, and an owner who takes deliveries from anyone."""

    service: PushService
    owner: Caller
    folder: Path

    async def put(self, body: Any, *, owner: Caller | None = None, bend: Bend | None = None) -> Answer:
        return await self._send("PUT", body_of(body), owner or self.owner, bend)

    async def delete(self, body: Any = None, *, owner: Caller | None = None, bend: Bend | None = None) -> Answer:
        return await self._send("DELETE", b"" if body is None else body_of(body), owner or self.owner, bend)

    async def listed(self, *, owner: Caller | None = None, bend: Bend | None = None) -> Answer:
        owner = owner or self.owner
        return await owner.send("GET", "/v1/inbox/push", token=owner.owner_token("read", b"", bend))

    async def _send(self, method: str, body: bytes, owner: Caller, bend: Bend | None) -> Answer:
        return await owner.send(method, "/v1/inbox/push", body, token=owner.owner_token("settings", body, bend))

    async def browser(self, owner: Caller | None = None) -> Browser:
        """One that has subscribed."""
        browser = self.service.subscribe()
        assert (await self.put(browser.subscription(), owner=owner)).status == 204
        return browser

    async def another_owner(self) -> Caller:
        owner = at(self.owner)
        assert (await owner.claim({"accept": "anyone"})).status == 201
        return owner

    async def deliver(self, text: str = "opaque", *, owner: Caller | None = None) -> Answer:
        recipient = (owner or self.owner).key.public
        answer = await at(self.owner).deliver(text, recipient=recipient)
        assert answer.status == 201
        return answer

    async def all_told(self) -> None:
        """Wait for every notification that is due by now: that of an inbox that is told of last comes after them."""
        owner = await self.another_owner()
        last = await self.browser(owner)
        await self.deliver(owner=owner)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not last.heard:
                await self.service.arrivals(len(self.service.pushed) + 1)

    async def shown(self) -> tuple[int, list[str], list[str]]:
        """How many subscriptions the owner has, and the notices, in the settings and in the list."""
        settings, page = (await self.owner.settings()).json(), (await self.owner.unread()).json()
        return settings["push"], settings["notices"], page.get("notices", [])


async def _scene(world: World, folder: Path, notifications: Mapping[str, int]) -> AsyncIterator[Scene]:
    registration = {"mode": "open", "open_to_keys": True, "open_per_hour": 1000}
    async with running_push_service(world.clock) as service:
        settings = {"registration": registration, "notify": notifications, "outgoing": {"allow": [service.url]}}
        async with inbox_server(world, folder, settings) as owner:
            service.vapid_key = (await owner.send("GET", "/.well-known/message-inbox")).json()["push"]["vapid_key"]
            assert (await owner.claim({"accept": "anyone"})).status == 201
            yield Scene(service, owner, folder)


@pytest.fixture
async def scene(world: World, tmp_path: Path) -> AsyncIterator[Scene]:
    async for scene in _scene(world, tmp_path / "pushing", SELDOM):
        yield scene


@pytest.fixture
async def eager(world: World, tmp_path: Path) -> AsyncIterator[Scene]:
    """With so short a pause that a second notification can be waited for."""
    async for scene in _scene(world, tmp_path / "pushing", OFTEN):
        yield scene


async def test_every_browser_that_subscribed_is_told_and_no_other(scene: Scene) -> None:
    browsers = [await scene.browser() for _ in range(3)]
    stranger = await scene.browser(await scene.another_owner())
    await scene.deliver()
    await scene.service.arrivals(3)
    await scene.all_told()
    assert [browser.heard for browser in browsers] == [[PAYLOAD]] * 3
    assert stranger.heard == []


async def test_a_push_message_says_who_sends_it_and_nothing_of_what_waits(scene: Scene) -> None:
    await scene.browser()
    receipt = (await scene.deliver("some opaque text")).json()
    (pushed,) = await scene.service.arrivals(1)
    assert pushed.claims.keys() == {"aud", "exp", "sub"}
    assert pushed.claims["sub"] == scene.owner.url
    told = pushed.body + repr((pushed.path, pushed.headers, pushed.claims)).encode()
    for secret in ("some opaque text", receipt["id"], scene.owner.key.address, scene.owner.key.public, scene.owner.app):
        assert secret.encode() not in told


async def test_all_push_messages_are_of_one_size_whatever_came(scene: Scene) -> None:
    for text in ("x", "y" * 1024):
        owner = await scene.another_owner()
        await scene.browser(owner)
        await scene.deliver(text, owner=owner)
    pushed = await scene.service.arrivals(2)
    assert len({len(each.body) for each in pushed}) == 1
    assert pushed[0].headers.keys() == pushed[1].headers.keys()


async def test_a_flood_of_deliveries_is_one_push_message_a_pause(scene: Scene) -> None:
    browser = await scene.browser()
    for number in range(60):
        await scene.deliver(f"{number}")
    await scene.all_told()
    assert len(browser.heard) == 1


async def test_after_the_pause_there_is_another(eager: Scene) -> None:
    browser = await eager.browser()
    await eager.deliver("one")
    await eager.service.arrivals(1)
    await eager.deliver("two")
    await eager.service.arrivals(2)
    assert len(browser.heard) == 2


async def test_a_repeat_is_not_news(scene: Scene) -> None:
    sender = at(scene.owner)
    assert (await sender.deliver("once", recipient=scene.owner.key.public)).status == 201
    browser = await scene.browser()
    assert (await sender.deliver("once", recipient=scene.owner.key.public)).status == 200
    await scene.all_told()
    assert browser.heard == []


async def test_a_refused_delivery_is_not_news(scene: Scene) -> None:
    browser = await scene.browser()
    await scene.owner.claim({"accept": "nobody"})
    check_problem(await at(scene.owner).deliver("x", recipient=scene.owner.key.public), "not_accepted")
    await scene.all_told()
    assert browser.heard == []


@pytest.mark.parametrize("status", [404, 410])
async def test_a_dead_subscription_is_dropped_and_its_owner_told(scene: Scene, status: int) -> None:
    living, dead = await scene.browser(), await scene.browser()
    assert await scene.shown() == (2, [], [])
    scene.service.gone = status
    del scene.service.browsers[dead.endpoint.removeprefix(scene.service.url)]
    await scene.deliver()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await scene.shown() != (1, ["push_gone"], ["push_gone"]):
            pass
    assert (living.heard, dead.heard) == ([PAYLOAD], [])


@pytest.mark.parametrize("clear", ["PUT", "DELETE"])
async def test_the_notice_goes_when_the_owner_changes_subscriptions(scene: Scene, clear: str) -> None:
    await scene.browser()
    scene.service.browsers.clear()
    await scene.deliver()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await scene.shown() != (0, ["push_gone"], ["push_gone"]):
            pass
    if clear == "PUT":
        await scene.browser()
    else:
        assert (await scene.delete()).status == 204
    assert await scene.shown() == (int(clear == "PUT"), [], [])


@pytest.mark.parametrize("status", [400, 401, 403, 413, 500, 503])
async def test_a_push_service_that_fails_loses_the_hint_and_nothing_else(eager: Scene, status: int) -> None:
    browser = await eager.browser()
    eager.service.status = status
    await eager.deliver("one")
    await eager.service.arrivals(1)
    eager.service.status = 201
    await eager.deliver("two")
    await eager.service.arrivals(2)
    assert browser.heard == [PAYLOAD]
    assert await eager.shown() == (1, [], [])
    assert sorted(await eager.owner.texts()) == ["one", "two"]


async def test_a_push_service_that_hangs_holds_no_delivery_up(scene: Scene) -> None:
    await scene.browser()
    scene.service.hanging = True
    await scene.deliver("one")
    await scene.service.arrivals(1)
    started = time.monotonic()
    await scene.deliver("two")
    assert time.monotonic() - started < 2
    assert await scene.owner.texts() == ["one", "two"]


GOOD = Browser("https://push.example/x").subscription()


def without(*path: str) -> dict[str, Any]:
    bent: dict[str, Any] = {**GOOD, "keys": dict(GOOD["keys"])}
    inner = bent
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    return bent


def with_keys(**keys: Any) -> dict[str, Any]:
    return {**GOOD, "keys": {**GOOD["keys"], **keys}}


@pytest.mark.parametrize(
    ("body", "member"),
    [
        (without("endpoint"), "endpoint"),
        (without("keys"), "keys"),
        (without("keys", "auth"), "keys"),
        (without("keys", "p256dh"), "keys"),
        (with_keys(more="x"), "keys"),
        ({**GOOD, "keys": []}, "keys"),
        ({**GOOD, "name": "my telephone"}, "body"),
        ({**GOOD, "expirationTime": True}, "expirationTime"),
        ({**GOOD, "expirationTime": "never"}, "expirationTime"),
        ([], "body"),
        (with_keys(auth=encode(bytes(15))), "auth"),
        (with_keys(auth=encode(bytes(17))), "auth"),
        (with_keys(auth=encode(bytes(16)) + "=="), "auth"),
        (with_keys(auth=1), "auth"),
        (with_keys(p256dh=None), "p256dh"),
        (with_keys(p256dh="+" + GOOD["keys"]["p256dh"][1:]), "p256dh"),
        (with_keys(p256dh=encode(bytes(65))), "p256dh"),
        (with_keys(p256dh=encode(b"\4" + b"\1" * 64)), "p256dh"),
        (with_keys(p256dh=AppKey(b"\1" * 32).public), "p256dh"),
        ({**GOOD, "endpoint": 1}, "endpoint"),
        ({**GOOD, "endpoint": ""}, "endpoint"),
        ({**GOOD, "endpoint": "https://push.example/" + "x" * MAX_ENDPOINT_CHARACTERS}, "endpoint"),
    ],
)
async def test_a_subscription_that_cannot_be_used_is_refused_by_its_member(
    scene: Scene, body: Any, member: str
) -> None:
    check_problem(await scene.put(body), "bad_request", member)
    assert await scene.shown() == (0, [], [])


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://push.example/x",
        "https://push.example:8443/x",
        "https://push.example/x#y",
        "https://user@push.example/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://10.0.0.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://0x7f000001/x",
        "https://localhost/x",
        "https://router.lan/x",
        "https://push/x",
        "https://push.internal/x",
        "https://push.example\\@127.0.0.1/",
        "https://püsh.example/x",
        "ftp://push.example/x",
        "//push.example/x",
        "javascript:alert(1)",
    ],
)
async def test_an_endpoint_where_no_push_service_can_be_is_refused(scene: Scene, endpoint: str) -> None:
    problem = check_problem(await scene.put({**GOOD, "endpoint": endpoint}), "bad_request", "endpoint")
    assert endpoint not in problem["detail"]


async def test_an_endpoint_may_be_as_long_as_any_is(scene: Scene) -> None:
    endpoint = "https://push.example/".ljust(MAX_ENDPOINT_CHARACTERS, "x")
    assert (await scene.put({**GOOD, "endpoint": endpoint})).status == 204


async def test_the_ninth_browser_is_refused_and_one_of_the_eight_may_come_again(scene: Scene) -> None:
    browsers = [await scene.browser() for _ in range(MAX_SUBSCRIPTIONS)]
    one_more = scene.service.subscribe()
    detail = check_problem(await scene.put(one_more.subscription()), "bad_request", "endpoint")["detail"]
    assert "GET /v1/inbox/push" in detail
    assert "its `id`" in detail
    assert (await scene.put(browsers[3].subscription())).status == 204
    assert (await scene.delete({"endpoint": browsers[3].endpoint})).status == 204
    assert (await scene.put(one_more.subscription())).status == 204
    assert (await scene.shown())[0] == MAX_SUBSCRIPTIONS


def short_id(browser: Browser) -> str:
    """As the protocol has a client make it."""
    return base64.urlsafe_b64encode(hashlib.sha256(browser.endpoint.encode()).digest()).decode()[:16]


async def test_a_stale_subscription_is_told_apart_and_dropped_by_its_short_id(scene: Scene, clock: HandClock) -> None:
    stale, living = await scene.browser(), await scene.browser()
    clock.advance(40 * DAY_SECONDS)
    await scene.put(living.subscription())
    stranger = await scene.browser(await scene.another_owner())
    listed = (await scene.listed()).json()["subscriptions"]
    assert [each["id"] for each in listed] == [short_id(stale), short_id(living)]
    assert listed[1]["since"] - listed[0]["since"] == 40 * DAY_SECONDS
    assert clock() - listed[1]["since"] < DAY_SECONDS
    assert {each["service"] for each in listed} == {scene.service.url}
    for id in (short_id(stale), short_id(stranger), "x"):
        assert (await scene.delete({"id": id})).status == 204
    assert [each["id"] for each in (await scene.listed()).json()["subscriptions"]] == [short_id(living)]


async def test_the_list_shows_nothing_that_could_be_pushed_with(scene: Scene) -> None:
    browser = await scene.browser()
    shown = (await scene.listed()).body.decode()
    for secret in (browser.endpoint, *browser.subscription()["keys"].values()):
        assert secret not in shown
    check_problem(await scene.listed(owner=at(scene.owner)), "no_inbox")
    check_problem(await scene.listed(bend={"scope": "settings"}), "bad_token", "scope")


async def test_who_unsubscribed_is_not_told(scene: Scene) -> None:
    left, stayed = await scene.browser(), await scene.browser()
    for _ in range(2):
        assert (await scene.delete({"endpoint": left.endpoint})).status == 204
    await scene.deliver()
    await scene.all_told()
    assert (left.heard, stayed.heard) == ([], [PAYLOAD])
    assert (await scene.delete()).status == 204
    assert (await scene.shown())[0] == 0


@pytest.mark.parametrize(
    ("body", "member"),
    [
        ({}, "endpoint"),
        ({"endpoint": 1}, "endpoint"),
        ({"id": 1}, "id"),
        ({"endpoint": "x", "id": "x"}, "endpoint"),
        ({"endpoint": "x", "all": True}, "body"),
    ],
)
async def test_what_to_unsubscribe_is_said_clearly(scene: Scene, body: Any, member: str) -> None:
    await scene.browser()
    check_problem(await scene.delete(body), "bad_request", member)
    assert (await scene.shown())[0] == 1


def _methods(scene: Scene) -> list[Callable[..., Any]]:
    return [lambda **bent: scene.put(GOOD, **bent), lambda **bent: scene.delete(**bent)]


async def test_the_token_is_a_settings_token_of_this_inbox(scene: Scene, world: World, clock: HandClock) -> None:
    older = {"iat": clock() - 60, "exp": clock() + 100}
    for ask in _methods(scene):
        check_problem(await ask(bend={"scope": "read"}), "bad_token", "scope")
        check_problem(await ask(bend={"digest": encode(bytes(32))}), "bad_token", "digest")
        check_problem(await ask(bend={"app": "https://other.example"}), "bad_token", "app")
        check_problem(await ask(bend=older), "stale_token")
        check_problem(await ask(owner=at(scene.owner)), "no_inbox")
    assert await scene.shown() == (0, [], [])


async def test_an_older_subscription_does_not_undo_later_settings(scene: Scene, clock: HandClock) -> None:
    body = body_of(GOOD)
    token = scene.owner.owner_token("settings", body)
    clock.advance(10)
    assert (await scene.owner.claim({"retention": 3600})).status == 200
    check_problem(await scene.owner.send("PUT", "/v1/inbox/push", body, token=token), "stale_token")


async def test_giving_the_inbox_up_ends_its_subscriptions(scene: Scene, clock: HandClock) -> None:
    browser = await scene.browser()
    clock.advance(1)
    assert (await scene.owner.give_up()).status == 204
    assert read_rows(scene.folder, "SELECT count(*) FROM subscription") == [(0,)]
    clock.advance(1)
    assert (await scene.owner.claim({"accept": "anyone"})).status == 201
    assert await scene.shown() == (0, [], [])
    await scene.deliver()
    await scene.all_told()
    assert browser.heard == []


async def test_the_database_shows_no_endpoint_nor_keys(scene: Scene) -> None:
    browser = await scene.browser()
    await scene.deliver()
    await scene.service.arrivals(1)
    subscription = browser.subscription()
    content = b"".join(path.read_bytes() for path in scene.folder.rglob("*") if path.is_file())
    point = browser.key.public_key().public_numbers().x.to_bytes(32, "big")
    marks = [browser.endpoint.encode(), scene.service.url.encode(), browser.auth, point]
    marks += [text.encode() for text in subscription["keys"].values()]
    assert b"opaque" in content
    assert [mark for mark in marks if mark in content] == []
    ((size,),) = read_rows(scene.folder, "SELECT DISTINCT length(sealed) FROM subscription")
    assert size > MAX_ENDPOINT_CHARACTERS


async def test_two_servers_of_one_secret_have_one_key_and_of_another_another(scene: Scene, world: World) -> None:
    async def key_of(url: str) -> str:
        async with world.session.get(f"{url}/.well-known/message-inbox") as response:
            key: str = (await response.json())["push"]["vapid_key"]
            return key

    assert await key_of(scene.owner.url) == scene.service.vapid_key != await key_of(world.inbox_url)
