"""An owner's own webhook from end to end: a URL such as a topic of ntfy is handed over, and told of what comes."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from inbox_server.http.app_keys import METRICS
from inbox_server.notify.owners_webhook import MAX_AUTHORIZATION_CHARACTERS, MAX_URL_CHARACTERS
from inbox_server.world.local_world import World
from tests.support.ntfy import Ntfy, running_ntfy
from tests.support.patience import PATIENCE_SECONDS
from tests.support.push_services import body_of
from tests.support.requests import Answer, Caller, at, check_problem, inbox_app
from tests.support.stores import read_rows

TOKEN = "tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2"
LINE = "Something waits in your inbox."


@dataclass(slots=True)
class Scene:
    """A server, an ntfy that it may reach, and an owner who takes deliveries from anyone."""

    ntfy: Ntfy
    owner: Caller
    app: web.Application
    folder: Path

    async def send(self, method: str, content: Any = None, owner: Caller | None = None) -> Answer:
        owner, body = owner or self.owner, b"" if content is None else body_of(content)
        token = owner.owner_token("read" if method == "GET" else "settings", body)
        return await owner.send(method, "/v1/inbox/webhook", None if method == "GET" else body, token=token)

    async def subscribe(self, topic: str = "bobs-topic", **more: str) -> str:
        url = f"{self.ntfy.url}/{topic}"
        assert (await self.send("PUT", {"url": url, **more})).status == 204
        return url

    async def deliver(self, text: str, owner: Caller | None = None) -> None:
        recipient = (owner or self.owner).key.public
        assert (await at(self.owner).deliver(text, recipient=recipient)).status == 201

    async def another(self) -> Caller:
        other = at(self.owner)
        assert (await other.claim({"accept": "anyone"})).status == 201
        return other

    async def shown(self) -> tuple[int, list[str]]:
        """How many URLs the owner has, and the notices."""
        settings = (await self.owner.settings()).json()
        return settings["webhook"], settings["notices"]

    async def until_shown(self, expected: tuple[int, list[str]]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.shown() != expected:
                pass

    async def until_counted(self, outcome: str) -> None:
        line = f'inbox_notifications_total{{channel="webhook",outcome="{outcome}"}} 1.0'
        async with asyncio.timeout(PATIENCE_SECONDS):
            while line not in self.app[METRICS].text().decode():
                await self.shown()


@pytest.fixture
async def scene(world: World, tmp_path: Path) -> AsyncIterator[Scene]:
    async with running_ntfy() as ntfy:
        settings: dict[str, dict[str, Any]] = {
            "registration": {"mode": "open", "open_to_keys": True},
            "notify": {"pause_seconds": 86_400, "jitter_seconds": 0, "webhook_url": f"{ntfy.url}/of-the-operator"},
            "outgoing": {"allow": [ntfy.url]},
        }
        folder = tmp_path / "telling"
        async with inbox_app(world, folder, settings) as (owner, app):
            assert (await owner.claim({"accept": "anyone"})).status == 201
            yield Scene(ntfy, owner, app, folder)


async def test_a_topic_shows_that_something_waits_and_nothing_of_it(scene: Scene) -> None:
    await scene.subscribe()
    assert await scene.shown() == (1, [])
    await scene.deliver("some opaque text")
    await scene.until_counted("sent")
    assert scene.ntfy.shown["bobs-topic"] == [LINE]
    told = repr(scene.ntfy.asked)
    for secret in ("opaque", scene.owner.key.address, scene.owner.key.public, scene.owner.app):
        assert secret not in told


async def test_the_operators_webhook_is_another_one_and_counted_apart(scene: Scene) -> None:
    await scene.deliver("one")
    await scene.ntfy.arrivals(1)
    assert scene.ntfy.shown == {"of-the-operator": [LINE]}
    assert 'channel="operator_webhook",outcome="sent"' in scene.app[METRICS].text().decode()
    assert 'inbox_notifications_total{channel="webhook",outcome="sent"} 0.0' in scene.app[METRICS].text().decode()


async def test_many_deliveries_make_one_line_in_each_pause(scene: Scene) -> None:
    await scene.subscribe()
    for number in range(10):
        await scene.deliver(f"{number}")
    await scene.until_counted("sent")
    assert scene.ntfy.shown["bobs-topic"] == [LINE]


async def test_a_closed_topic_gets_the_header_and_the_path_and_query_as_they_are_written(scene: Scene) -> None:
    scene.ntfy.tokens["closed"] = TOKEN
    await scene.subscribe("closed?email=bob%40example.org&%zz", authorization=f"Bearer {TOKEN}")
    await scene.deliver("one")
    await scene.until_counted("sent")
    assert scene.ntfy.shown["closed"] == [LINE]
    assert "/closed?email=bob%40example.org&%zz" in [each.target for each in scene.ntfy.asked]


async def test_a_new_url_takes_the_place_of_the_old_one_and_none_is_told_after_delete(scene: Scene) -> None:
    old = await scene.subscribe("old", authorization="Bearer x")
    url = await scene.subscribe("new")
    (listed,) = (await scene.send("GET")).json()["subscriptions"]
    assert listed.keys() == {"id", "service", "since"}
    assert listed["service"] == scene.ntfy.url
    await scene.deliver("one")
    await scene.until_counted("sent")
    assert scene.ntfy.shown["new"] == [LINE]
    assert "old" not in scene.ntfy.shown
    assert (await scene.send("DELETE", {"url": old})).status == 204  # that one is not there any more
    assert (await scene.shown())[0] == 1
    assert (await scene.send("DELETE", {"url": url})).status == 204
    assert (await scene.shown())[0] == 0
    await scene.subscribe()
    assert (await scene.send("DELETE", {"id": listed["id"]})).status == 204
    for _ in range(2):
        assert (await scene.send("DELETE")).status == 204
    assert (await scene.shown())[0] == 0


async def test_only_owners_who_asked_for_it_are_told(scene: Scene) -> None:
    other = await scene.another()
    await scene.subscribe()
    await scene.deliver("for the other", other)
    await scene.deliver("for the owner")
    await scene.until_counted("sent")
    assert scene.ntfy.shown["bobs-topic"] == [LINE]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_url_that_is_gone_or_refuses_the_header_is_dropped_with_a_notice(scene: Scene, status: int) -> None:
    await scene.subscribe()
    scene.ntfy.status = status
    await scene.deliver("one")
    await scene.until_shown((0, ["webhook_gone"]))
    assert (await scene.owner.unread()).json()["notices"] == ["webhook_gone"]
    await scene.subscribe()
    assert await scene.shown() == (1, [])


@pytest.mark.parametrize("status", [302, 400, 405, 413, 429, 500, 503, 507])
async def test_a_host_in_trouble_loses_the_line_and_nothing_else(scene: Scene, status: int) -> None:
    await scene.subscribe()
    scene.ntfy.status = status
    await scene.deliver("one")
    await scene.until_counted("failed")
    assert await scene.shown() == (1, [])
    assert {each.target for each in scene.ntfy.asked} <= {"/bobs-topic", "/of-the-operator"}


URL = "https://ntfy.example/topic"


@pytest.mark.parametrize(
    ("content", "member"),
    [
        ({}, "url"),
        ({"authorization": "Bearer x"}, "url"),
        ({"url": 1}, "url"),
        ({"url": "http://ntfy.example/topic"}, "url"),
        ({"url": "https://ntfy.example:8443/topic"}, "url"),
        ({"url": "https://127.0.0.1/topic"}, "url"),
        ({"url": "https://ntfy.localhost/topic"}, "url"),
        ({"url": "https://bob:password@ntfy.example/topic"}, "url"),
        ({"url": "https://ntfy.example/é"}, "url"),
        ({"url": URL.ljust(MAX_URL_CHARACTERS + 1, "x")}, "url"),
        ({"url": URL, "authorization": ""}, "authorization"),
        ({"url": URL, "authorization": None}, "authorization"),
        ({"url": URL, "authorization": "Bearer x "}, "authorization"),
        ({"url": URL, "authorization": "Bearer x\r\nX-More: 1"}, "authorization"),
        ({"url": URL, "authorization": "Bearer é"}, "authorization"),
        ({"url": URL, "authorization": "x" * (MAX_AUTHORIZATION_CHARACTERS + 1)}, "authorization"),
        ({"url": URL, "method": "GET"}, "body"),
    ],
)
async def test_what_cannot_be_told_is_refused_by_its_member(scene: Scene, content: Any, member: str) -> None:
    answer = await scene.send("PUT", content)
    check_problem(answer, "bad_request", member)
    assert "password" not in answer.json()["detail"]
    assert await scene.shown() == (0, [])


async def test_handing_over_a_url_asks_nobody(scene: Scene) -> None:
    await scene.subscribe()
    check_problem(await scene.send("PUT", {"url": f"{scene.ntfy.url}/x"}, at(scene.owner)), "no_inbox")
    assert scene.ntfy.asked == []


async def test_the_database_shows_neither_url_nor_header(scene: Scene) -> None:
    sizes: set[tuple[int]] = set()
    longest = ("t" * (MAX_URL_CHARACTERS - len(scene.ntfy.url) - 1), "h" * MAX_AUTHORIZATION_CHARACTERS)
    for topic, header in (("bobs-topic", ""), longest):
        await scene.subscribe(topic, **({"authorization": header} if header else {}))
        kept = b"".join(path.read_bytes() for path in scene.folder.iterdir() if path.is_file())
        assert topic.encode() not in kept
        assert not header or header.encode() not in kept
        sizes.add(*read_rows(scene.folder, "SELECT length(sealed) FROM subscription"))
    assert len(sizes) == 1
