"""Where texts are kept: slots of one size, overwritten in place, so that nothing of a text stays behind.

When SQLite balances a B-tree it moves rows between pages, and what it leaves in the old page is not blanked, not even
with `secure_delete`: of some hundred texts that were acknowledged, one could still be found (test_erasing.py). A row of
this table is never moved. It is made blank, filled, and blanked again, always with as many bytes, which SQLite writes
over in place. Growing appends blank rows at the end, and `vacuum.py` deletes blank ones there: no row has to move.

A text lies there as it is listed, with quotes and backslashes escaped: its id and what comes between the two go before
it, so that SQLite can join a page.
"""

import contextlib
import json
import secrets
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Final

from inbox_server.store.contract import ENTRY_JSON
from inbox_server.store.texts import TEXT_BYTES, base64url

_BETWEEN: Final = ENTRY_JSON[1].encode()
HEAD_BYTES: Final = 43 + len(_BETWEEN)
_BODY_BYTES: Final = HEAD_BYTES + TEXT_BYTES
_BLANK: Final = bytes(_BODY_BYTES)
PAGE_SLOTS: Final = 3  # rows of `text` in a page of the file
MOST_OPEN: Final = 16_384  # inboxes, of about 400 bytes each
_CHOICE: Final = 22  # pages of the file
_GROW_SLOTS: Final = 2 * _CHOICE * PAGE_SLOTS
_LOOK_SLOTS: Final = 4 * _CHOICE * PAGE_SLOTS
SPARE_SLOTS: Final = _LOOK_SLOTS  # as many free ones stay to choose from when the file is made smaller


class Slots:
    """Chooses slots for new texts. For the writer's thread only.

    A page of the file goes to one inbox, whose next texts fill it: a page of the list then reads a third as many pages.
    Which one is drawn from 22 or more, so that its place says little about when a text came beside those of others.

    All this is a choice from what `free_slot` has. A slot is held from the look there until it is deleted there, so
    that no other look finds it. After a rollback nothing of it is sure, and it is forgotten.
    """

    def __init__(self, *, most_open: int = MOST_OPEN, randbelow: Callable[[int], int] = secrets.randbelow) -> None:
        self._most_open = most_open
        self._randbelow = randbelow
        self.end: int | None = None
        """The last slot that may be chosen, while those behind it are about to go."""
        self.forget()

    def forget(self) -> None:
        self._pages: list[list[int]] = []
        """The free slots of pages of the file that no inbox fills."""
        self._open: OrderedDict[bytes, list[int]] = OrderedDict()
        """What is left of the page that an inbox fills."""
        self._held: set[int] = set()

    def take(self, db: sqlite3.Connection, inbox: bytes) -> int:
        """A free slot for the inbox's next text. Fill it in the same transaction, or put it back."""
        left = self._open.pop(inbox, None) or self._page(db)
        slot = left.pop(0)  # in order: SQLite finds the next row at once when a page of the list is read
        if left:
            self._keep_open(inbox, left)
        return slot

    def put_back(self, inbox: bytes, slot: int) -> None:
        self._keep_open(inbox, [*self._open.pop(inbox, ()), slot])

    def fill(self, db: sqlite3.Connection, texts: Sequence[tuple[int, bytes, str]]) -> None:
        """Keep texts in the slots that were taken for them. Each is a slot, an id and a text as `as_listed` has it."""
        bodies = [(body_of(id, text), slot) for slot, id, text in texts]
        slots = [(slot,) for slot, _, _ in texts]
        db.executemany("UPDATE text SET body = ? WHERE slot = ?", bodies)
        if db.executemany("DELETE FROM free_slot WHERE slot = ?", slots).rowcount != len(slots):
            raise sqlite3.IntegrityError("a slot was not free")  # never; and better no delivery than two in one place
        self._held.difference_update(slot for (slot,) in slots)

    def _keep_open(self, inbox: bytes, left: list[int]) -> None:
        self._open[inbox] = left
        if len(self._open) > self._most_open:
            _, dropped = self._open.popitem(last=False)
            self._held.difference_update(dropped)

    def _page(self, db: sqlite3.Connection) -> list[int]:
        """The free slots of any page."""
        if len(self._pages) < _CHOICE:
            self._hold(self._look(db))
        if len(self._pages) < _CHOICE:
            self._hold(grow_slots(db))
        chosen = self._randbelow(len(self._pages))
        self._pages[chosen], self._pages[-1] = self._pages[-1], self._pages[chosen]
        return self._pages.pop()

    def _look(self, db: sqlite3.Connection) -> list[int]:
        """Free slots that are not held, from anywhere in the file: those that are held lie together."""
        (end,) = db.execute("SELECT coalesce(max(slot), 0) FROM free_slot").fetchone()
        end = end if self.end is None else min(end, self.end)
        start = self._randbelow(end // PAGE_SLOTS + 1) * PAGE_SLOTS  # the end of a page
        ahead = "SELECT slot FROM free_slot WHERE slot > ? AND slot <= ? ORDER BY slot LIMIT ?"
        found = [slot for (slot,) in db.execute(ahead, (start, end, _LOOK_SLOTS))]
        if len(found) < _LOOK_SLOTS:
            found += [slot for (slot,) in db.execute(ahead, (0, start, _LOOK_SLOTS - len(found)))]
        return [slot for slot in found if slot not in self._held]

    def _hold(self, slots: Iterable[int]) -> None:
        for _, page in groupby(slots, lambda slot: (slot - 1) // PAGE_SLOTS):
            free = list(page)
            self._pages.append(free)
            self._held.update(free)


def blank_slot(db: sqlite3.Connection, slot: int) -> None:
    """Write a text over, and let the next one have its slot."""
    db.execute("UPDATE text SET body = ? WHERE slot = ?", (_BLANK, slot))
    db.execute("INSERT INTO free_slot (slot) VALUES (?)", (slot,))


def body_of(id: bytes, text: str) -> bytes:
    """What a slot holds of a text."""
    return (base64url(id).encode() + _BETWEEN + text.encode()).ljust(_BODY_BYTES, b"\0")


def text_in(body: bytes, size: int, listed: int | None) -> str:
    """The text as it was delivered. What a failing disk made of it is not hidden: its id tells that it is another."""
    length = size if listed is None else listed
    text = body[HEAD_BYTES : HEAD_BYTES + length].decode("ascii", "replace")
    if listed is not None and "\\" in text:
        with contextlib.suppress(ValueError):
            return str(json.loads(f'"{text}"'))
    return text


def grow_slots(db: sqlite3.Connection) -> Sequence[int]:
    """Append blank slots, always whole pages."""
    (last,) = db.execute("SELECT max(slot) FROM text").fetchone()
    new = range(last + 1, last + 1 + _GROW_SLOTS)
    db.executemany("INSERT INTO text (slot, body) VALUES (?, ?)", ((slot, _BLANK) for slot in new))
    db.executemany("INSERT INTO free_slot (slot) VALUES (?)", ((slot,) for slot in new))
    return new
