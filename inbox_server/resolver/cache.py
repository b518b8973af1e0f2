"""Remembering look-ups, in memory and bounded, so that a known sender costs no request and an outage is survived.

Strangers share a budget of look-ups. Names that are known have one of their own, and their answers lie apart from the
refusals, so that a flood of made-up names neither queues before them nor pushes them out.
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
LAPSE_SECONDS: Final = 3 * DAY_SECONDS  # an index that is built anew, a bucket that moves: also over a weekend
AGAIN_SECONDS: Final = 60  # how often a misfit may ask for a fresh look-up of one name
_MAX_KNOWN: Final = 10_000  # about 5 MB
_MAX_REFUSED: Final = 5_000
_MAX_WAIT_SECONDS: Final = 3.0
_BUSY_RETRY_SECONDS: Final = 10
PUT_OFF_SECONDS: Final = (0.5, 1.5)  # without it, 200 connections keep the server busy with nothing but refusals
_GOLDEN: Final = 0.6180339887498949  # its multiples fall evenly between whole numbers, however many there are


class PutOff:
    """How long those wait who are put off, so that one who floods and waits for answers is slowed down.

    Each another while, or all of them would come back at once.
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
        # A key is asked for before the owner's policy was, so strangers get less of it.
        self._keys: LookUps[PublicKey] = look_ups(5, 50, 8)

    def ask(self, resolver: Resolver) -> None:
        """Look up here from now on. What is remembered stays until it is old."""
        self._resolver = resolver

    def remembered(self) -> dict[str, float]:
        """How many answers are remembered, by kind."""
        return {"addresses": len(self._addresses), "keys": len(self._keys)}

    async def address(self, name: str, app: str, *, fresh: bool = False) -> str:
        return await self._addresses.get((name, app), lambda: self._resolver.address(name, app), fresh=fresh)

    async def key(self, name: str, app: str, *, fresh: bool = False) -> PublicKey:
        return await self._keys.get((name, app), lambda: self._resolver.key(name, app), fresh=fresh)


class Share:
    """A part of the look-ups: so many a second, and so many in flight, because a slow host holds each for seconds."""

    def __init__(self, budget: Budget, *, flights: int) -> None:
        self._budget = budget
        self._flights = asyncio.Semaphore(flights)

    @contextlib.asynccontextmanager
    async def take(self) -> AsyncIterator[bool]:
        """A place, given back at the end; False at once when too many wait, or when none comes free in time."""
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
    """An answer, when it came, and since when there is none any more where it came from."""

    answer: V
    at: UnixTime
    missing_since: UnixTime | None = None

    def holds(self, now: UnixTime, seconds: int) -> bool:
        """Whether it is the answer for `seconds` after it came, which a missing one is not."""
        return self.missing_since is None and now - self.at < seconds


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A link that did not hold, or a failure; `until` then it is the answer."""

    refusal: Refused
    at: UnixTime
    until: UnixTime


class LookUps(Generic[V]):
    """Answers by key: fresh, stale while upstream fails, not found, failed; one flight for each key."""

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
        """The answer, remembered or looked up. Raises what the look-up raised.

        While upstream fails, what is remembered is the answer for a day; but not for who asks for a `fresh` one,
        because what is remembered did not fit, and that is no last word. What was there and is `Missing` is a failure
        for three days: nothing is accepted on its account, and nothing is final.
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
        # One waiting caller that leaves does not end the flight for the others.
        return self._open(key, await asyncio.shield(flight), now, fresh=fresh)

    def _open(self, key: K, answer: V | Refused, now: UnixTime, *, fresh: bool) -> V:
        """The answer, a remembered one instead of a failure, or the refusal raised as a new one: a raised exception
        keeps its caller's frames alive."""
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
        """Whether what is missing was known, and is missing for less than `LAPSE_SECONDS`."""
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
