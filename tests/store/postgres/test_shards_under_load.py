"""Whole servers on two clusters, whose clients never rest while shards are moved, the command is killed, and repeated.

Each inbox has a load of its own, so that it is known whose requests were refused.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Final, TextIO

import aiohttp
import pytest

from inbox_server.store.postgres.primary import Connection
from inbox_server.store.postgres.shard_moving import HEARD_SECONDS
from tests.failover.load import Client, Enough, Follower, Load, Site
from tests.faults.clients import Away, Unexpected
from tests.faults.model import Faults
from tests.support import postgres
from tests.support.ending import end
from tests.support.live import open_stream
from tests.support.patience import PATIENCE_SECONDS
from tests.support.requests import Caller
from tests.support.serving import Deployment, deploy, free_port

pytestmark = [pytest.mark.postgres, pytest.mark.long, pytest.mark.timeout(900)]

INBOXES: Final = 16
ROUNDS: Final = int(os.environ.get("ROUNDS", "2"))
"""Half of the inboxes are moved to the other cluster in the first, and back in the next."""
MOST_KILLS: Final = 2
_COPYING_SECONDS: Final = 0.1
_PACE_SECONDS: Final = 0.2


class Listener(Follower):
    """A device that follows by streams, at one server after the other."""

    async def work(self, caller: Caller) -> None:
        assert isinstance(caller, Client)
        assert caller.site
        while True:
            place = caller.site.next_place()
            await self._follow(replace(caller, place=place), caller.site)

    async def _follow(self, caller: Client, site: Site) -> None:
        """Until the stream ends. Raises `Enough` once the load is over."""
        asked = self.reading.ledger.now()
        async with open_stream(caller, self.reading.cursor) as stream:
            if stream.answer.status != 200:
                refused = (await stream.refusal()).json()["code"]
                caller.note(f"stream at {caller.place} after {self.reading.cursor}: {refused}")
                raise _of(refused)
            while True:
                coming = asyncio.ensure_future(stream.next())
                while not (await asyncio.wait([coming], timeout=1))[0]:
                    if site.ends:
                        coming.cancel()
                        raise Enough
                event = await coming
                caller.note(f"event at {caller.place} after {self.reading.cursor}: {event}")
                if event.name == "end":
                    raise _of(event.data["reason"])
                self.reading.take(event.data, asked)


def _of(reason: str) -> Unexpected:
    return (Away if reason in ("moving", "token_expired") else Unexpected)(reason)


@dataclass(slots=True)
class Moves:
    """Moving shards by the command, which is killed at random moments."""

    config: Path
    clusters: Sequence[Connection]
    random: Random
    tally: Counter[str] = field(default_factory=Counter)
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def places(self) -> dict[bytes, int]:
        """Where the inboxes are."""
        found = [await db.fetch("SELECT inbox FROM inbox") for db in self.clusters]
        return {inbox: number for number, rows in enumerate(found) for (inbox,) in rows}

    async def move(self, shard: int, target: int) -> None:
        for _ in range(self.random.randint(0, MOST_KILLS)):
            await self._break_off(shard, target)
        async with self._command(shard, target) as process:
            said, _ = await process.communicate()
            assert process.returncode == 0, said.decode()
        self.tally["moves"] += 1

    async def _break_off(self, shard: int, target: int) -> None:
        async with self._command(shard, target) as process:
            assert process.stdout
            await process.stdout.readline()  # it is refused from now on
            how = self.random.choice(("while it waits", "while it copies", "once there is a copy"))
            waited = self.random.random() * HEARD_SECONDS if how == "while it waits" else HEARD_SECONDS
            with contextlib.suppress(TimeoutError):
                copying = self.random.random() * _COPYING_SECONDS if how == "while it copies" else 0
                await asyncio.wait_for(process.wait(), waited + copying - (how == "once there is a copy") * 0.5)
            while how == "once there is a copy" and process.returncode is None and not await self._has(target, shard):
                pass
        self.tally["kills " + how] += 1
        both = await self._has(target, shard), await self._has(1 - target, shard)
        self.tally[f"then the new cluster has inboxes: {both[0]}, the old one: {both[1]}"] += 1

    async def _has(self, number: int, shard: int) -> bool:
        sql = "SELECT EXISTS (SELECT FROM inbox WHERE get_byte(inbox, 0) = $1)"
        async with self.looking:
            return bool(await self.clusters[number].fetchval(sql, shard))

    @contextlib.asynccontextmanager
    async def _command(self, shard: int, target: int) -> AsyncIterator[asyncio.subprocess.Process]:
        """It is killed at the end, if it still runs."""
        command = (sys.executable, "-m", "inbox_server", "shard", "move", str(shard), "--to", str(target + 1))
        process = await asyncio.create_subprocess_exec(
            *command, "--config", str(self.config), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            await end(process)


@contextlib.asynccontextmanager
async def two_servers(folder: Path, journal: TextIO) -> AsyncIterator[tuple[Site, Path]]:
    """As on two hosts: the same URL, secret, clusters and day keys; and the configuration of the first one."""
    config = postgres.config_of(folder / "one")
    store: dict[str, Any] = {
        "store__urls": [config["url"], postgres.url_of(folder / "other")],
        "store__password_file": config["password_file"],
        "server__public_url": f"http://127.0.0.1:{free_port()}",
    }
    places: list[Deployment] = []
    async with contextlib.AsyncExitStack() as stack:
        for number in range(2):
            place = deploy(folder / f"host-{number}", **store)
            if places:
                place.data.mkdir(mode=0o700)
                shutil.copy2(places[0].data / "day-keys", place.data / "day-keys")
            places.append(place)
            process = await stack.enter_async_context(place.running())
            stack.enter_context(_read(process))
        site = Site(store["server__public_url"], [place.url for place in places])
        site.pace_seconds, site.journal = _PACE_SECONDS, journal
        yield site, places[0].folder / "config.toml"


@contextlib.contextmanager
def _read(process: asyncio.subprocess.Process) -> Any:
    """What a server says, so that it never waits for who reads it."""
    assert process.stdout
    reading = asyncio.create_task(process.stdout.read())
    try:
        yield
    finally:
        reading.cancel()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        yield session


async def _goes_on(loads: Sequence[Load]) -> None:
    """Each inbox gets deliveries again."""
    before = [load.tally["answered"] for load in loads]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while any(load.tally["answered"] <= count for load, count in zip(loads, before, strict=True)):  # noqa: ASYNC110 — the clients tell nobody
            await asyncio.sleep(0.1)


async def test_nothing_is_lost_doubled_or_skipped_while_shards_move_and_moves_are_killed(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    seed, faults = os.environ.get("SEED") or secrets.token_hex(4), Faults()
    random = Random(seed)
    async with contextlib.AsyncExitStack() as stack:
        journal = stack.enter_context((tmp_path / "journal").open("w"))
        site, config = await stack.enter_async_context(two_servers(tmp_path, journal))
        clusters = [await postgres.cluster_of(tmp_path / name).connect() for name in ("one", "other")]
        for db in clusters:
            stack.push_async_callback(db.close)
        moves, shards = Moves(config, clusters, random), list[int]()
        loads = [
            Load(replace(site), http, f"{seed} {number}", faults, boxes=1, senders=1, followers=(Follower, Listener))
            for number in range(INBOXES)
        ]
        known: dict[bytes, int] = {}
        for load in loads:
            await load.claim()
            (new,) = (places := await moves.places()).keys() - known.keys()
            known = places
            shards.append(new[0])
        moving = {inbox[0]: number for inbox, number in known.items() if inbox[0] in shards[: INBOXES // 2]}
        for load in loads:
            load.start()
            stack.push_async_callback(load.leave)
        for _ in range(ROUNDS):
            await _goes_on(loads)
            await asyncio.gather(*(moves.move(shard, 1 - number) for shard, number in moving.items()))
            moving = {shard: 1 - number for shard, number in moving.items()}
        await _goes_on(loads)
        await asyncio.gather(*(load.stop() for load in loads))
        await asyncio.gather(*(load.check() for load in loads))
        total = sum((load.tally for load in loads), Counter[str]())
        journal.write(f"seed {seed}: {dict(moves.tally)}, {dict(total)}\n")
        assert not faults.counts, (seed, faults.told)
        refused = {shard: load.tally["refused for now"] for shard, load in zip(shards, loads, strict=True)}
        assert {shard for shard, count in refused.items() if count} == moving.keys(), seed
        assert {inbox[0]: number for inbox, number in (await moves.places()).items() if inbox[0] in moving} == moving
