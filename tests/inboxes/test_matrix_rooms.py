"""Matrix from end to end: an owner hands over a room, something is delivered, and the bot says so there."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from inbox_server.config.config import BadConfig
from inbox_server.config.file import parse_config
from inbox_server.config.secret import MATRIX_CREDENTIAL, BadSecret, read_matrix_token
from inbox_server.http.app_keys import METRICS
from inbox_server.notify.channel import TEXT
from inbox_server.world.local_world import World
from tests.support.home_servers import BOB, BOT, TOKEN, HomeServer, running_home_server
from tests.support.patience import PATIENCE_SECONDS
from tests.support.push_services import body_of
from tests.support.requests import Answer, Caller, at, check_problem, inbox_app
from tests.support.stores import read_rows

CHAT = "!a-direct-chat"


@dataclass(slots=True)
class Scene:
    """A server with a bot, and an owner who takes deliveries from anyone."""

    home: HomeServer
    owner: Caller
    app: web.Application
    folder: Path

    async def send(self, method: str, content: Any = None, owner: Caller | None = None) -> Answer:
        owner, body = owner or self.owner, b"" if content is None else body_of(content)
        token = owner.owner_token("read" if method == "GET" else "settings", body)
        return await owner.send(method, "/v1/inbox/matrix", None if method == "GET" else body, token=token)

    async def deliver(self, text: str, owner: Caller | None = None) -> None:
        recipient = (owner or self.owner).key.public
        assert (await at(self.owner).deliver(text, recipient=recipient)).status == 201

    async def shown(self, owner: Caller | None = None) -> tuple[int, list[str]]:
        """How many rooms the owner has, and the notices."""
        settings = (await (owner or self.owner).settings()).json()
        return settings["matrix"], settings["notices"]

    async def until_shown(self, expected: tuple[int, list[str]]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.shown() != expected:
                pass


def token_file(folder: Path, token: str = TOKEN, mode: int = 0o600) -> Path:
    path = folder / "matrix-token"
    path.touch(mode)
    path.write_text(token + "\n")
    path.chmod(mode)
    return path


@pytest.fixture
async def scene(world: World, tmp_path: Path) -> AsyncIterator[Scene]:
    async with running_home_server() as home:
        settings = {
            "registration": {"mode": "open", "open_to_keys": True},
            "notify": {
                "pause_seconds": 86_400,
                "jitter_seconds": 0,
                "matrix": home.settings(tmp_path),
            },
        }
        folder = tmp_path / "telling"
        async with inbox_app(world, folder, settings) as (owner, app):
            assert (await owner.claim({"accept": "anyone"})).status == 201
            home.room(CHAT)
            yield Scene(home, owner, app, folder)


async def test_the_capability_document_names_the_bot(scene: Scene, world: World) -> None:
    document = (await scene.owner.send("GET", "/.well-known/message-inbox")).json()
    assert document["matrix"] == {"user_id": BOT}
    assert "matrix" in document["features"]
    async with world.session.get(f"{world.inbox_url}/.well-known/message-inbox") as answer:
        without = await answer.json()
    assert "matrix" not in without["features"]
    assert "matrix" not in without


async def test_a_server_without_a_bot_has_no_such_route(world: World, scene: Scene) -> None:
    other = Caller(world.session, world.inbox_url, scene.owner.key, world.clock)
    token = other.owner_token("settings", b"{}")
    check_problem(await other.send("PUT", "/v1/inbox/matrix", b"{}", token=token), "not_found")


async def test_an_owner_is_told_in_the_room_and_nothing_of_what_waits(scene: Scene) -> None:
    assert (await scene.send("PUT", {"room": CHAT})).status == 204
    assert await scene.shown() == (1, [])
    await scene.deliver("some opaque text")
    await scene.home.until_asked("/send/m.room.message/")
    assert scene.home.rooms[CHAT].lines == [{"msgtype": "m.text", "body": TEXT.decode()}]
    told = repr(scene.home.asked)
    for secret in ("opaque", scene.owner.key.address, scene.owner.key.public, scene.owner.app):
        assert secret not in told


async def test_only_owners_who_asked_for_it_are_told(scene: Scene) -> None:
    other = at(scene.owner)
    assert (await other.claim({"accept": "anyone"})).status == 201
    await scene.send("PUT", {"room": CHAT})
    await scene.deliver("for the other", other)
    await scene.deliver("for the owner")
    await scene.home.until_asked("/send/")
    assert len(scene.home.rooms[CHAT].lines) == 1


async def test_a_new_room_takes_the_place_of_the_old_one_and_none_is_told_after_delete(scene: Scene) -> None:
    scene.home.room("!another")
    for room in (CHAT, "!another"):
        assert (await scene.send("PUT", {"room": room})).status == 204
    assert await scene.shown() == (1, [])
    listed = (await scene.send("GET")).json()["subscriptions"]
    assert [each["service"] for each in listed] == ["matrix.example"]
    assert "!another" not in repr(listed)
    await scene.deliver("one")
    await scene.home.until_asked("/send/")
    assert [len(scene.home.rooms[room].lines) for room in (CHAT, "!another")] == [0, 1]
    assert (await scene.send("DELETE", {"room": CHAT})).status == 204  # that one is not there any more
    assert (await scene.shown())[0] == 1
    for _ in range(2):
        assert (await scene.send("DELETE")).status == 204
    assert await scene.shown() == (0, [])


@pytest.mark.parametrize("by", ["room", "id"])
async def test_a_room_is_taken_away_by_its_name_or_short_id(scene: Scene, by: str) -> None:
    await scene.send("PUT", {"room": CHAT})
    id = (await scene.send("GET")).json()["subscriptions"][0]["id"]
    assert (await scene.send("DELETE", {by: {"room": CHAT, "id": id}[by]})).status == 204
    assert (await scene.shown())[0] == 0


async def test_an_owner_who_put_the_bot_out_gets_a_notice_until_the_next_change(scene: Scene) -> None:
    await scene.send("PUT", {"room": CHAT})
    room = scene.home.rooms[CHAT]
    room.members.discard(BOT)
    await scene.deliver("one")
    await scene.until_shown((0, ["matrix_gone"]))
    assert (await scene.owner.unread()).json()["notices"] == ["matrix_gone"]
    room.invited.add(BOT)
    assert (await scene.send("PUT", {"room": CHAT})).status == 204
    assert await scene.shown() == (1, [])


async def test_a_bot_that_is_not_known_drops_no_room_and_is_counted(scene: Scene) -> None:
    await scene.send("PUT", {"room": CHAT})
    scene.home.token = "another"
    await scene.deliver("one")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while 'inbox_notifications_total{channel="matrix",outcome="stopped"} 1.0' not in metrics_of(scene):
            assert await scene.shown() == (1, [])
    check_problem(await scene.send("PUT", {"room": CHAT}), "channel_unavailable")


def metrics_of(scene: Scene) -> str:
    return scene.app[METRICS].text().decode()


async def test_a_room_that_cannot_be_told_is_refused_by_its_member(scene: Scene) -> None:
    for content in ({}, {"room": 1}, {"room": "#a:b"}, {"room": "!nowhere"}):
        check_problem(await scene.send("PUT", content), "bad_request", "room")
    check_problem(await scene.send("PUT", {"room": CHAT, "more": 1}), "bad_request", "body")
    assert await scene.shown() == (0, [])


async def test_whoever_has_no_inbox_has_the_home_server_asked_nothing(scene: Scene) -> None:
    check_problem(await scene.send("PUT", {"room": CHAT}, at(scene.owner)), "no_inbox")
    assert scene.home.asked == []


async def test_the_database_shows_no_room(scene: Scene) -> None:
    rooms = (CHAT, "!" + "r" * 254)
    sizes: set[tuple[int]] = set()
    for room in rooms:
        scene.home.room(room)
        assert (await scene.send("PUT", {"room": room})).status == 204
        assert room.encode() not in b"".join(path.read_bytes() for path in scene.folder.iterdir() if path.is_file())
        sizes.add(*read_rows(scene.folder, "SELECT length(sealed) FROM subscription"))
    assert len(sizes) == 1


async def test_two_inboxes_in_one_room_are_told_once_in_a_pause(scene: Scene) -> None:
    other = at(scene.owner)
    assert (await other.claim({"accept": "anyone"})).status == 201
    for owner in (scene.owner, other):
        assert (await scene.send("PUT", {"room": CHAT}, owner)).status == 204
        await scene.deliver("one", owner)
    await scene.home.until_asked("/send/", count=2)
    assert len(scene.home.rooms[CHAT].lines) == 1
    assert scene.home.rooms[CHAT].members == {BOT, BOB}


def test_the_token_is_read_from_a_private_file_or_a_credential(tmp_path: Path) -> None:
    path = token_file(tmp_path)
    assert read_matrix_token(path, {}) == TOKEN
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / MATRIX_CREDENTIAL).write_text("syt_another\n")
    assert read_matrix_token(path, {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}) == "syt_another"


@pytest.mark.parametrize(
    ("token", "mode", "words"),
    [(TOKEN, 0o644, "chmod 600"), ("", 0o600, "access token"), ("two\nlines", 0o600, "else")],
)
def test_a_token_that_cannot_be_used_says_what_to_do_and_not_what_it_is(
    tmp_path: Path, token: str, mode: int, words: str
) -> None:
    with pytest.raises(BadSecret, match=words) as error:
        read_matrix_token(token_file(tmp_path, token, mode), {})
    assert not token or token not in str(error.value)
    with pytest.raises(BadSecret, match="access token"):
        read_matrix_token(tmp_path / "none", {})


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"homeserver": "https://matrix.example"}, "notify.matrix.user_id: is missing"),
        ({"homeserver": "matrix.example", "user_id": BOT}, "notify.matrix.homeserver: must be a URL"),
        ({"homeserver": "https://matrix.example", "user_id": "inbox"}, "notify.matrix.user_id: must be a whole"),
        ({"home_server": ""}, "notify.matrix.home_server: unknown key; did you mean notify.matrix.homeserver"),
        (1, r"notify.matrix: must be a table, \[notify.matrix\]"),
    ],
)
def test_a_bot_that_is_set_up_by_half_is_told(keys: Any, words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        parse_config({"server": {"public_url": "https://inbox.example"}, "notify": {"matrix": keys}}, Path("/"))
