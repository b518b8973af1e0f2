"""What is known of inboxes without a query, until the writer changes it.

One process owns the database, so every change passes through it. While a change is being committed, nothing is cached
for its inbox: other readers can see the change at some moment in between, and what one reader has seen must not be
denied to the next.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from inbox_server.lru import Lru

V = TypeVar("V")


class _Reading(Generic[V]):
    """A value that is being read."""

    value: V | None = None


class Known(Generic[V]):
    """One value for each inbox, for `most` inboxes; the least recently used is dropped first."""

    def __init__(self, most: int) -> None:
        self._known: Lru[bytes, V] = Lru(most)
        self._reading: dict[bytes, _Reading[V]] = {}
        self._changing: Collection[bytes] = ()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, inbox: bytes) -> V | None:
        return self._known.get(inbox)

    @contextmanager
    def reading(self, inbox: bytes) -> Iterator[_Reading[V]]:
        """Keep the `value` that is set meanwhile, unless the inbox changed or changes since this began.

        Several that overlap are one, which the first to end ends: of a busy inbox there is always one under way.
        """
        reading = self._reading.setdefault(inbox, _Reading[V]())
        try:
            yield reading
        finally:
            if self._reading.get(inbox) is reading:  # no change since
                del self._reading[inbox]
                if reading.value and inbox not in self._changing:
                    self._known.keep(inbox, reading.value)

    @contextmanager
    def changing(self, inboxes: Collection[bytes]) -> Iterator[None]:
        """While these inboxes change, nothing is cached for them, nor what was read of them meanwhile."""
        self._changing = inboxes
        for inbox in inboxes:
            self._known.drop(inbox)
        try:
            yield
        finally:
            self._changing = ()
            for inbox in inboxes:
                self._reading.pop(inbox, None)
