"""Clients of two servers of one database: when one does not answer, they go on at the other, and never give up."""

import asyncio
import itertools
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final, TextIO

import aiohttp

from inbox_server.client.appkey import AppKey
from inbox_server.clock import system_clock
from tests.faults.clients import Away, Box, Device, QuickKey, Sender, Unexpected, check_box, read_page
from tests.faults.model import Faults, Ledger, Reading
from tests.support.requests import Answer, Caller

_BOXES: Final = 4
_SENDERS: Final = 8
_PACE_SECONDS: Final = 0.02  # between two requests of a client, or the clients would be most of the load
_RETRY_SECONDS: Final = 0.2
_WAIT_SECONDS: Final = 2
ANSWER_SECONDS: Final = 20  # more than a server waits for its database


class Enough(Exception):
    """The load is over."""


@dataclass(slots=True)
class Pulse:
    """When deliveries were answered as kept, and what is the last that each server kept: when that was asked for."""

    longest: float = 0
    asked: dict[str, float] = field(default_factory=dict)
    _last: float = 0

    def restart(self) -> None:
        self._last, self.longest, self.asked = time.monotonic(), 0, {}

    def beat(self, place: str, asked: float) -> None:
        now = time.monotonic()
        self.longest = max(self.longest, now - self._last)
        self._last = now
        self.asked[place] = asked


@dataclass(slots=True)
class Site:
    """The servers as clients know them: one URL, and places behind it, of which each request goes to another one."""

    url: str
    places: Sequence[str]
    admins: Sequence[str] = ()
    pulse: Pulse = field(default_factory=Pulse)
    ends: bool = False
    pace_seconds: float = _PACE_SECONDS
    journal: TextIO | None = None
    """Where each request is written, with when and where it was sent and what was answered."""
    _turns: Iterator[str] = field(init=False)

    def __post_init__(self) -> None:
        self._turns = itertools.cycle(self.places)

    def next_place(self) -> str:
        return next(self._turns)

    def all_write(self, since: float) -> bool:
        """Whether every server has kept a delivery that was asked for after that moment."""
        return all(self.pulse.asked.get(place, 0) > since for place in self.places)


@dataclass(frozen=True, slots=True)
class Client(Caller):
    """A caller of the site, until the load is over; or at one place of it, if that is given."""

    site: Site | None = None

    async def send(self, method: str, path: str, *args: Any, **more: Any) -> Answer:
        assert self.site
        if self.site.ends:
            raise Enough
        place, asked = self.place or self.site.next_place(), time.monotonic()
        answer = await Caller.send(replace(self, place=place), method, path, *args, **more)
        self.note(f"{asked:.3f} {place} {method} {path} {args} {answer.status} {answer.body!r}")
        if (method, path, answer.status) == ("POST", "/v1/messages", 201):
            self.site.pulse.beat(place, asked)
        await asyncio.sleep(self.site.pace_seconds)
        return answer

    def note(self, what: str) -> None:
        """Write it into the journal, without what only fills texts up."""
        if self.site and self.site.journal:
            filled = re.sub("x{9,}", "x", what)
            self.site.journal.write(f"{time.monotonic():.3f} {self.key.address[:8]} {filled}\n")


class Follower:
    """A device that only follows: it waits for what comes, and acknowledges nothing."""

    def __init__(self, box: Box) -> None:
        self.key = box.key
        self.reading = Reading(box.ledger)

    async def work(self, caller: Caller) -> None:
        while True:
            await read_page(caller, self.reading, 50, _WAIT_SECONDS)

    async def finish(self, caller: Caller) -> None:
        """Nothing is unanswered."""


class Load:
    """Senders, devices and followers, with what they know. Each inbox has one follower of each kind."""

    def __init__(
        self,
        site: Site,
        session: aiohttp.ClientSession,
        seed: str,
        faults: Faults,
        *,
        boxes: int = _BOXES,
        senders: int = _SENDERS,
        followers: Sequence[type[Follower]] = (Follower,),
    ) -> None:
        self.tally: Counter[str] = Counter()
        self._site = site
        self._session = session
        self._faults = faults
        random = Random(seed)
        self._boxes = [Box(QuickKey(random.randbytes(32)), Ledger(faults)) for _ in range(boxes)]
        self._devices: list[Device | Follower] = [kind(box) for kind in followers for box in self._boxes]
        self._devices += [Device(box, Random(random.random()), self.tally) for box in self._boxes]
        self._senders = [
            Sender(
                f"sender-{number}",
                QuickKey(random.randbytes(32)),
                self._boxes,
                Random(random.random()),
                self.tally,
                gives_up=0,
            )
            for number in range(senders)
        ]
        self._working: list[asyncio.Task[None]] = []

    async def claim(self) -> None:
        for box in self._boxes:
            answer = await self._client(box.key).claim({"accept": "anyone"})
            assert answer.status == 201, answer.body

    def start(self) -> None:
        self._site.ends = False
        clients: list[Sender | Device | Follower] = [*self._senders, *self._devices]
        self._working = [asyncio.create_task(self._work(each)) for each in clients]

    async def stop(self) -> None:
        """Until everything that was sent is answered."""
        self._site.ends = True
        await asyncio.gather(*self._working)
        self._site.ends = False

    async def leave(self) -> None:
        """At once, whatever is unanswered."""
        for each in self._working:
            each.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)

    async def check(self) -> None:
        """What each server says, while nobody asks anything else."""
        for place in self._site.places:
            for box in self._boxes:
                readings = [each.reading for each in self._devices if each.key is box.key]
                await check_box(self._client(box.key, place), box, readings, self._faults, 100)
                for reading in readings:
                    reading.check_whole()

    async def standby(self, admin: str) -> Any:
        """What a server says of the standby, or None when it is not ready."""
        async with self._session.get(f"{admin}/ready") as answer:
            return (await answer.json()).get("standby")

    async def _work(self, client: Sender | Device | Follower) -> None:
        caller = self._client(client.key)
        await self._patiently(client.work, caller)
        self._site.ends = True
        await self._patiently(client.finish, replace(caller, site=Site(self._site.url, self._site.places)))

    async def _patiently(self, work: Callable[[Caller], Awaitable[None]], caller: Client) -> None:
        """Until it is done, or the load is over. What a server cannot do for now is asked of the other one."""
        while True:
            try:
                await work(caller)
            except Enough:
                return
            except Away:  # the next request goes to the other server
                self.tally["refused for now"] += 1
            except Unexpected as answer:
                self._faults.add("refused", repr(answer))
                return
            except (aiohttp.ClientError, TimeoutError) as error:
                self._faults.add("dropped", repr(error))
            else:
                return
            await asyncio.sleep(_RETRY_SECONDS)

    def _client(self, key: AppKey, place: str | None = None) -> Client:
        return Client(self._session, self._site.url, key, system_clock, place=place, site=self._site)
