"""Whether the clock can be trusted: one that jumps must not delete what waits, nor date what arrives.

The wall clock is compared with the monotonic clock, and at the start with the newest time that the database has seen.
After a jump, time continues as if there had been none, until the new time has held for some minutes.
"""

import logging
from collections.abc import Callable
from typing import Final

from inbox_server.clock import Clock, UnixTime
from inbox_server.errors import Unavailable

FORWARD_SECONDS: Final = 3600  # more than a time service corrects, or a busy machine sleeps
BACK_SECONDS: Final = 60  # what tokens tolerate
HOLD_SECONDS: Final = 300  # if a time service corrects a wrong clock, it has done so after this long
_RETRY_SECONDS: Final = 60

log = logging.getLogger(__name__)


class ClockGuard:
    """Watches `clock`. `seen` is the newest time that an earlier server knew, if any; `monotonic` is in seconds."""

    def __init__(self, clock: Clock, monotonic: Callable[[], float], seen: UnixTime | None) -> None:
        self.clock = clock
        self._monotonic = monotonic
        self._known = clock() if seen is None else seen
        self._known_at = monotonic()
        self._off = 0
        self._jumped_at: float | None = None
        self._told = False
        self._outage_since = seen

    def believed(self) -> UnixTime:
        """The time by which entries expire: the clock's, or after a jump, the time without the jump."""
        self._look()
        return self._expected()

    def has_jumped(self) -> bool:
        self._look()
        return self._jumped_at is not None

    def dating(self) -> UnixTime:
        """The time for something new. Raises `Unavailable` while the clock has jumped."""
        if self.has_jumped():
            way = "forward" if self._off > 0 else "back"
            raise Unavailable(
                "clock_jumped",
                f"The server's clock jumped {abs(self._off)} seconds {way}. Nothing is taken or dropped until it has"
                f" held for {HOLD_SECONDS // 60} minutes, or the operator says that it is right.",
                retry_after=_RETRY_SECONDS,
            )
        return self._known

    def has_held(self) -> bool:
        """Whether the clock is trusted again after a jump: it has run on from there, or the operator confirmed it."""
        held = self._jumped_at is not None and self._monotonic() - self._jumped_at >= HOLD_SECONDS
        return self.has_jumped() and (held or self._told)

    def known_until(self) -> UnixTime | None:
        """Until when time passed for everybody, where it did not until now: at the start, and after a jump."""
        if self._outage_since is not None:
            return self._outage_since
        return self._expected() if self._jumped_at is not None else None

    def trust(self) -> None:
        """The operator says that the clock is right."""
        self._told = self.has_jumped()

    def accept(self) -> None:
        """From now on the clock is right, and entries that expired until now are dealt with."""
        self._outage_since = None
        self._go_on()

    def _go_on(self) -> None:
        self._known, self._known_at = self.clock(), self._monotonic()
        if self._jumped_at is not None:
            log.warning("clock is believed again")
        self._jumped_at, self._told = None, False

    def _expected(self) -> UnixTime:
        return UnixTime(int(self._known + self._monotonic() - self._known_at))

    def _look(self) -> None:
        off = self.clock() - self._expected()
        if -BACK_SECONDS <= off <= FORWARD_SECONDS:
            self._go_on()
        elif self._jumped_at is None or abs(off - self._off) > BACK_SECONDS:
            self._off, self._jumped_at, self._told = off, self._monotonic(), False
            log.error("clock jumped %+d s", off)
