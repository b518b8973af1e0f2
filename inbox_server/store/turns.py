"""Turns at the database: one at a time for each inbox and few for all, however many are asked for at once.

A group of reads, or of writes, is answered when its slowest job is done, and it includes those of deliveries. So an
owner who asks for much waits behind their own requests, and takes turns with everybody else.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from weakref import WeakValueDictionary

from inbox_server.errors import Refused

_RETRY_SECONDS = 5


class _Line:
    """Those who wait for the turn of one inbox, and the one that has it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.length = 0


class Turns:
    """At most `most` at a time. Of one inbox, only so many may stand in `line`, if anything is said."""

    def __init__(self, most: int, *, line: int | None = None) -> None:
        self.places = asyncio.Semaphore(most)
        self._longest = line
        self._lines: WeakValueDictionary[bytes, _Line] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def line(self, inbox: bytes) -> AsyncIterator[None]:
        """Wait for this inbox's turn, in order of arrival. Raises `Refused` when its line is full."""
        line = self._lines.setdefault(inbox, _Line())
        if line.length == self._longest:
            detail = "Too many requests of this inbox wait already. Wait for their answers, then repeat this one."
            raise Refused("too_many", detail, retry_after=_RETRY_SECONDS)
        line.length += 1
        try:
            async with line.lock:
                yield
        finally:
            line.length -= 1

    @contextlib.asynccontextmanager
    async def turn(self, inbox: bytes) -> AsyncIterator[None]:
        """Wait for this inbox's turn and for a place."""
        async with self.line(inbox), self.places:
            yield
