"""When notifications are sent: soon, but not at once; together, not one for each delivery; a bounded number at a time.

Memory only: a restart forgets what was due, and a notification may be lost.
"""

import asyncio
import heapq
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from inbox_server.errors import Unavailable
from inbox_server.notify.channel import Channel, Tally
from inbox_server.outgoing.budget import Monotonic

_MOST_KNOWN: Final = 16_384  # about 500 bytes each
_MOST_IN_FLIGHT: Final = 32  # each goes to at most 8 browsers

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """At most one notification per `pause_seconds` about one subject, delayed by up to `jitter_seconds`."""

    pause_seconds: float
    jitter_seconds: float


@dataclass(slots=True)
class _Turn:
    """The state of one subject: it waits, or was sent a moment ago. `inbox` is one inbox that it is about."""

    channel: Channel
    inbox: bytes
    waits: bool = True


class Schedule:
    """Collects notifications and sends them. `random_bytes` is `secrets.token_bytes` outside tests."""

    def __init__(
        self,
        channels: Sequence[Channel],
        pace: Pace,
        tally: Tally,
        *,
        random_bytes: Callable[[int], bytes],
        monotonic: Monotonic,
        most_known: int = _MOST_KNOWN,
    ) -> None:
        self._channels = channels
        self.pace = pace
        self.tally = tally
        self._random_bytes = random_bytes
        self._monotonic = monotonic
        self._most_known = most_known
        self._turns: dict[tuple[int, bytes], _Turn] = {}
        self._due: list[tuple[float, tuple[int, bytes]]] = []  # one entry for each turn
        self._in_flight: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._send_due())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop at once; what waits or is under way is lost."""
        tasks = {self._task, *self._in_flight}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    def soon(self, inbox: bytes, *, subscribed: bool) -> None:
        """Something new waits in this inbox. `subscribed` says whether any browser asked to be told."""
        for number, channel in enumerate(self._channels):
            about = channel.about(inbox, subscribed=subscribed)
            if about is None:
                continue
            key = number, about
            turn = self._turns.get(key)
            if turn is not None:
                turn.waits = True  # already due, or sent a moment ago: then send once more after the pause
                turn.inbox = inbox
            elif len(self._turns) >= self._most_known:
                self.tally.dropped += 1
            else:
                self._turns[key] = _Turn(channel, inbox)
                self._schedule(key, self._monotonic())

    def _schedule(self, key: tuple[int, bytes], at: float) -> None:
        chance = int.from_bytes(self._random_bytes(4), "big") / 2**32
        heapq.heappush(self._due, (at + chance * self.pace.jitter_seconds, key))
        self._news.set()

    async def _send_due(self) -> None:
        while True:
            self._news.clear()
            while self._due and self._due[0][0] <= self._monotonic():
                _, key = heapq.heappop(self._due)
                await self._take(key)
            wait = self._due[0][0] - self._monotonic() if self._due else None
            try:
                async with asyncio.timeout(wait):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def _take(self, key: tuple[int, bytes]) -> None:
        """Send a notification that waits. If none does, its pause is over, and it is forgotten."""
        turn = self._turns[key]
        if not turn.waits:
            del self._turns[key]
            return
        while len(self._in_flight) >= _MOST_IN_FLIGHT:
            await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)
        turn.waits = False
        task = asyncio.create_task(_send(turn.channel, turn.inbox))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)
        self._schedule(key, self._monotonic() + self.pace.pause_seconds)


async def _send(channel: Channel, inbox: bytes) -> None:
    try:
        await channel.notify(inbox)
    except Unavailable:  # the disk failed, which is already logged
        pass
    except Exception as error:  # noqa: BLE001 — one failure must not stop the others
        log.error("a notification failed: %s", type(error).__name__)  # noqa: TRY400 — a traceback may hold values
