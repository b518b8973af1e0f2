"""How many inboxes were opened within the last hour, by all server processes of a host."""

import contextlib
from collections.abc import Iterator
from typing import Final

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.host_memory import HostLock, shared_bytes

_HOUR_SECONDS: Final = 3600
_BACK_SECONDS: Final = 60  # of a clock that jumps further back, what was counted before means nothing


class Opened:
    """A count for each second of the last hour."""

    def __init__(self) -> None:
        self._lock = HostLock()
        self._newest = memoryview(shared_bytes(8)).cast("Q")  # the second of the newest count
        self._counts = memoryview(shared_bytes(4 * _HOUR_SECONDS)).cast("I")

    @contextlib.contextmanager
    def opening(self, now: UnixTime, most: int) -> Iterator[None]:
        """Count one; the count is taken back if what is done within the context fails. Raises `Refused` too_many."""
        with self._lock.held():
            second = self._move_on(now)
            if sum(self._counts) >= most:
                wait = self._oldest() + _HOUR_SECONDS - second
                raise Refused("too_many", "Too many new inboxes for now. Try again later.", retry_after=max(wait, 1))
            self._counts[second % _HOUR_SECONDS] += 1
        try:
            yield
        except BaseException:
            self._take_back(second)
            raise

    def _move_on(self, now: int) -> int:
        """Forget what is older than an hour, and return the second to count in."""
        newest = self._newest[0]
        if now < newest - _BACK_SECONDS or now >= newest + _HOUR_SECONDS:
            self._counts[:] = memoryview(bytes(4 * _HOUR_SECONDS)).cast("I")
            newest = now
        for second in range(newest + 1, now + 1):
            self._counts[second % _HOUR_SECONDS] = 0
        self._newest[0] = max(newest, now)
        return self._newest[0]

    def _oldest(self) -> int:
        newest = self._newest[0]
        seconds = range(newest - _HOUR_SECONDS + 1, newest + 1)
        return next(second for second in seconds if self._counts[second % _HOUR_SECONDS])

    def _take_back(self, second: int) -> None:
        with self._lock.held():
            newest, place = self._newest[0], second % _HOUR_SECONDS
            if newest - _HOUR_SECONDS < second <= newest and self._counts[place]:  # else its hour is over
                self._counts[place] -= 1
