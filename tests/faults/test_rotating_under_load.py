"""Two owners with lists, a name, a browser and an invite to give away; the secret is rotated while people write."""

import asyncio
import contextlib
import itertools
import json
import re
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from inbox_server.clock import system_clock
from inbox_server.world.people import make_person
from tests.conftest import APP
from tests.store.sqlite.test_rekeying import in_files
from tests.support.hosts import running_host
from tests.support.push_services import running_push_service
from tests.support.requests import Caller, new_key
from tests.support.serving import Deployment, client_session, deploy
from tests.support.stores import read_rows

SENDERS = 8
BETWEEN = 150
"""Deliveries that are answered before the next thing happens."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@dataclass(slots=True)
class Load:
    """Senders who repeat each delivery until it is answered."""

    answered: list[str] = field(default_factory=list)
    wanted: int = 0
    unanswered: int = 0
    up: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def send(self, texts: Iterator[int], deliver: Callable[[str], Awaitable[int]]) -> None:
        for number in texts:
            text, status = f"text {number}", 0
            async with self.changed:
                while number >= self.wanted:
                    await self.changed.wait()
            while status not in (200, 201):
                await self.up.wait()
                try:
                    status = await deliver(text)
                except aiohttp.ClientError:
                    self.unanswered += 1
            async with self.changed:
                self.answered.append(text)
                self.changed.notify_all()

    async def begin(self) -> None:
        """Let the senders send some more."""
        async with self.changed:
            self.wanted += BETWEEN
            self.changed.notify_all()

    async def end(self) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.answered) == self.wanted)


async def command(place: Deployment, *arguments: str) -> str:
    run = [sys.executable, "-m", "inbox_server", *arguments, "--config", str(place.folder / "config.toml")]
    process = await asyncio.create_subprocess_exec(*run, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said.decode()


@contextlib.asynccontextmanager
async def running(place: Deployment, load: Load) -> AsyncIterator[None]:
    """The server, stopped at the end as a restart does."""
    async with place.running() as process:
        load.up.set()
        yield
        await load.begin()  # they are at it when it stops
        load.up.clear()
        process.terminate()
        assert await process.wait() == 0


async def test_owners_and_senders_go_on_while_the_secret_is_rotated(tmp_path: Path) -> None:
    async with running_host() as host, running_push_service() as service, client_session() as session:
        place = deploy(
            tmp_path,
            registration__mode="invite",
            names__services=[host.url],
            outgoing__allow=[host.url, service.url],
            notify__pause_seconds=1,
            notify__jitter_seconds=0,
        )
        people = [make_person(name, APP, secrets.token_bytes) for name in ("alice.id", "bob.id")]
        for person in people:
            host.put_person(person, stated_key=person.app_key.public)
        alice, bob = (Caller(session, place.url, person.app_key, system_clock) for person in people)
        carol, dan, mallory = (Caller(session, place.url, new_key(), system_clock) for _ in range(3))
        load, texts, browser = Load(), itertools.count(), service.subscribe()

        async def deliver(text: str) -> int:
            """Alice writes to Bob by their names, and to Carol by her key."""
            if int(text[5:]) % 2:
                return (await alice.deliver(text, sender="alice.id", recipient="bob.id")).status
            return (await alice.deliver(text, recipient=carol.key.public)).status

        async def check() -> None:
            assert (await mallory.deliver("x", recipient=carol.key.public)).status == 403
            assert (await mallory.deliver("x", recipient=bob.key.public)).status == 403
            heard = len(browser.heard)
            await load.begin()
            await load.end()
            await service.arrivals(len(service.pushed) + 1)
            assert len(browser.heard) > heard
            assert service.refused == []

        async with running(place, load):
            codes = json.loads(await command(place, "invite", "new", "--count", "3", "--json"))["codes"]
            lists = {"accept": "contacts", "contacts": [alice.key.address], "names": ["bob.id"], "invite": codes[0]}
            assert (await bob.claim(lists)).status == 201
            lists = {"accept": "anyone", "blocked": [mallory.key.address], "invite": codes[1]}
            assert (await carol.claim(lists)).status == 201
            body = json.dumps(browser.subscription()).encode()
            token = bob.owner_token("settings", body)
            assert (await bob.send("PUT", "/v1/inbox/push", body, token=token)).status == 204
            first_secret = (tmp_path / "secret").read_text()
            sending = [asyncio.create_task(load.send(texts, deliver)) for _ in range(SENDERS)]
            await check()
            copy = tmp_path / "copy"
            await command(place, "backup", str(copy))
            old = read_rows(
                place.data, "SELECT inbox FROM inbox UNION SELECT name FROM name UNION SELECT app FROM inbox"
            )
            said = await command(place, "rotate-secret")
            assert re.search(r"puts 2 inboxes with \d+ entries under the new secret", said)
            await check()
        async with running(place, load):
            await check()
            assert not any(each in in_files(place.data) for (each,) in old)
            await command(place, "rotate-secret")
            await check()
        async with running(place, load):
            await check()
            assert (await dan.claim({"invite": codes[2]})).status == 201
            for owner, remainder in ((bob, 1), (carol, 0)):
                waiting = (await owner.unread(limit=1000)).json()["messages"]
                sent = [f"text {number}" for number in range(load.wanted) if number % 2 == remainder]
                assert sorted(each["message_id"] for each in waiting) == sorted(sent)
            assert (await bob.settings()).json()["contacts"] == 1
            assert (await carol.settings()).json()["blocked"] == 1
            for task in sending:
                task.cancel()
            await asyncio.wait(sending)
        (tmp_path / "secret").write_text(first_secret)
        with pytest.raises(AssertionError, match="The secret is not the one"):
            await place.start()
