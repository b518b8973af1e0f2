"""A real server under load, killed at random moments and started again; what it then holds against the model.

    python -m tests.faults.torture --minutes 30 --kills 200

runs until both are reached. Exit code 1 on any fault, whose database is then kept. With the same `--seed` every client
and every kill makes the same choices; what meets what is up to the machine.
"""

import argparse
import asyncio
import contextlib
import itertools
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import aiohttp

from inbox_server.client.appkey import AppKey
from inbox_server.clock import system_clock
from inbox_server.store.sqlite.opening import DATABASE_NAME
from tests.faults.clients import Box, Device, QuickKey, Sender, Stopping, Unexpected, check_box
from tests.faults.model import Faults, Ledger
from tests.support import postgres
from tests.support.requests import Caller
from tests.support.serving import Deployment, deploy
from tests.support.stores import STORES, read_rows

STOP_SECONDS: Final = 5
_BOXES: Final = 4
_SENDERS: Final = 8
_DEVICES: Final = 2  # of each owner
_SEALS: Final = 0.4  # of the deliveries have a ticket
_LOAD_SECONDS: Final = (0.02, 0.4)
_START_SECONDS: Final = 0.4  # about as long as a start takes
_STOPS: Final = 0.12  # of the rounds end by SIGTERM
_FALSE_STARTS: Final = 0.12  # of the starts are killed before the one that stays
_INTEGRITY_ROUNDS: Final = 10
_RUN_KILLS: Final = 100  # then the next run begins, on a new database
_TELL_SECONDS: Final = 30
_AIMED: Final = 0.5  # of the kills and stops are aimed at a commit, or between it and its answers
_COMMIT_SECONDS: Final = 0.02  # that one is waited for, if none begins
_ANSWER_SECONDS: Final = 0.001  # about as long as a commit and its answers take
_PATIENCE_SECONDS: Final = 20
_CUT_OFF: Final = ("cut off", "of them stored")  # deliveries without an answer, and what their repeats then told
_MISCOUNTED: Final = """
    SELECT * FROM (
        SELECT encode(inbox.inbox, 'hex'), unread, tombstones, unread_bytes, count(day), count(*) - count(day),
            sum(size) FILTER (WHERE day IS NOT NULL), count(text.id)
        FROM inbox JOIN message USING (inbox) LEFT JOIN text USING (inbox, id, day) GROUP BY inbox.inbox
    ) AS counted (inbox, unread, read, bytes, unread_there, read_there, bytes_there, texts)
    WHERE (unread, read, bytes, unread) IS DISTINCT FROM (unread_there, read_there, coalesce(bytes_there, 0), texts)
"""
_WORDS: Final = (
    "kills",
    "false starts",
    "stops",
    "answered",
    "sealed",  # of those answered
    "spent again",  # used tickets that were tried for something else
    "repeats",
    *_CUT_OFF,
    "acks",
    "pages",
    "checks",
)


@dataclass(slots=True)
class Figures:
    """What was done, and what went wrong. `tally` counts by the clients' own words."""

    tally: Counter[str] = field(default_factory=Counter)
    faults: Faults = field(default_factory=Faults)

    def line(self) -> str:
        return f"{', '.join(f'{word} {self.tally[word]}' for word in _WORDS)}; {self.faults.line()}"


class Torture:
    """One server on one folder, its clients, and their ledgers."""

    def __init__(self, place: Deployment, seed: str, figures: Figures, store: str = "sqlite") -> None:
        self._place = place
        self._store = store
        self._random = Random(seed)
        self._figures = figures
        tally = figures.tally
        self._boxes = [Box(self._key(), Ledger(figures.faults)) for _ in range(_BOXES)]
        self._devices = [
            Device(box, Random(f"{seed} device {number} {box.key.address}"), tally)
            for box in self._boxes
            for number in range(_DEVICES)
        ]
        self._senders = [
            Sender(f"sender-{number}", self._key(), self._boxes, Random(f"{seed} sender {number}"), tally, seals=_SEALS)
            for number in range(_SENDERS)
        ]

    async def run(self, kills: int) -> None:
        """Until the server was killed so often under load, and what it holds was checked after the last."""
        kills += self._figures.tally["kills"]
        async with self._place.running(), _caller(self._place.url, self._boxes[0].key) as caller:
            for box in self._boxes:
                answer = await Caller(caller.session, caller.url, box.key, system_clock).claim({"accept": "anyone"})
                assert answer.status == 201
        while self._figures.tally["kills"] < kills and not self._figures.faults.counts:
            if self._random.random() < _FALSE_STARTS:
                await self._start_falsely()
            async with self._place.running() as server:
                await self._check()
                await self._load(server)
        async with self._place.running():
            await self._check()
            self._check_integrity()

    async def _load(self, server: asyncio.subprocess.Process) -> None:
        """Let every client work for a moment, then end the server under them."""
        stops = self._random.random() < _STOPS
        async with contextlib.AsyncExitStack() as stack:
            tasks = []
            clients: list[Sender | Device] = [*self._senders, *self._devices]
            for client in clients:
                caller = await stack.enter_async_context(_caller(self._place.url, client.key))
                tasks.append(asyncio.create_task(client.work(caller)))
            await asyncio.wait(tasks, timeout=self._random.uniform(*_LOAD_SECONDS), return_when=asyncio.FIRST_EXCEPTION)
            early = [task for task in tasks if task.done()]
            if self._random.random() < _AIMED:
                self._await_commit()
            await (self._stop(server) if stops else self._kill(server))
            await asyncio.wait(tasks)
        for task in tasks:
            self._judge(task.exception(), early=task in early, stops=stops)

    def _judge(self, met: BaseException | None, *, early: bool, stops: bool) -> None:
        """What a client met at the end, or `early`, while the server should have answered."""
        if isinstance(met, Unexpected) or (isinstance(met, Stopping) and not stops):
            self._figures.faults.add("refused", repr(met))
        elif not isinstance(met, Stopping | aiohttp.ClientError | ConnectionError):
            raise met or AssertionError("a client ended by itself")
        elif early:
            self._figures.faults.add("dropped", repr(met))

    def _await_commit(self) -> None:
        """Until SQLite's write-ahead log grows, and a moment more. The clients stand still meanwhile."""
        log = self._place.data / f"{DATABASE_NAME}-wal"
        size, end = _size(log), time.monotonic() + _COMMIT_SECONDS
        while _size(log) == size and time.monotonic() < end:
            pass
        time.sleep(self._random.random() * _ANSWER_SECONDS)

    async def _kill(self, server: asyncio.subprocess.Process, counted: str = "kills") -> None:
        server.kill()
        await server.wait()
        self._figures.tally[counted] += 1

    async def _stop(self, server: asyncio.subprocess.Process) -> None:
        server.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(server.wait(), STOP_SECONDS)
        except TimeoutError:
            self._figures.faults.add("unclean", f"still there {STOP_SECONDS} s after SIGTERM")
            server.kill()
            await server.wait()
        else:
            if server.returncode != 0:
                self._figures.faults.add("unclean", f"exit code {server.returncode} after SIGTERM")
        self._figures.tally["stops"] += 1

    async def _start_falsely(self) -> None:
        """Kill a server while it starts: while it recovers what the one before it left."""
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "inbox_server", "serve", "--config", self._place.folder / "config.toml"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        with contextlib.suppress(TimeoutError):
            said, _ = await asyncio.wait_for(server.communicate(), self._random.random() * _START_SECONDS)
            self._figures.faults.add("unclean", f"exit code {server.returncode} while it started: {said.decode()}")
            return
        await self._kill(server, "false starts")

    async def _check(self) -> None:
        for box in self._boxes:
            devices = [device.reading for device in self._devices if device.key is box.key]
            async with _caller(self._place.url, box.key) as caller:
                limit = self._random.choice((7, 100, 1000))
                await check_box(caller, box, devices, self._figures.faults, limit)
        self._figures.tally["checks"] += 1
        if self._figures.tally["checks"] % _INTEGRITY_ROUNDS == 0:
            self._check_integrity()

    def _check_integrity(self) -> None:
        """Read beside the server: to open SQLite's files without it would recover them in its place."""
        if self._store == "postgres":
            found = postgres.read_rows(self._place.folder, _MISCOUNTED)
        else:
            found = [row for row in read_rows(self._place.data, "PRAGMA integrity_check") if row != ("ok",)]
        if found:
            self._figures.faults.add("damaged", str(found[:3]))

    def _key(self) -> AppKey:
        return QuickKey(self._random.randbytes(32))


@contextlib.asynccontextmanager
async def _caller(url: str, key: AppKey) -> AsyncIterator[Caller]:
    """On a connection of its own."""
    connector, timeout = aiohttp.TCPConnector(limit=1), aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield Caller(session, url, key, system_clock)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def torture(folder: Path, seed: str, kills: int, figures: Figures, store: str = "sqlite") -> None:
    """One run on a new database in `folder`; what it did and found is added to `figures`."""
    settings = {f"store__{name}": value for name, value in STORES[store].config(folder).items()}
    await Torture(deploy(folder, **settings), seed, figures, store).run(kills)


async def _runs(seed: str, minutes: float, kills: int, figures: Figures, store: str) -> None:
    """Runs on new databases until both are reached, or one has a fault."""
    end = time.monotonic() + 60 * minutes
    for number in itertools.count():
        folder = Path(tempfile.mkdtemp(prefix="inbox-torture-"))
        lacking = kills - figures.tally["kills"]
        await torture(
            folder, f"{seed}/{number}", min(lacking, _RUN_KILLS) if lacking > 0 else _RUN_KILLS, figures, store
        )
        if figures.faults.counts:
            _tell(f"run {number} had a fault; its database is left in {folder}")
            return
        shutil.rmtree(folder)
        if time.monotonic() >= end and figures.tally["kills"] >= kills:
            return


async def _report(figures: Figures) -> None:
    start = time.monotonic()
    while True:
        await asyncio.sleep(_TELL_SECONDS)
        _tell(f"{(time.monotonic() - start) / 60:5.1f} min: {figures.line()}")


def _tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201 — a command tells what it does


async def _main(options: argparse.Namespace) -> int:
    seed, figures = options.seed or secrets.token_hex(4), Figures()
    _tell(f"seed {seed}")
    reporting = asyncio.create_task(_report(figures))
    await _runs(seed, options.minutes, options.kills, figures, options.store)
    reporting.cancel()
    for fault in figures.faults.told:
        _tell(fault)
    _tell(f"seed {seed}: {figures.line()}")
    return 1 if figures.faults.counts else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Kill a server under load again and again, and count what it lost.")
    parser.add_argument("--minutes", type=float, default=0, help="run at least this long (default: 0)")
    parser.add_argument("--kills", type=int, default=200, help="kill at least so often (default: 200)")
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite", help="(default: sqlite)")
    parser.add_argument("--seed", default="", help="make the choices of an earlier run again")
    with asyncio.Runner() as runner:
        sys.exit(runner.run(_main(parser.parse_args())))
