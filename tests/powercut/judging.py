"""A server on what a power cut left, and what it then holds against what had been answered."""

import asyncio
import contextlib
import re
import secrets
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import aiohttp

from inbox_server.clock import Clock, UnixTime, system_clock
from inbox_server.config.config import BadConfig
from inbox_server.config.file import parse_config
from inbox_server.config.secret import BadSecret
from inbox_server.http.listening import listening
from inbox_server.identity.layer import ONLY_ONE, Layers
from inbox_server.server import open_app
from inbox_server.store.contract import BadDatabase
from inbox_server.world.local_world import free_socket
from tests.faults.clients import Unexpected, check_box
from tests.powercut.history import History, Inbox, Known
from tests.powercut.timeline import LOG_INDEX
from tests.powercut.workload import ALONE, FLEETING, TICKETS, settings_in, ticket_of
from tests.support.requests import SECRET, Caller
from tests.support.sealed import deliver_sealed
from tests.support.serving import deploy
from tests.support.stores import read_rows

_LOG_INDEX_BYTES: Final = 32 * 1024
_MARK: Final = re.compile(rb"<(\d{6})>")  # of which the workload's texts are made
_ERASED_SECONDS: Final = 30  # the promise is one; on a busy machine the server itself says when it is done
_REPEATS: Final = 3
_PATIENCE_SECONDS: Final = 60
_START_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers; `remnants` is how many erasing jobs are not out of its files yet, as it says itself.

    What had expired when it `opened` is erased by the sweep that comes before the first answer.
    """

    url: str
    clock: Clock
    opened: UnixTime
    remnants: Callable[[], Awaitable[int]]


class Refusal(Exception):
    """The server did not start and said why."""


def lay(left: dict[str, bytes | None], folder: Path, random: Random) -> None:
    """Write what a power cut left into a new folder; the index of a log is made of anything."""
    folder.mkdir()
    for name, content in left.items():
        if content is None:
            (folder / name).mkdir(mode=0o700)
        else:
            (folder / name).touch(mode=0o600)
            (folder / name).write_bytes(random.randbytes(_LOG_INDEX_BYTES) if name.endswith(LOG_INDEX) else content)


@contextlib.asynccontextmanager
async def started(
    data: Path, since: float, *, registration: str = "open", layers: Layers = ONLY_ONE
) -> AsyncIterator[Server]:
    """A server in this process, opened by the code that `serve` uses, at the time of the cut. Raises `Refusal`."""
    start = time.monotonic()

    def clock() -> UnixTime:
        return UnixTime(int(since + 1 + time.monotonic() - start))

    opened = clock()
    with free_socket() as bound:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        document = {
            "server": {"public_url": url, "data_dir": str(data), "admin_listen": ""},
            "names": {"services": []},
            "registration": {"mode": registration, "open_to_keys": True},
            "limits": {"sender_per_hour": 0, "inbox_per_hour": 0, "network_per_hour": 0},
            "notify": {"jitter_seconds": 86_400},
        }
        try:
            config = parse_config(document, data.parent)
            opening = open_app(config, SECRET, layers=layers, clock=clock, monotonic=time.monotonic)
            async with opening as (app, store), listening(app, bound):

                async def remnants() -> int:
                    return store.load().remnants

                yield Server(url, clock, opened, remnants)
        except (BadDatabase, BadConfig, BadSecret) as refusal:
            raise Refusal(str(refusal)) from refusal


@contextlib.asynccontextmanager
async def started_process(data: Path) -> AsyncIterator[Server]:
    """The real thing: `inbox-server serve`, at the time of this machine. Raises `Refusal`."""
    place = deploy(data.parent / "process", server__data_dir=str(data), server__admin_listen="127.0.0.1:0")
    opened = system_clock()
    process = await asyncio.create_subprocess_exec(*place.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert process.stdout
        said = b""
        async with asyncio.timeout(_START_SECONDS):
            while b"metrics at " not in said:
                line = await process.stdout.readline()
                if not line:
                    raise Refusal(said.decode())
                said += line
        admin = said.decode().rpartition("metrics at ")[2].strip()

        async def remnants() -> int:
            async with aiohttp.ClientSession() as session, session.get(f"{admin}/metrics") as answer:
                (value,) = re.findall(r"^inbox_remnants_pending ([\d.]+)", await answer.text(), re.MULTILINE)
                return int(float(value))

        yield Server(place.url, system_clock, opened, remnants)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


class Judge:
    """Holds one server against what is known. `faults` are sentences that begin with their kind."""

    def __init__(self, history: History, known: Known, server: Server, random: Random) -> None:
        self._history = history
        self._known = known
        self._server = server
        self._random = random
        self.faults: list[str] = []

    async def check(self, data: Path) -> None:
        """Everything that can be asked, then everything that must not be in the files any more."""
        timeout = aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            try:
                for inbox in self._known.inboxes:
                    await self._check_inbox(self._caller(session, inbox.box.key), inbox)
                await self._check_view(Caller(session, self._server.url, self._history.keys[ALONE], self._server.clock))
                await self._check_brief(self._caller(session, self._history.keys[FLEETING]))
            except Unexpected as answer:
                self.faults.append(f"refused: {answer}")
            await self._check_files(data)
        self.faults += self._known.faults.told

    def _caller(self, session: aiohttp.ClientSession, key: Any) -> Caller:
        return Caller(session, self._server.url, key, self._server.clock)

    async def _check_inbox(self, owner: Caller, inbox: Inbox) -> None:
        """What is listed; and that the inbox goes on: something new arrives, and what was read stays read."""
        if (await owner.settings()).status == 404:
            if inbox.claimed:
                self.faults.append("lost: an inbox whose claim was answered is not there")
            return
        limit, devices = self._random.choice((7, 100, 1000)), list(inbox.readings.values())
        await check_box(owner, inbox.box, devices, self._known.faults, limit)
        repeated = self._random.sample(sorted(inbox.acknowledged), min(_REPEATS, len(inbox.acknowledged)))
        for text in (*(self._history.texts[id] for id in repeated), f"after the cut {secrets.token_hex(8)}"):
            asked = inbox.box.ledger.send(text)
            answer = await owner.deliver(text, recipient=owner.key.address)
            if answer.status not in (200, 201):
                raise Unexpected(f"{answer.status} to a delivery: {answer.body[:300]!r}")
            inbox.box.ledger.delivered(text, asked, answer.json(), new=answer.status == 201)
        if inbox.has_sheet:
            await self._check_tickets(owner, inbox)
        await check_box(owner, inbox.box, devices, self._known.faults, limit)

    async def _check_tickets(self, owner: Caller, inbox: Inbox) -> None:
        """Each is good for one delivery: of those that were used for that one, of the others for any."""
        spent = self._random.sample(sorted(inbox.spent.items()), min(_REPEATS, len(inbox.spent)))
        for ticket, _ in spent:
            answer = await deliver_sealed(owner, bytes.fromhex(ticket), message_id="something else")
            if answer.status != 409 or answer.json()["code"] != "ticket_spent":
                self.faults.append(f"respent: {answer.status} to another delivery with a ticket that was used")
        unused = ticket_of(owner.key, TICKETS - 1)
        for ticket, text in (*spent, *inbox.sealed.items(), (unused.hex(), f"unused {secrets.token_hex(8)}")):
            asked = inbox.box.ledger.send(text)
            answer = await deliver_sealed(owner, bytes.fromhex(ticket), message_id=text)
            if answer.status not in (200, 201):
                self.faults.append(f"unspendable: {answer.status} to the delivery that a ticket is for")
                continue
            inbox.box.ledger.delivered(text, asked, answer.json(), new=answer.status == 201)

    async def _check_view(self, owner: Caller) -> None:
        """That settings, subscriptions and entries of the owner who is alone are as they were answered."""
        settings, view = await owner.settings(), None
        if settings.status == 200:
            push = await owner.send("GET", "/v1/inbox/push", token=owner.owner_token("read"))
            view = {
                "settings": settings_in(settings.json()),
                "services": sorted(each["service"] for each in push.json()["subscriptions"]),
                "texts": await owner.texts(),
            }
        if view not in self._known.views:
            self.faults.append(f"unsettled: an owner sees {view}, and was told {self._known.views}")

    async def _check_brief(self, owner: Caller) -> None:
        """What expires soon is listed until it does."""
        listing = await owner.unread(limit=1000)
        if listing.status != 200:
            return
        listed, now = {each["message_id"] for each in listing.json()["messages"]}, self._server.clock()
        for text, expires in self._known.brief.items():
            if expires is not None and expires > now and text not in listed:
                self.faults.append(f"lost: {text[:8]} expires in {expires - now} s and is not listed")
        self.faults += [f"invented: {text[:8]} is listed" for text in listed - self._known.brief.keys()]

    async def _check_files(self, data: Path) -> None:
        """No text that is gone is in any file, once the server has said so; and the database is sound."""
        end = time.monotonic() + _ERASED_SECONDS
        while await self._server.remnants():
            if time.monotonic() > end:
                self.faults.append(f"remains: something is not erased after {_ERASED_SECONDS} s")
                return
            await asyncio.sleep(0.1)
        gone, expired = self._known.gone(self._history.texts), self._known.expired(self._server.opened)
        self.faults += _remains(data, _marks(gone), _marks(expired))
        found = await asyncio.to_thread(read_rows, data, "PRAGMA integrity_check")
        if found != [("ok",)]:
            self.faults.append(f"damaged: {found[:3]}")


def _marks(texts: set[str]) -> set[bytes]:
    return {text[:8].encode() for text in texts}


def _remains(data: Path, gone: set[bytes], expired: set[bytes]) -> list[str]:
    """Where a piece of a text is that must be gone; texts by their marks.

    What expired since the power went may be in the copy that an upgrade makes before anything else.
    """
    faults = []
    for path in sorted(data.rglob("*")):
        if path.is_file():
            found = {b"<%s>" % mark for mark in _MARK.findall(path.read_bytes())}
            wrong = found & (gone if ".before-step-" in path.name else gone | expired)
            faults += [f"remains: {text.decode()} is in {path.name}" for text in sorted(wrong)]
    return faults
