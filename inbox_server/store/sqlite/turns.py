"""Turns at the database: one read at a time for each inbox and few for all, however many are asked for at once.

A group of reads is answered when its slowest is through, and deliveries' own reads travel in it. So whoever asks for
much waits behind the own requests, and the others in turn with everybody's.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from weakref import WeakValueDictionary


class Turns:
    """At most `most` at a time."""

    def __init__(self, most: int) -> None:
        self._all = asyncio.Semaphore(most)
        self._inboxes: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def turn(self, inbox: bytes) -> AsyncIterator[None]:
        """Wait for this inbox's turn, in order of arrival."""
        lock = self._inboxes.setdefault(inbox, asyncio.Lock())
        async with lock, self._all:
            yield
