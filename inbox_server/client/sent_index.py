"""Keeping the indexes in the own bucket: a number for each pointer, and an entry for each delivery.

What is to be written is in the outbox until it is written. A file is written on condition of its tag, because other
devices write it too.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from inbox_server.client.bucket import BucketFailed
from inbox_server.client.delivery import entry_id
from inbox_server.client.index import (
    MOST_INDEX_BYTES,
    BadIndex,
    IndexEntry,
    make_index,
    merge_entries,
    read_index,
)
from inbox_server.client.outbox import KEPT_SECONDS, Outbox, Waiting
from inbox_server.client.pairs import Pair, short_hash, week_of
from inbox_server.client.profile_file import Profile
from inbox_server.client.remembered import Remembered, Written
from inbox_server.client.storage import Keeper
from inbox_server.client.tokens_and_cards import linked, pointer_text
from inbox_server.client.user import AppUser
from inbox_server.clock import DAY_SECONDS, UnixTime, end_of_day
from inbox_server.identity.keys import PublicKey

_TRIES: Final = 3
_MOST_FILES: Final = 64  # that are remembered
_WEEKS_BEFORE: Final = 4  # in which a device that knows nothing looks for the last number


@dataclass(frozen=True, slots=True)
class Numbered:
    """A pointer's number in its pair. `is_linked`: the pointer says it; if it has no room, only the index does."""

    message_id: str
    n: int
    is_linked: bool


@dataclass(frozen=True, slots=True)
class SentIndex:
    """Of one identity. It remembers the files that it wrote, so that the next write needs no read."""

    user: AppUser
    profile: Keeper[Profile]
    outbox: Keeper[Outbox]
    _files: dict[str, tuple[str, tuple[IndexEntry, ...]]] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def next_pointer(self, id: str, recipient: PublicKey, now: UnixTime) -> Numbered:
        """The encrypted pointer to a message, and its number, which is used up by this."""
        user, pair = self.user, Pair.to(recipient.hex, self.user.key)
        highest = 0
        if recipient.hex not in self.profile.read().remembered.written:
            highest = await self._highest(pair, week_of(now))
        n, prev = 0, b""

        def take(known: Remembered) -> Remembered:
            nonlocal n, prev
            before = known.written.get(recipient.hex, Written(highest))
            n, prev = before.n + 1, before.last
            return known.with_written(recipient.hex, replace(before, n=n, last=bytes(len(prev))))

        self.profile.change(lambda profile: profile.with_remembered(take))
        pointer = linked(user.pointer(id), pair, n, prev)
        try:
            plain = pointer_text(pointer)
        except ValueError:  # a long app or bucket URL: the index has the number
            return Numbered(user.encrypt_id(id, recipient), n, is_linked=False)
        self._note(
            recipient.hex, lambda known: replace(known, last=short_hash(plain.encode())) if known.n == n else known
        )
        return Numbered(user.encrypt_pointer(pointer, recipient), n, is_linked=True)

    async def _highest(self, pair: Pair, week: int) -> int:
        """The last number in earlier weeks. This week's file is not looked for: caches remember that there is none."""
        weeks = range(week - _WEEKS_BEFORE, week)
        with contextlib.suppress(BucketFailed):
            files = await asyncio.gather(*(self._read(pair, each) for each in weeks))
            return max((entry.n for _, entries in files for entry in entries), default=0)
        return 0

    async def write(self) -> dict[str, str]:
        """Write what the outbox says is not in the index yet; returns, by message, why something could not be."""
        async with self._lock:
            files: dict[tuple[str, int], list[Waiting]] = {}
            for waiting in self.outbox.read().values():
                if not waiting.is_indexed:
                    files.setdefault((waiting.key, week_of(waiting.made)), []).append(waiting)
            failed: dict[str, str] = {}
            for (recipient, week), all_waiting in files.items():
                try:
                    await self._write(Pair.to(recipient, self.user.key), week, [*map(index_entry, all_waiting)])
                except BucketFailed as failure:
                    failed.update((waiting.message, str(failure)) for waiting in all_waiting)
                else:
                    self._note_written(all_waiting)
            return failed

    async def _write(self, pair: Pair, week: int, added: Iterable[IndexEntry]) -> None:
        """Raises `BucketFailed`."""
        path, written = pair.index_path(week), self.profile.read().remembered.written.get(pair.recipient)
        tag: str | None = None
        known: tuple[IndexEntry, ...] = ()
        if path in self._files:
            tag, known = self._files[path]
        elif written and written.week == week:
            tag, known = await self._read(pair, week)
        for _ in range(_TRIES):
            entries = merge_entries(known, added)
            content = make_index(self.user.key, pair, week, entries, iv=self.user.random_bytes(16))
            if (new := await self.user.bucket.replace(path, content, tag)) is not None:
                self._files[path] = new, entries
                while len(self._files) > _MOST_FILES:
                    del self._files[next(iter(self._files))]
                self._note(pair.recipient, partial(_continued, highest=max(entry.n for entry in entries), week=week))
                return
            tag, known = await self._read(pair, week)
        raise BucketFailed(f"{path} is written by another device all the time, or a cache shows an old one")

    async def _read(self, pair: Pair, week: int) -> tuple[str | None, tuple[IndexEntry, ...]]:
        """Raises `BucketFailed`. A damaged file counts as an empty one: nothing else would ever repair it."""
        content, tag = await self.user.bucket.read_tagged(pair.index_path(week), MOST_INDEX_BYTES)
        with contextlib.suppress(BadIndex):
            return tag, read_index(content or b"", pair, week, self.user.key)
        return tag, ()

    def give_up(self, waiting: Waiting) -> None:
        """Leave a delivery without an entry: for weeks, none could be written."""
        self._note_written([waiting])

    def _note(self, recipient: str, change: Callable[[Written], Written]) -> None:
        def changed(known: Remembered) -> Remembered:
            return known.with_written(recipient, change(known.written.get(recipient, Written(0))))

        self.profile.change(lambda profile: profile.with_remembered(changed))

    def _note_written(self, all_waiting: Iterable[Waiting]) -> None:
        self.outbox.change(partial(_with_indexed, all_waiting=tuple(all_waiting)))


def index_entry(waiting: Waiting) -> IndexEntry:
    """While no server has answered, the life that was asked for counts, or else the usual one.

    It counts at least, unless it is shorter than a day: a server that cuts it short must not make the recipient's audit
    take the message for expired.
    """
    life = min(json.loads(waiting.body).get("ttl", KEPT_SECONDS), KEPT_SECONDS)
    answered = max(place.expires for place in waiting.places.values()) if waiting.places else 0
    guess = UnixTime(waiting.made + life)
    expires = max(answered, end_of_day(guess)) if life >= DAY_SECONDS else answered or guess
    receipts = {url: place.receipt for url, place in waiting.places.items() if place.receipt}
    return IndexEntry(waiting.n, waiting.message, entry_id(waiting.body), UnixTime(expires), receipts)


def _continued(before: Written, highest: int, week: int) -> Written:
    """Another device may have gone further."""
    last = before.last if before.n >= highest else bytes(len(before.last))
    return Written(max(before.n, highest), last, week)


def _with_indexed(outbox: Outbox, all_waiting: Iterable[Waiting]) -> Outbox:
    """Without what is finished. What has changed since it was written stays to be written."""
    changed = dict(outbox)
    for waiting in all_waiting:
        if changed.get(waiting.message) == waiting:
            changed[waiting.message] = indexed = replace(waiting, is_indexed=True)
            if indexed.is_finished:
                del changed[waiting.message]
    return changed
