"""Two servers on two PostgreSQL nodes, which are killed or frozen under load; what they then hold against the model.

    python -m tests.failover.failover --minutes 30

runs the four cases again and again until the time is over, at least once. Exit code 1 on any fault; what the nodes and
servers wrote is then kept. Nothing that it started outlives it, however it ends.
"""

import argparse
import asyncio
import contextlib
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from tests.failover.guard import guarded
from tests.failover.load import ANSWER_SECONDS, Load, Site
from tests.failover.pair import Node, Pair, running_pair
from tests.faults.model import Faults
from tests.support.postgres_server import CannotRun, write_password
from tests.support.serving import Deployment, deploy, free_port

_HOSTS: Final = 2
_LOAD_SECONDS: Final = 2
_FROZEN_SECONDS: Final = 35
_BACK_SECONDS: Final = 60
_CASE_SECONDS: Final = 240
_LOOK_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Case:
    """`strike` is done to the pair; `heal` makes it whole again, once both servers write.

    Between the two, one node may be `alone`.
    """

    name: str
    strike: Callable[[Pair, Node], Awaitable[None]]
    heal: Callable[[Pair, Node], None]
    alone: bool = False


async def _kill_primary(pair: Pair, leader: Node) -> None:
    leader.kill()


async def _kill_postgres(pair: Pair, leader: Node) -> None:
    leader.kill_postgres()


async def _kill_standby(pair: Pair, leader: Node) -> None:
    pair.other(leader).kill()


async def _freeze_primary(pair: Pair, leader: Node) -> None:
    leader.freeze()
    try:
        await asyncio.sleep(_FROZEN_SECONDS)
    finally:
        leader.thaw()


CASES: Final = (
    Case("the primary is killed", _kill_primary, lambda pair, leader: leader.start(), alone=True),
    Case("its PostgreSQL alone is killed", _kill_postgres, lambda pair, leader: None),
    Case("the standby is killed", _kill_standby, lambda pair, leader: pair.other(leader).start(), alone=True),
    Case(f"the primary is frozen for {_FROZEN_SECONDS} s", _freeze_primary, lambda pair, leader: None),
)


class Failover:
    """A pair, the servers on it and their load."""

    def __init__(self, pair: Pair, site: Site, load: Load, faults: Faults) -> None:
        self._pair = pair
        self._site = site
        self._load = load
        self._faults = faults

    async def run(self, case: Case) -> None:
        leader, before = await self._pair.leader(), self._load.tally.copy()
        self._load.start()
        await self._writes(time.monotonic())
        await asyncio.sleep(_LOAD_SECONDS)
        self._site.pulse.restart()
        await case.strike(self._pair, leader)
        await self._writes(time.monotonic())
        pause = self._site.pulse.longest
        if case.alone:
            await self._says("none")
        case.heal(self._pair, leader)
        await asyncio.sleep(_LOAD_SECONDS)
        led = await self._pair.leader()
        await self._writes(time.monotonic())
        await self._says("in_sync")
        await self._load.stop()
        await self._load.check()
        told = ", ".join(f"{word} {count}" for word, count in (self._load.tally - before).items())
        way = "stays" if led is leader else "moves"
        _tell(f"{case.name}: {pause:.1f} s without a write; the primary {way}; {told}")

    async def _says(self, standby: str) -> None:
        """Until every server says so of the standby, for whoever watches it."""
        try:
            async with asyncio.timeout(_BACK_SECONDS):
                for admin in self._site.admins:
                    while await self._load.standby(admin) != standby:  # noqa: ASYNC110 — it is only told who asks
                        await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            self._faults.add("refused", f"/ready does not say that the standby is {standby}")

    async def _writes(self, since: float) -> None:
        """Until every server has kept a delivery after that moment."""
        try:
            async with asyncio.timeout(_BACK_SECONDS):
                while not self._site.all_write(since):  # noqa: ASYNC110 — the clients tell it
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            self._faults.add("refused", f"a server does not write again within {_BACK_SECONDS} s")


@contextlib.asynccontextmanager
async def _servers(folder: Path, pair: Pair) -> AsyncIterator[Site]:
    """One server for each host: the same secret, and day keys of its own that the first one made."""
    url = f"http://127.0.0.1:{free_port()}"
    admins = [f"127.0.0.1:{free_port()}" for _ in range(_HOSTS)]
    places = [_deploy(folder / f"host-{number}", pair, url, admin) for number, admin in enumerate(admins)]
    async with contextlib.AsyncExitStack() as stack:
        for place in places:
            if place is not places[0]:
                place.data.mkdir(mode=0o700)
                shutil.copy2(places[0].data / "day-keys", place.data / "day-keys")
            # Where it works, the guard finds it.
            process = await stack.enter_async_context(place.running("env", f"--chdir={place.folder}"))
            stack.enter_context(_kept_log(process, place.folder / "log"))
        yield Site(url, [place.url for place in places], [f"http://{each}" for each in admins])


def _deploy(folder: Path, pair: Pair, url: str, admin: str) -> Deployment:
    folder.mkdir()
    of_store = {"store__url": pair.url, "store__password_file": str(write_password(folder, pair.password))}
    return deploy(folder, server__public_url=url, server__admin_listen=admin, **of_store)


@contextlib.contextmanager
def _kept_log(process: asyncio.subprocess.Process, path: Path) -> Iterator[None]:
    async def copy() -> None:
        assert process.stdout
        with path.open("wb", buffering=0) as log:
            while line := await process.stdout.readline():
                log.write(line)

    copying = asyncio.create_task(copy())
    try:
        yield
    finally:
        copying.cancel()


async def _run(folder: Path, seed: str, minutes: float, faults: Faults) -> None:
    end = time.monotonic() + 60 * minutes
    timeout, connector = aiohttp.ClientTimeout(total=ANSWER_SECONDS), aiohttp.TCPConnector(limit=0)
    async with (
        running_pair(folder) as pair,
        _servers(folder, pair) as site,
        aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
    ):
        load = Load(site, session, seed, faults)
        await load.claim()
        failover = Failover(pair, site, load, faults)
        while True:
            for case in CASES:
                async with asyncio.timeout(_CASE_SECONDS):
                    await failover.run(case)
                if faults.counts:
                    return
            if time.monotonic() >= end:
                return


def _tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201 — a command tells what it does


def _main(options: argparse.Namespace) -> int:
    seed, faults = options.seed or secrets.token_hex(4), Faults()
    _tell(f"seed {seed}")
    folder = Path(tempfile.mkdtemp(prefix="inbox-failover-"))
    folder.chmod(0o755)  # PostgreSQL's account has folders in it
    with guarded(folder) as guard:
        try:
            asyncio.run(_run(folder, seed, options.minutes, faults))
        except CannotRun as error:
            _tell(str(error))
            return 1 if os.environ.get("CI") == "true" else 0
        except BaseException:
            guard.keep()
            raise
        if faults.counts:
            guard.keep()
            _tell(f"it had a fault; what the nodes and servers wrote is left in {folder}")
    for fault in faults.told:
        _tell(fault)
    _tell(faults.line())
    return 1 if faults.counts else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Take a server's database away under load, and count what was lost.")
    parser.add_argument("--minutes", type=float, default=0, help="run at least this long (default: each case once)")
    parser.add_argument("--seed", default="", help="make the choices of an earlier run again")
    sys.exit(_main(parser.parse_args()))
