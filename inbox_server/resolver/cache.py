"""Remembering look-ups, in memory and bounded, so that a known sender costs no request and an outage is survived."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from inbox_server.clock import Clock, UnixTime
from inbox_server.errors import Refused, Unavailable
from inbox_server.keys import PublicKey
from inbox_server.resolver.contract import Resolver, unavailable

V = TypeVar("V")

FRESH_SECONDS: Final = 600  # a wallet's new login takes this long to be noticed
NOT_FOUND_SECONDS: Final = 300
STALE_SECONDS: Final = 86_400  # a signed profile a day old is better than no delivery
FAILURE_SECONDS: Final = 45
AGAIN_SECONDS: Final = 60  # how often a misfit may ask for a fresh look-up of one name
_MAX_ENTRIES: Final = 10_000  # about 5 MB


class CachedResolver:
    """Implements `contract.Resolver` around another one."""

    def __init__(self, resolver: Resolver, clock: Clock) -> None:
        self._resolver = resolver
        self._addresses: LookUps[str] = LookUps(clock)
        self._keys: LookUps[PublicKey] = LookUps(clock)

    async def address(self, name: str, app: str, *, fresh: bool = False) -> str:
        return await self._addresses.get((name, app), lambda: self._resolver.address(name, app), fresh=fresh)

    async def key(self, name: str, app: str, *, fresh: bool = False) -> PublicKey:
        return await self._keys.get((name, app), lambda: self._resolver.key(name, app), fresh=fresh)


@dataclass(slots=True)
class _Entry(Generic[V]):
    """The last answer, when it came, and until when a failure since then keeps us from asking again."""

    answer: V | Refused
    at: UnixTime
    wait_until: UnixTime


class LookUps(Generic[V]):
    """Answers by key: fresh, stale while upstream fails, not found, failed; one flight for each key."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: OrderedDict[tuple[str, str], _Entry[V]] = OrderedDict()
        self._flights: dict[tuple[str, str], asyncio.Task[V | Refused]] = {}

    async def get(self, key: tuple[str, str], look_up: Callable[[], Awaitable[V]], *, fresh: bool) -> V:
        """The answer, remembered or looked up. Raises what the look-up raised."""
        entry = self._entries.get(key)
        if entry and self._holds(entry, fresh=fresh):
            self._entries.move_to_end(key)
            return _open(entry.answer)
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._fly(key, look_up))
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        return _open(await asyncio.shield(flight))  # one waiting caller that leaves does not end it for the others

    def _holds(self, entry: _Entry[V], *, fresh: bool) -> bool:
        now = self._clock()
        if now < entry.wait_until:
            return True
        if isinstance(entry.answer, Unavailable):
            return False
        if fresh:
            return now - entry.at < AGAIN_SECONDS
        return now - entry.at < (NOT_FOUND_SECONDS if isinstance(entry.answer, Refused) else FRESH_SECONDS)

    async def _fly(self, key: tuple[str, str], look_up: Callable[[], Awaitable[V]]) -> V | Refused:
        known = self._entries.get(key)
        now = self._clock()
        try:
            answer: V | Refused = await look_up()
            wait_until = now
        except Unavailable as failure:
            wait_until = UnixTime(now + FAILURE_SECONDS)
            if known and not isinstance(known.answer, Refused) and now - known.at < STALE_SECONDS:
                answer, now = known.answer, known.at
            else:
                answer = failure
        except Refused as refusal:
            answer, wait_until = refusal, now
        self._entries[key] = _Entry(answer, now, wait_until)
        self._entries.move_to_end(key)
        while len(self._entries) > _MAX_ENTRIES:
            self._entries.popitem(last=False)
        return answer


def _open(answer: V | Refused) -> V:
    if isinstance(answer, Unavailable):
        raise unavailable()
    if isinstance(answer, Refused):
        raise Refused(answer.code, answer.detail)  # a new one: a raised exception keeps its caller's frames alive
    return answer
