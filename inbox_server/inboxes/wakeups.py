"""Waking waiting readers: a commit wakes everyone who listens for an inbox that it changed, and they read again.

A wake-up carries no data, so it cannot be wrong: the store is the only truth. Start to listen before you read, or you
miss a change between the read and the wait.
"""

import asyncio
import contextlib
from collections.abc import Collection
from typing import Final, Literal, Self

from inbox_server.errors import Refused

MAX_WAITING_READERS: Final = 16  # per inbox: more devices than people have
_RETRY_SECONDS: Final = 60


class Listener:
    """Learns whether its inbox has changed since it last listened, for as long as its context lasts.

    Thousands wait at once, so it is small: one future and one timer while it waits, and no dictionary. One that
    `yields` may have to make room.
    """

    __slots__ = ("_changed", "_inbox", "_waiting", "_wakeups", "ended", "yields")

    def __init__(self, wakeups: "Wakeups", inbox: bytes, *, yields: bool) -> None:
        self._wakeups = wakeups
        self._inbox = inbox
        self._changed = False
        self._waiting: asyncio.Future[None] | None = None
        self.yields = yields
        self.ended: Literal["", "stopping", "replaced"] = ""

    def __enter__(self) -> Self:
        self._wakeups.add(self._inbox, self)
        return self

    def __exit__(self, *_: object) -> None:
        self._wakeups.remove(self._inbox, self)

    def listen(self) -> None:
        """Count changes from now on. Read after this call."""
        self._changed = False

    async def changed(self, seconds: float) -> bool:
        """Whether something changed within `seconds`; False at once when listening has been ended."""
        if seconds > 0 and not self.ended and not self._changed:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            timer = loop.call_later(seconds, self._stop_waiting)
            try:
                await self._waiting
            finally:
                self._waiting = None
                timer.cancel()
        return self._changed and not self.ended

    def wake(self) -> None:
        self._changed = True
        self._stop_waiting()

    def end(self, reason: Literal["stopping", "replaced"]) -> None:
        self.ended = reason
        self.wake()

    def _stop_waiting(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Wakeups:
    """Who listens for which inbox."""

    def __init__(self) -> None:
        self._listeners: dict[bytes, list[Listener]] = {}
        self._stopping = False

    def __len__(self) -> int:
        return sum(len(listeners) for listeners in self._listeners.values())

    def inboxes(self) -> Collection[bytes]:
        """Those for which somebody listens."""
        return self._listeners.keys()

    def listening(self, inbox: bytes, *, yields: bool = False) -> Listener:
        """Listen for an inbox for as long as the context lasts; entering it raises as `add` does."""
        return Listener(self, inbox, yields=yields)

    def add(self, inbox: bytes, listener: Listener) -> None:
        """From now on it is woken.

        When all places are taken, the oldest reader that yields is ended as `replaced`: it has been silent the longest,
        and may have lost its network. Raises `Refused` too_many when no reader yields.
        """
        listeners = self._listeners.setdefault(inbox, [])
        if len(listeners) >= MAX_WAITING_READERS:
            _make_room(listeners)
        if self._stopping:
            listener.end("stopping")
        listeners.append(listener)

    def remove(self, inbox: bytes, listener: Listener) -> None:
        """It listens no more; perhaps its place was given to another before."""
        listeners = self._listeners.get(inbox, [])
        with contextlib.suppress(ValueError):
            listeners.remove(listener)
        if not listeners:
            self._listeners.pop(inbox, None)

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
