"""A bounded cache of look-ups in memory: a known sender costs no request, and we survive an outage.

Strangers share a budget of look-ups. Known names have their own budget, and their answers are kept apart from the
refusals. So a flood of made-up names neither queues before them nor evicts them.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

from inbox_server.clock import DAY_SECONDS, Clock, UnixTime
from inbox_server.errors import Refused, Unavailable
from inbox_server.identity.keys import PublicKey
from inbox_server.metrics import LookUp
from inbox_server.outgoing.budget import Budget, Monotonic, Sleep
from inbox_server.resolver.contract import Missing, Resolver, unavailable

Count = Callable[[LookUp], None]
K = tuple[str, str]
V = TypeVar("V")

FRESH_SECONDS: Final = 600  # a wallet's new login takes this long to be noticed
NOT_FOUND_SECONDS: Final = 300
STALE_SECONDS: Final = 86_400  # a signed profile a day old is better than no delivery
FAILURE_SECONDS: Final = 45
LAPSE_SECONDS: Final = 3 * DAY_SECONDS  # time to rebuild an index or to move a bucket, also over a weekend
AGAIN_SECONDS: Final = 60  # how often a mismatch may cause a fresh look-up of one name
_MAX_KNOWN: Final = 10_000  # about 5 MB
_MAX_REFUSED: Final = 5_000
_MAX_WAIT_SECONDS: Final = 3.0
_BUSY_RETRY_SECONDS: Final = 10
PUT_OFF_SECONDS: Final = (0.5, 1.5)  # without it, 200 connections keep the server busy with refusals alone
_GOLDEN: Final = 0.6180339887498949  # its multiples fall evenly between whole numbers, however many there are


class PutOff:
    """How long a caller waits to hear that it is put off. This slows down a flood that waits for its answers.

    The delays differ, because otherwise all callers would come back at once.
    """

    def __init__(self, least: float, most: float) -> None:
        self._least = least
        self._spread = most - least
        self._number = 0

    def seconds(self) -> float:
        self._number += 1
        return self._least + self._spread * (self._number * _GOLDEN % 1)


class CachedResolver:
    """Implements `contract.Resolver` around another one.

    `put_off_seconds`: how long, at least and at most, a stranger waits to hear that there is no budget.
    """

    def __init__(
        self,
        resolver: Resolver,
        clock: Clock,
        count: Count,
        *,
        monotonic: Monotonic = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        put_off_seconds: tuple[float, float] = PUT_OFF_SECONDS,
    ) -> None:
        def budget(per_second: float, burst: int) -> Budget:
            return Budget(per_second, burst, max_wait_seconds=_MAX_WAIT_SECONDS, monotonic=monotonic, sleep=sleep)

        def look_ups(per_second: float, burst: int, flights: int) -> LookUps[Any]:
            strangers = Share(budget(per_second, burst), flights=flights)
            return LookUps(clock, count, strangers=strangers, known=known, put_off=put_off)

        known, put_off = Share(budget(20, 200), flights=24), PutOff(*put_off_seconds)
        self._resolver = resolver
        self._addresses: LookUps[str] = look_ups(20, 100, 24)
        # A key look-up comes before the owner's policy, so strangers get a smaller share of it.
        self._keys: LookUps[PublicKey] = look_ups(5, 50, 8)

    def ask(self, resolver: Resolver) -> None:
        """Look up with this resolver from now on. Cached answers stay until they are old."""
        self._resolver = resolver

    def remembered(self) -> dict[str, float]:
        """How many answers are remembered, by kind."""
        return {"addresses": len(self._addresses), "keys": len(self._keys)}

    async def address(self, name: str, app: str, *, fresh: bool = False) -> str:
        return await self._addresses.get((name, app), lambda: self._resolver.address(name, app), fresh=fresh)

    async def key(self, name: str, app: str, *, fresh: bool = False) -> PublicKey:
        return await self._keys.get((name, app), lambda: self._resolver.key(name, app), fresh=fresh)


class Share:
    """A share of the look-ups: a rate per second, and a limit in flight, because slow hosts take seconds each."""

    def __init__(self, budget: Budget, *, flights: int) -> None:
        self._budget = budget
        self._flights = asyncio.Semaphore(flights)

    @contextlib.asynccontextmanager
    async def take(self) -> AsyncIterator[bool]:
        """Take a place and give it back at the end. False if too many wait (at once), or none is free in time."""
        if not await self._budget.spend():
            yield False
            return
        try:
            async with asyncio.timeout(_MAX_WAIT_SECONDS):
                await self._flights.acquire()
        except TimeoutError:
            yield False
            return
        try:
            yield True
        finally:
            self._flights.release()


@dataclass(frozen=True, slots=True)
class _Known(Generic[V]):
    """An answer, when it came, and since when it has been missing at its source."""

    answer: V
    at: UnixTime
    missing_since: UnixTime | None = None

    def holds(self, now: UnixTime, seconds: int) -> bool:
        """Whether it may be used for `seconds` after it came; one that is missing by now may not."""
        return self.missing_since is None and now - self.at < seconds


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A link that did not hold, or a failure. It is the answer until `until`."""

    refusal: Refused
    at: UnixTime
    until: UnixTime


class LookUps(Generic[V]):
    """Answers by key: fresh, stale while upstream fails, not found, or failed. Each key has one look-up in flight."""

    def __init__(self, clock: Clock, count: Count, *, strangers: Share, known: Share, put_off: PutOff) -> None:
        self._clock = clock
        self._count = count
        self._strangers = strangers
        self._knowns = known
        self._put_off = put_off
        self._known: OrderedDict[K, _Known[V]] = OrderedDict()
        self._refused: OrderedDict[K, _Refusal] = OrderedDict()
        self._flights: dict[K, asyncio.Task[V | Refused]] = {}

    def __len__(self) -> int:
        return len(self._known) + len(self._refused)

    async def get(self, key: K, look_up: Callable[[], Awaitable[V]], *, fresh: bool) -> V:
        """The answer, cached or looked up. Raises what the look-up raised.

        While upstream fails, the cached answer is used for a day. A caller that asks for a `fresh` one does not get it,
        because it did not fit. If a link existed and is now `Missing`, that is a failure for three days: nothing is
        accepted because of it, and no refusal is final.
        """
        now = self._clock()
        known = self._known.get(key)
        if known and known.at <= now and known.holds(now, AGAIN_SECONDS if fresh else FRESH_SECONDS):
            self._known.move_to_end(key)
            self._count("remembered")
            return known.answer
        refused = self._refused.get(key)
        if refused and refused.at <= now < refused.until and not (fresh and now - refused.at >= AGAIN_SECONDS):
            self._count("remembered")
            return self._open(key, refused.refusal, now, fresh=fresh)
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._fly(key, look_up))
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        # A waiting caller that leaves does not cancel the look-up for the others.
        return self._open(key, await asyncio.shield(flight), now, fresh=fresh)

    def _open(self, key: K, answer: V | Refused, now: UnixTime, *, fresh: bool) -> V:
        """The answer, or a cached one instead of a failure. A refusal is raised as a new exception, because a raised
        one keeps its caller's frames alive."""
        if isinstance(answer, Unavailable):
            known = self._known.get(key)
            if known and not fresh and known.holds(now, STALE_SECONDS):
                self._count("stale")
                return known.answer
            raise Unavailable(answer.code, answer.detail, retry_after=answer.retry_after)
        if isinstance(answer, Refused):
            raise Refused(answer.code, answer.detail)
        return answer

    async def _fly(self, key: K, look_up: Callable[[], Awaitable[V]]) -> V | Refused:
        known, now = self._known.get(key), self._clock()
        usable = known is not None and now - known.at < STALE_SECONDS
        try:
            async with (self._knowns if usable else self._strangers).take() as has_place:
                if not has_place:
                    self._count("busy")
                    if not usable:
                        await asyncio.sleep(self._put_off.seconds())
                    return unavailable(retry_after=_BUSY_RETRY_SECONDS)
                answer = await look_up()
        except Unavailable as failure:
            self._count("failed")
            return self._refuse(key, failure, now, UnixTime(now + FAILURE_SECONDS))
        except Refused as refusal:
            if isinstance(refusal, Missing) and self._is_lapse(key, now):
                self._count("failed")
                lapse = unavailable(f"{refusal.detail} There was before, so that may pass.")
                return self._refuse(key, lapse, now, UnixTime(now + FAILURE_SECONDS))
            self._count("refused")
            self._known.pop(key, None)
            return self._refuse(key, refusal, now, UnixTime(now + NOT_FOUND_SECONDS))
        self._count("found")
        self._refused.pop(key, None)
        self._known[key] = _Known(answer, now)
        _bound(self._known, key, _MAX_KNOWN)
        return answer

    def _is_lapse(self, key: K, now: UnixTime) -> bool:
        """Whether a missing link was known, and has been missing for less than `LAPSE_SECONDS`."""
        known = self._known.get(key)
        if known is None:
            return False
        since = now if known.missing_since is None else min(known.missing_since, now)
        self._known[key] = replace(known, missing_since=since)
        return now - since < LAPSE_SECONDS

    def _refuse(self, key: K, refusal: Refused, now: UnixTime, until: UnixTime) -> Refused:
        self._refused[key] = _Refusal(refusal, now, until)
        _bound(self._refused, key, _MAX_REFUSED)
        return refusal


def _bound(entries: OrderedDict[K, V], newest: K, most: int) -> None:
    entries.move_to_end(newest)
    while len(entries) > most:
        entries.popitem(last=False)
