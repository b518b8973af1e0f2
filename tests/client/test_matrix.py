"""A Matrix room by the client's command: handed over, refused in words, taken away."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.client.test_command_line import Cli, Dev, dev, made
from tests.support.home_servers import BOT, HomeServer, running_home_server
from tests.support.serving import deploy

__all__ = ["dev"]  # a fixture

CHAT = "!a-direct-chat"


@dataclass(slots=True)
class Scene:
    """Bob, who has an app key and no name, with an inbox at a server that has a bot."""

    home: HomeServer
    inbox: str
    bob: Cli

    async def publish(self, *arguments: str) -> tuple[int, str]:
        return await asyncio.to_thread(self.bob.say, "publish", *arguments)

    async def settings(self) -> str:
        return (await asyncio.to_thread(self.bob.say, "inbox", "--settings"))[1]


@pytest.fixture
async def scene(dev: Dev, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Scene]:
    async with running_home_server() as home:
        matrix = {f"notify__matrix__{key}": value for key, value in home.settings(tmp_path).items()}
        deployment = deploy(tmp_path / "server", **matrix)
        async with deployment.running():
            bob = await asyncio.to_thread(made, dev, tmp_path, capsys, None, dev.bob)
            scene = Scene(home, deployment.url, bob)
            assert (await scene.publish("--inbox", deployment.url, "--accept", "anyone"))[0] == 0
            yield scene


async def test_a_room_is_handed_over_shown_and_taken_away(scene: Scene) -> None:
    scene.home.room(CHAT)
    code, said = await scene.publish("--matrix", CHAT)
    assert code == 0
    assert f"{scene.inbox}: notifies you in the room\n" in said
    assert "matrix           a room is told" in await scene.settings()
    assert BOT in scene.home.rooms[CHAT].members
    code, said = await scene.publish("--no-matrix")
    assert code == 0
    assert f"{scene.inbox}: notifies you in no room\n" in said
    assert "matrix           no room is told" in await scene.settings()


async def test_a_room_without_an_invitation_is_refused_with_the_bots_name(scene: Scene) -> None:
    scene.home.room(CHAT).invited.clear()
    code, said = await scene.publish("--matrix", CHAT)
    assert code == 3  # the inbox is claimed, and the card published
    assert f"{BOT} is not invited: invite it" in said
    assert CHAT not in said


async def test_a_home_server_that_is_down_is_said_to_be(scene: Scene) -> None:
    scene.home.trouble = (502, "<html>")
    code, said = await scene.publish("--matrix", CHAT)
    assert code == 3
    assert "cannot be asked now" in said


def test_a_server_without_a_bot_is_said_to_have_none(
    dev: Dev, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bob = made(dev, tmp_path, capsys, "bob.id", dev.bob)
    code, said = bob.say("publish", "--inbox", dev.inbox, "--matrix", CHAT)
    assert code == 3
    assert "does not list 'matrix'" in said
    bob("forget", "--yes")
