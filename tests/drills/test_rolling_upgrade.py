"""An upgrade of servers on one PostgreSQL database, host after host, as docs/postgresql.md has it."""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
import pytest

from inbox_server.clock import system_clock
from tests.store.postgres.conftest import beside
from tests.support.ending import end
from tests.support.patience import PATIENCE_SECONDS
from tests.support.postgres import config_of, read_rows
from tests.support.requests import Caller, at, new_key
from tests.support.serving import Deployment, client_session, deploy
from tests.support.versions import THIS, Version, copy_of_this, last_release

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(180)]
SENDERS = 6
TOMORROW = """
ALTER TABLE inbox ADD COLUMN of_tomorrow bigint NOT NULL DEFAULT 7;
ALTER TABLE message ADD COLUMN of_tomorrow text NOT NULL DEFAULT '';
CREATE TABLE tomorrow (inbox bytea PRIMARY KEY);
"""
"""A step as there may be one: on the tables that every delivery writes. A server of before knows nothing of it."""


@dataclass(slots=True)
class Clients:
    """Senders and a device of Bob, each of whose requests goes to the next of `places`, and is repeated if refused."""

    bob: Caller
    places: list[str]
    sent: Counter[str] = field(default_factory=Counter)
    read: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    _turns: "itertools.count[int]" = field(default_factory=itertools.count)

    def _place(self) -> str:
        return self.places[next(self._turns) % len(self.places)]

    async def send(self, text: str) -> None:
        sender = at(self.bob)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                answer = await replace(sender, place=self._place()).deliver(text, recipient=self.bob.key.address)
                if answer.status in (200, 201):
                    self.sent[text] += 1
                    return
                assert answer.status in (503, 507)
                self.refused[answer.json()["code"]] += 1

    async def send_all(self, name: str, each: int) -> None:
        async def send(number: int) -> None:
            for one in range(each):
                await self.send(f"{name} {number}-{one}")

        await asyncio.gather(*(send(number) for number in range(SENDERS)))

    async def take(self) -> int:
        """Read a page and acknowledge it."""
        device = replace(self.bob, place=self._place())
        answer = await device.unread(limit=20)
        assert answer.status in (200, 503, 507)
        entries = answer.json().get("messages", [])
        for entry in entries:
            answer = await replace(device, place=self._place()).acknowledge(entry["id"])
            assert answer.status in (204, 503, 507)
            if answer.status == 204:
                self.read[entry["message_id"]] += 1
        return len(entries)

    async def take_all(self, ended: asyncio.Event) -> None:
        """For as long as more may come, and then the rest."""
        is_last = False
        while await self.take() or not is_last:
            is_last = ended.is_set()


@dataclass(frozen=True, slots=True)
class Hosts:
    """Two hosts with one database, and Bob's inbox in it."""

    folder: Path
    first: Deployment
    second: Deployment
    session: aiohttp.ClientSession

    async def bob(self) -> Clients:
        bob = Caller(self.session, self.first.url, new_key(), system_clock)
        assert (await bob.claim({"accept": "anyone"})).status == 201
        return Clients(bob, [self.first.url])

    def step(self) -> int:
        ((newest,),) = read_rows(self.folder, "SELECT max(number) FROM schema_step")
        return int(newest)


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[Hosts]:
    folder = tmp_path / "database"
    store = {f"store__{name}": value for name, value in config_of(folder).items()}
    first = deploy(tmp_path / "first", **store)
    keys = str(first.data / "day-keys")
    second = deploy(tmp_path / "second", server__public_url=first.url, store__day_keys_file=keys, **store)
    async with client_session() as session:
        yield Hosts(folder, first, second, session)


def only_set(place: Deployment) -> None:
    """Leave out of a configuration what is at its default: an older version may not know it."""
    config = place.folder / "config.toml"
    kept = ("[", "public_url", "listen", "admin_listen", "services", "mode", "open_to", "sender_", "inbox_per", "url ")
    lines = [line for line in config.read_text().splitlines() if line.startswith((*kept, "password_file", "day_keys"))]
    config.write_text("\n".join(lines))


@pytest.mark.parametrize("pair", ["of-today-and-of-tomorrow", "of-the-last-release-and-of-today"])
async def test_an_old_and_a_new_version_serve_one_database(tmp_path: Path, hosts: Hosts, pair: str) -> None:
    if pair == "of-today-and-of-tomorrow":
        old, new = THIS, copy_of_this(tmp_path)
        new.add_step(TOMORROW)
    else:
        old, new = last_release(tmp_path), THIS
        only_set(hosts.first)
    ended = asyncio.Event()
    async with hosts.first.running(*old.under), contextlib.AsyncExitStack() as later:
        clients = await hosts.bob()
        async with asyncio.TaskGroup() as at_work:
            at_work.create_task(clients.take_all(ended))
            sending = at_work.create_task(clients.send_all("before and while", 60))
            await later.enter_async_context(hosts.second.running(*new.under))
            await sending
            clients.places.append(hosts.second.url)
            await clients.send_all("after", 30)
            ended.set()
        assert hosts.step() == new.steps
        assert (clients.sent, clients.refused) == (clients.read, Counter())
        assert set(clients.sent.values()) == {1}
    if new.steps > old.steps:
        assert "newer version of inbox-server. Install that version here too." in await refused(hosts.first, old)


async def refused(place: Deployment, version: Version) -> str:
    """What a server says that does not start."""
    process = await asyncio.create_subprocess_exec(
        *version.under, *place.command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 1
    return said.decode()


async def test_while_somebody_holds_a_table_for_long_the_new_version_waits_and_the_old_one_goes_on(
    tmp_path: Path, hosts: Hosts
) -> None:
    """A dump does. Whoever waits for a table keeps everybody out of it who comes later."""
    new = copy_of_this(tmp_path)
    new.add_step(TOMORROW)
    async with hosts.first.running(), beside(hosts.folder) as dump:
        clients = await hosts.bob()
        async with dump.transaction():
            await dump.execute("SELECT FROM inbox")
            starting = await asyncio.create_subprocess_exec(
                *new.under, *hosts.second.command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
            try:
                assert starting.stdout
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while b"such as a dump" not in await starting.stdout.readline():
                        pass
                await clients.send_all("meanwhile", 60)
                assert (len(clients.sent), clients.refused) == (60 * SENDERS, Counter())
                assert hosts.step() == new.steps - 1
            finally:
                await end(starting)
        async with hosts.second.running(*new.under):
            assert hosts.step() == new.steps
