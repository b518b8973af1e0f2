"""Waking waiting readers: a commit wakes everyone who listens for an inbox that it changed, and they read again.

A wake-up carries no data, so it cannot be wrong: the store is the only truth. Start to listen before you read, or you
miss a change between the read and the wait.
"""

import asyncio
import contextlib
from collections.abc import Collection, Iterator
from typing import Final, Literal

from inbox_server.errors import Refused

MAX_WAITING_READERS: Final = 16  # per inbox: more devices than people have
_RETRY_SECONDS: Final = 60


class Listener:
    """Learns whether its inbox has changed since it last listened. One that `yields` may have to make room."""

    def __init__(self, *, yields: bool = False) -> None:
        self._changed = asyncio.Event()
        self.yields = yields
        self.ended: Literal["", "stopping", "replaced"] = ""

    def listen(self) -> None:
        """Count changes from now on. Read after this call."""
        self._changed.clear()

    async def changed(self, seconds: float) -> bool:
        """Whether something changed within `seconds`; False at once when listening has been ended."""
        if seconds > 0 and not self.ended:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
        return self._changed.is_set() and not self.ended

    def wake(self) -> None:
        self._changed.set()

    def end(self, reason: Literal["stopping", "replaced"]) -> None:
        self.ended = reason
        self._changed.set()


class Wakeups:
    """Who listens for which inbox."""

    def __init__(self) -> None:
        self._listeners: dict[bytes, list[Listener]] = {}
        self._stopping = False

    def __len__(self) -> int:
        return sum(len(listeners) for listeners in self._listeners.values())

    @contextlib.contextmanager
    def listening(self, inbox: bytes, *, yields: bool = False) -> Iterator[Listener]:
        """Listen for an inbox for as long as the context lasts.

        When all places are taken, the oldest reader that yields is ended as `replaced`: it has been silent the longest,
        and may have lost its network. Raises `Refused` too_many when no reader yields.
        """
        listeners = self._listeners.setdefault(inbox, [])
        if len(listeners) >= MAX_WAITING_READERS:
            _make_room(listeners)
        listener = Listener(yields=yields)
        if self._stopping:
            listener.end("stopping")
        listeners.append(listener)
        try:
            yield listener
        finally:
            with contextlib.suppress(ValueError):  # its place was given to another
                listeners.remove(listener)
            if not listeners and self._listeners.get(inbox) is listeners:
                del self._listeners[inbox]

    def wake(self, inboxes: Collection[bytes]) -> None:
        """These inboxes have changed, and the change is committed."""
        for inbox in inboxes:
            for listener in self._listeners.get(inbox, ()):
                listener.wake()

    def stop(self) -> None:
        """End all waiting: the server is stopping."""
        self._stopping = True
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.end("stopping")


def _make_room(listeners: list[Listener]) -> None:
    for listener in listeners:
        if listener.yields:
            listeners.remove(listener)
            listener.end("replaced")
            return
    raise Refused(
        "too_many",
        f"{MAX_WAITING_READERS} readers are already waiting for this inbox. End one of them, or try again later.",
        retry_after=_RETRY_SECONDS,
    )
