"""Which tickets were used lately, until that is written into their sheets: all uses of a commit share a page.

A sheet has pages of its own, so to mark each use there is one more page of the file to write for each delivery. Here
the uses of a commit are on one page, and those of many commits go into the sheets together. Whoever else reads or
changes the column `used` of a sheet calls `empty` or `leave` first, so that all of it is there.

The rows are as long as a page, are written over in place, as texts are (`slots.py`), and are zeros when they are empty.
"""

import secrets
import sqlite3
import struct
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

from inbox_server.lru import Lru

HASH_BYTES: Final = 16
UNUSED: Final = bytes(HASH_BYTES)
_USE: Final = struct.Struct(f">QH{HASH_BYTES}s")  # the sheet's number, the ticket's number there, the mark
_PAGE_BYTES: Final = 3900
_PAGE_USES: Final = _PAGE_BYTES // _USE.size
_BLANK: Final = bytes(_PAGE_BYTES)
_PART_BYTES: Final = 4096  # of the marks on a sheet: about a page of the file
_MOST_PARTS: Final = 1024  # to write them all into their sheets takes a commit of 15 to 30 ms
_LOOK_BYTES: Final = 1024  # of the marks on a sheet are read at once: a part of a part
_MOST_SHEETS: Final = 4096  # of 1 to 3 KB each; those of a group of 512 must not be dropped before it is done


class Place(NamedTuple):
    """Where a ticket is: the number of its sheet, and the first byte there."""

    sheet: int
    at: int


class Use(NamedTuple):
    """Where a ticket is, and the keyed hash of it and of what it was used for."""

    place: Place
    mark: bytes


_Waiting = dict[tuple[int, int], dict[int, bytes]]
"""Marks that are not in their sheets yet: by sheet and first byte of a part of it, then by their own first byte."""


class RecentUses:
    """Says which tickets are used, and keeps new uses. For the writer's thread only."""

    def __init__(self, randbelow: Callable[[int], int] = secrets.randbelow) -> None:
        self._randbelow = randbelow
        self.forget()

    def forget(self) -> None:
        """After a rollback, nothing of what is remembered is sure."""
        self._used = Lru[int, dict[int, bytearray]](_MOST_SHEETS)
        """By a sheet's number and the first byte that was looked at: for each ticket from there, 1 if it is used."""
        self._waiting: _Waiting | None = None
        """None until they were read."""
        self._blank: list[int] = []
        """Pages without uses."""
        self._page: int | None = None
        self._on_page: list[bytes] = []
        """The page that is being filled, if any, and its uses."""

    def take(self, db: sqlite3.Connection, place: Place) -> bool:
        """Whether the ticket is there and unused. It is used from now on: `add` its use, or give it back."""
        used, number = self._used_at(db, place), place.at % _LOOK_BYTES // HASH_BYTES
        if used is None or used[number]:
            return False
        used[number] = 1
        return True

    def give_back(self, place: Place) -> None:
        if looked := self._used.get(place.sheet):
            within = place.at % _LOOK_BYTES
            looked[place.at - within][within // HASH_BYTES] = 0

    def mark_at(self, db: sqlite3.Connection, place: Place) -> bytes:
        """What the ticket was used for, or `UNUSED`. Its sheet must be there."""
        if mark := self._read(db).get(_part_of(place), {}).get(place.at):
            return mark
        with _marks_of(db, place.sheet) as marks:
            marks.seek(place.at)
            return marks.read(HASH_BYTES)

    def add(self, db: sqlite3.Connection, uses: Sequence[Use]) -> None:
        """Keep the uses of tickets that were taken."""
        waiting = self._read(db)
        if len(uses) > min(_PAGE_USES * len(self._blank) + self._room(), _MOST_PARTS - len(waiting)):
            self.empty(db)
            waiting = self._read(db)
        for place, mark in uses:
            waiting.setdefault(_part_of(place), {})[place.at] = mark
        new = sorted(_USE.pack(place.sheet, place.at // HASH_BYTES, mark) for place, mark in uses)
        while new:
            if not self._room():
                self._page, self._on_page = self._blank.pop(self._randbelow(len(self._blank))), []
            room = self._room()
            self._on_page, new = sorted(self._on_page + new[:room]), new[room:]  # an order that says nothing about when
            body = b"".join(self._on_page).ljust(_PAGE_BYTES, b"\0")
            db.execute("UPDATE recent_use SET body = ? WHERE page = ?", (body, self._page))

    def _room(self) -> int:
        """How many uses still fit on the page that is being filled."""
        return 0 if self._page is None else _PAGE_USES - len(self._on_page)

    def leave(self, db: sqlite3.Connection, sheets: Collection[int]) -> None:
        """See that sheets, which are about to change or go, have all uses of their tickets, and forget them."""
        if any(sheet in sheets for sheet, _ in self._read(db)):
            self.empty(db)
        for sheet in sheets:
            self._used.drop(sheet)

    def empty(self, db: sqlite3.Connection) -> None:
        """Write all uses into their sheets."""
        waiting = self._read(db)
        if not waiting:
            return
        for (sheet, _), marks in waiting.items():
            with _marks_of(db, sheet) as used:
                for at in sorted(marks):
                    used.seek(at)
                    used.write(marks[at])
        db.execute("UPDATE recent_use SET body = ?1 WHERE body <> ?1", (_BLANK,))
        self._waiting = None

    def _read(self, db: sqlite3.Connection) -> _Waiting:
        """The marks that are not in their sheets yet."""
        if self._waiting is None:
            self._waiting, self._blank, self._page, self._on_page = {}, [], None, []
            for page, body in db.execute("SELECT page, body FROM recent_use"):
                for sheet, number, mark in _USE.iter_unpack(body):
                    if mark != UNUSED:
                        place = Place(sheet, number * HASH_BYTES)
                        self._waiting.setdefault(_part_of(place), {})[place.at] = mark
                if body == _BLANK:
                    self._blank.append(page)
        return self._waiting

    def _used_at(self, db: sqlite3.Connection, place: Place) -> bytearray | None:
        """Which of the tickets around this one are used. None when the sheet is gone: a new one has another number."""
        sheet, first = place.sheet, place.at - place.at % _LOOK_BYTES
        looked = self._used.get(sheet) or {}
        if first not in looked:
            try:
                with _marks_of(db, sheet) as column:
                    column.seek(first)
                    marks = column.read(_LOOK_BYTES)
            except sqlite3.Error:
                return None
            waiting = self._read(db).get(_part_of(place), ())
            looked[first] = bytearray(
                marks[at : at + HASH_BYTES] != UNUSED or first + at in waiting
                for at in range(0, len(marks), HASH_BYTES)
            )
            self._used.keep(sheet, looked)
        return looked[first]


def _part_of(place: Place) -> tuple[int, int]:
    return place.sheet, place.at - place.at % _PART_BYTES


def _marks_of(db: sqlite3.Connection, sheet: int) -> sqlite3.Blob:
    """To be read and written in place, and closed before the commit. Raises `sqlite3.Error` when the sheet is gone."""
    return db.blobopen("sheet", "used", sheet)
