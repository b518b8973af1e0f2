"""A restore, a move of the files, and a move to another URL: two folders with a server process each."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.clock import system_clock
from tests.client.test_command_line import Dev, dev
from tests.drills.people import RETENTION, People, write_subscription
from tests.support.requests import Answer, Caller
from tests.support.serving import Deployment, deploy

__all__ = ["dev"]  # a fixture

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]


def run(*arguments: str) -> tuple[int, str]:
    """What it says on standard error is captured by pytest, which shows it when the test fails."""
    command = (sys.executable, "-m", "inbox_server", *arguments)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout


def operates(place: Deployment, *command: str) -> list[str]:
    """What one of the operator's commands prints."""
    code, said = run(*command[:-1], "--config", str(place.folder / "config.toml"), command[-1])
    assert code == 0, said
    return said.splitlines()


@dataclass(slots=True)
class Drill:
    """The new folder has the configuration and the secret of the old one, and no data."""

    old: Deployment
    new: Deployment
    people: People
    bob: str
    """His public key."""
    invites: list[str]
    session: aiohttp.ClientSession

    def begin(self) -> None:
        """Bob has an inbox with settings, a subscription and mail, of which he has read the first."""
        self.people.claims("bob", self.invites[0])
        self.people.subscribes("bob", self.people.folder / "subscription")
        for text in ("one", "two", "three"):
            self.people.alice_sends(self.bob, text)
        assert self.people.bob_hears(3) == ["one", "two", "three"]
        self.people.bob_acknowledges("one")

    async def bobs_list(self, **query: Any) -> Answer:
        """As another app of his gets it, which keeps nothing but a cursor."""
        key = AppKey.from_hex(json.loads((self.people.folder / "bob").read_text())["key"])
        return await Caller(self.session, self.old.url, key, system_clock).unread(**query)

    def to_keep(self) -> dict[str, Any]:
        """What a restore and a move leave alone."""
        answer = self.people.bobs_inbox()["answer"]
        names = ("accept", "retention", "contacts", "blocked", "names")
        return {"subscriptions": self.people.bobs_subscriptions()} | {name: answer[name] for name in names}

    def check_kept(self, before: dict[str, Any]) -> None:
        assert self.to_keep() == before
        assert before["retention"] == RETENTION
        assert len(before["subscriptions"][0]["answer"]["subscriptions"]) == 1
        self.people.claims("carol", self.invites[0], code=1)  # used before
        self.people.claims("carol", self.invites[1])


@pytest.fixture
async def drill(dev: Dev, tmp_path: Path) -> AsyncIterator[Drill]:
    old = deploy(tmp_path / "old", registration__mode="invite")
    new = Deployment(tmp_path / "new", old.port)
    new.folder.mkdir()
    for name in ("config.toml", "secret"):
        shutil.copy(old.folder / name, new.folder / name)
    people = People(run, tmp_path, dev.hub, old.url)
    bob, _, _ = (people.joins(name) for name in ("bob", "alice", "carol"))
    write_subscription(tmp_path / "subscription")
    async with aiohttp.ClientSession() as session:
        yield Drill(old, new, people, bob, operates(old, "invite", "new", "--count=2"), session)


@dataclass(slots=True)
class Watch:
    """`client watch`, which runs all the time; `contents`: every message that it has reported."""

    process: "subprocess.Popen[str]"
    contents: list[str] = field(default_factory=list)

    def until(self, member: str, value: str) -> None:
        """Read what it says until this comes, such as a message's `content`."""
        assert self.process.stdout
        for line in self.process.stdout:
            news = json.loads(line)
            self.contents += [news["content"]] if "content" in news else []
            if news.get(member) == value:
                return
        raise AssertionError(f"it ended before {value}")


@contextlib.contextmanager
def watching(profile: Path) -> Iterator[Watch]:
    command = (sys.executable, "-m", "inbox_server", "client", "watch", "--profile", str(profile), "--json", "--read")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Watch(process)
        finally:
            process.terminate()


async def test_a_restored_server_has_what_the_copy_had_and_clients_go_on(drill: Drill, tmp_path: Path) -> None:
    """As docs/backup.md says: what came after the copy is missing, and what a running client has read stays read."""
    people, copy = drill.people, str(tmp_path / "copy.sqlite3")
    async with drill.old.running() as server:
        drill.begin()
        before, cursor = drill.to_keep(), (await drill.bobs_list()).json()["cursor"]
        operates(drill.old, "backup", copy)
        with watching(tmp_path / "bob") as watch:
            watch.until("news", "up")
            people.bob_acknowledges("two")
            watch.until("news", "read")
            people.alice_sends(drill.bob, "after the copy")
            watch.until("content", "after the copy")
            server.kill()
            await server.wait()
            operates(drill.new, "restore", copy)
            async with drill.new.running():
                watch.until("news", "up")
                people.alice_sends(drill.bob, "four")
                watch.until("content", "four")
                assert watch.contents == ["after the copy", "four"]
                assert people.bob_reads() == ["three", "four"]
                assert (await drill.bobs_list(after=cursor)).json()["code"] == "cursor_gone"
                drill.check_kept(before)


async def test_a_server_whose_files_were_moved_is_the_same_server(drill: Drill) -> None:
    """Clients keep their cursors. What was sent in between waits at the sender's and arrives once."""
    people = drill.people
    async with drill.old.running() as server:
        drill.begin()
        before, cursor = drill.to_keep(), (await drill.bobs_list()).json()["cursor"]
        server.terminate()
        await server.wait()
    people.alice_sends(drill.bob, "in between", code=1)
    shutil.copytree(drill.old.data, drill.new.data)
    async with drill.new.running():
        assert (await drill.bobs_list(after=cursor)).json()["messages"] == []
        assert people.does("alice", "send", "--retry")[-1] == {"waiting": 0}
        assert people.bob_hears(1) == ["in between"]
        assert people.bob_reads() == ["two", "three", "in between"]
        drill.check_kept(before)


async def test_owners_move_to_a_server_at_another_url(dev: Dev, drill: Drill, tmp_path: Path) -> None:
    """Both servers run meanwhile. What waits comes along, what was read stays read, and senders follow."""
    people, elsewhere = drill.people, deploy(tmp_path / "elsewhere")
    async with drill.old.running(), elsewhere.running():
        drill.begin()
        people.does("bob", "move", "--to", elsewhere.url)
        people.alice_sends(drill.bob, "four")
        assert people.bob_hears(1) == ["four"]
        assert people.bob_reads() == ["two", "three", "four"]
        assert people.bobs_inbox()["inbox"] == elsewhere.url
        assert people.bobs_inbox()["answer"]["retention"] == RETENTION
