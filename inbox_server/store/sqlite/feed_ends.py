"""The ends of inboxes' feeds, cached until the next write: most polls find nothing, and need no query.

One process owns the database, so every change passes through it. While a change is being committed, nothing is cached
for its inbox: other readers can see the change at some moment in between, and what one reader has seen must not be
denied to the next.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from inbox_server.lru import Lru
from inbox_server.store.contract import Cursor, Page

_MOST: Final = 16_384  # about 300 bytes each


@dataclass(frozen=True, slots=True)
class FeedEnd:
    """The end of an inbox's feed, and whether a list from the start was seen to be empty."""

    end: Cursor
    empty: bool

    def page_after(self, after: Cursor | None) -> Page | None:
        """The empty page, if that is what there is after this cursor; None when the database must be asked."""
        if after is None:
            return Page((), (), self.end, more=False) if self.empty else None
        caught_up = after.generation == self.end.generation and after.change == self.end.change >= after.listed_at
        return Page((), (), self.end, more=False) if caught_up else None


class _Reading:
    """An end that is being read."""

    end: FeedEnd | None = None


class FeedEnds:
    """The known ends; the least recently used is dropped first."""

    def __init__(self, most: int = _MOST) -> None:
        self._known: Lru[bytes, FeedEnd] = Lru(most)
        self._reading: dict[bytes, _Reading] = {}
        self._changing: Collection[bytes] = ()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, inbox: bytes) -> FeedEnd | None:
        return self._known.get(inbox)

    @contextmanager
    def reading(self, inbox: bytes) -> Iterator[_Reading]:
        """Keep the `end` that is set meanwhile, unless the inbox changed or changes since this began."""
        reading = self._reading[inbox] = _Reading()
        try:
            yield reading
        finally:
            if self._reading.get(inbox) is reading:  # no change since, and no later reading
                del self._reading[inbox]
                if reading.end and inbox not in self._changing:
                    self._known.keep(inbox, reading.end)

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
