"""When notifications are sent: soon, but not at once; together, not one for each delivery; a bounded number at a time.

Memory only: a restart forgets what was due, and a notification may be lost.
"""

import asyncio
import heapq
import logging
import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final, Self

from inbox_server.errors import Unavailable
from inbox_server.notify.channel import Channel, Tally
from inbox_server.notify.pauses import Pauses
from inbox_server.outgoing.budget import Monotonic

_MOST_KNOWN: Final = 16_384  # of each channel; about 500 bytes each

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """At most one notification per `pause_seconds` about one subject, delayed by up to `jitter_seconds`."""

    pause_seconds: float
    jitter_seconds: float


@dataclass(slots=True)
class _Turn:
    """The state of one subject: it waits since `news`, or was sent a moment ago. `inbox` is one that it is about."""

    inbox: bytes
    news: float
    waits: bool = True


class Schedule:
    """Collects notifications and sends them by every channel. `random_bytes` is `secrets.token_bytes` outside tests.

    `pace` is asked each time, because the operator may change it. `pauses` are those of all
    server processes of the host.
    A channel that is slow, or has to wait, does not delay the others.
    """

    def __init__(
        self,
        channels: Iterable[Channel],
        pace: Callable[[], Pace],
        *,
        random_bytes: Callable[[int], bytes],
        monotonic: Monotonic,
        most_known: int = _MOST_KNOWN,
        pauses: Pauses | None = None,
    ) -> None:
        pauses = pauses or Pauses()
        self._lines = tuple(_Line(channel, pace, random_bytes, monotonic, most_known, pauses) for channel in channels)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(line.send_due()) for line in self._lines]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop at once; what waits or is under way is lost."""
        tasks = {*self._tasks, *(task for line in self._lines for task in line.in_flight)}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def soon(self, inbox: bytes, channels: Collection[str]) -> None:
        """Something new waits in this inbox, whose owner subscribed to these channels."""
        for line in self._lines:
            line.soon(inbox, channels)

    def tallies(self) -> dict[str, Tally]:
        """By the channels' names."""
        return {line.channel.name: line.channel.tally for line in self._lines}


class _Line:
    """What waits for one channel. The task of `send_due` sends it; `in_flight` is what it has begun."""

    def __init__(
        self,
        channel: Channel,
        pace: Callable[[], Pace],
        random_bytes: Callable[[int], bytes],
        monotonic: Monotonic,
        most_known: int,
        pauses: Pauses,
    ) -> None:
        self.channel = channel
        self.in_flight: set[asyncio.Task[None]] = set()
        self._pace = pace
        self._random_bytes = random_bytes
        self._monotonic = monotonic
        self._most_known = most_known
        self._pauses = pauses
        self._turns: dict[bytes, _Turn] = {}
        self._due: list[tuple[float, bytes]] = []  # one entry for each turn
        self._news = asyncio.Event()

    def soon(self, inbox: bytes, channels: Collection[str]) -> None:
        about = self.channel.about(inbox, channels)
        if about is None:
            return
        turn = self._turns.get(about)
        if turn is not None:
            turn.waits = True  # already due, or sent a moment ago: then send once more after the pause
            turn.inbox, turn.news = inbox, self._monotonic()
        elif len(self._turns) >= self._most_known:
            self.channel.tally.dropped += 1
        else:
            self._turns[about] = _Turn(inbox, self._monotonic())
            self._schedule(about, self._monotonic())

    def _schedule(self, about: bytes, at: float) -> None:
        chance = int.from_bytes(self._random_bytes(4), "big") / 2**32
        heapq.heappush(self._due, (at + chance * self._pace().jitter_seconds, about))
        self._news.set()

    async def send_due(self) -> None:
        while True:
            self._news.clear()
            while self._due and self._due[0][0] <= self._monotonic():
                _, about = heapq.heappop(self._due)
                await self._take(about)
            wait = self._due[0][0] - self._monotonic() if self._due else None
            try:
                async with asyncio.timeout(wait):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def _take(self, about: bytes) -> None:
        """Send a notification that waits. If none does, its pause is over, and it is forgotten."""
        turn = self._turns[about]
        while turn.waits and len(self.in_flight) >= self.channel.at_once:
            await asyncio.wait(self.in_flight, return_when=asyncio.FIRST_COMPLETED)
        now, pause = self._monotonic(), self._pace().pause_seconds
        wait = math.inf
        if turn.waits:
            wait = self._pauses.begin(self.channel.name, about, news=turn.news, now=now, pause=pause)
        if wait == math.inf:
            del self._turns[about]
            return
        if wait:
            self._schedule(about, now + wait)
            return
        turn.waits = False
        task = asyncio.create_task(_send(self.channel, turn.inbox))
        self.in_flight.add(task)
        task.add_done_callback(self.in_flight.discard)
        self._schedule(about, now + pause)


async def _send(channel: Channel, inbox: bytes) -> None:
    try:
        await channel.notify(inbox)
    except Unavailable:  # the disk failed, which is already logged
        pass
    except Exception as error:  # noqa: BLE001 — one failure must not stop the others
        log.error("a notification failed: %s", type(error).__name__)  # noqa: TRY400 — a traceback may hold values
