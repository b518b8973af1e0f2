"""How many requests strangers may cause at other people's servers: token buckets, and circuit breakers per host.

Time is an argument, in monotonic seconds.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

Monotonic = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]

_MAX_HOSTS: Final = 1000
_FAILURES: Final = 5  # in a row, before we leave a host alone
_FIRST_PAUSE_SECONDS: Final = 30.0
_LONGEST_PAUSE_SECONDS: Final = 300.0  # so that we notice soon when a name service is back


class Budget:
    """A token bucket whose callers may wait a little: `per_second` on average, `burst` at once."""

    def __init__(
        self,
        per_second: float,
        burst: int,
        *,
        max_wait_seconds: float,
        monotonic: Monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._max_wait = max_wait_seconds
        self._monotonic = monotonic
        self._sleep = sleep
        self._tokens = float(burst)
        self._at = monotonic()

    async def spend(self) -> bool:
        """Take a token, after waiting for it; False at once when the wait would be too long."""
        wait = self._reserve()
        if wait is None:
            return False
        if wait > 0:
            await self._sleep(wait)
        return True

    def _reserve(self) -> float | None:
        now = self._monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        wait = max(0.0, (1 - self._tokens) / self._per_second)
        if wait > self._max_wait:
            return None
        self._tokens -= 1  # may go below zero: waiting callers have reserved theirs
        return wait


@dataclass(slots=True)
class _Host:
    budget: Budget
    failures: int = 0
    pause_seconds: float = _FIRST_PAUSE_SECONDS
    closed_until: float = 0.0


class Hosts:
    """Limits for each host: a rate, and a pause after repeated failures. Bounded."""

    def __init__(self, per_second: float, burst: int, *, monotonic: Monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._monotonic = monotonic
        self._hosts: OrderedDict[str, _Host] = OrderedDict()

    async def may_ask(self, host: str) -> bool:
        """Whether this host may be asked now; waits a little for its rate."""
        known = self._known(host)
        return self._monotonic() >= known.closed_until and await known.budget.spend()

    def answered(self, host: str) -> None:
        """The host answered, no matter what."""
        known = self._known(host)
        known.failures, known.pause_seconds = 0, _FIRST_PAUSE_SECONDS

    def failed(self, host: str) -> None:
        """The host failed or did not answer. After five failures in a row it gets a pause, longer each time."""
        known = self._known(host)
        if self._monotonic() < known.closed_until:
            return  # the request began before the pause
        known.failures += 1
        if known.failures >= _FAILURES:
            known.closed_until = self._monotonic() + known.pause_seconds
            known.pause_seconds = min(2 * known.pause_seconds, _LONGEST_PAUSE_SECONDS)
            known.failures = _FAILURES - 1  # one more failure after the pause is enough

    def _known(self, host: str) -> _Host:
        known = self._hosts.get(host)
        if known is None:
            budget = Budget(self._per_second, self._burst, max_wait_seconds=1.0, monotonic=self._monotonic)
            known = self._hosts[host] = _Host(budget)
        self._hosts.move_to_end(host)
        while len(self._hosts) > _MAX_HOSTS:
            self._hosts.popitem(last=False)
        return known
