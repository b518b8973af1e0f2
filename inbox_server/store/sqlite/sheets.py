"""Owners' sheets of tickets in SQLite: kept, looked at, and dropped when their week is over.

A sheet is one row, and which ticket was used is written into its last column in place. A row that is longer than a page
has its beginning in the B-tree, whose pages are balanced and leave copies of what they move; the rest has pages of its
own, which are not moved, and are zeroed when the row goes (`secure_delete`). So the beginning is only fill.
"""

import sqlite3
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from inbox_server.clock import UnixTime
from inbox_server.identity.layer import Layer
from inbox_server.store.contract import Policy, SettingsChange, Sheet, Ticket
from inbox_server.store.sqlite.policy import read_policy
from inbox_server.store.sqlite.recent_uses import HASH_BYTES, UNUSED, Place, RecentUses
from inbox_server.store.sqlite.settings import settle

MOST_USED: Final = 4096
"""How many used tickets that are not on the new sheet are remembered when it takes the place of another."""
_FILL: Final = bytes(4096)  # a page
_NUMBERS: Final = 1 << 62
_NOBODY: Final = b""  # on nobody's lists


@dataclass(slots=True)
class KnownSheets:
    """The policy for whoever has a ticket, and the sheets of the weeks that were asked for: week, number and ids."""

    policy: Policy
    sheets: tuple["_KnownSheet", ...]
    _found: tuple[Ticket, Place] | None = None
    """The last one: a delivery asks for the policy, and then for the place."""

    def place_of(self, ticket: Ticket) -> Place | None:
        if self._found and self._found[0] is ticket:
            return self._found[1]
        for sheet in self.sheets:
            if sheet.week in ticket.weeks and (at := sheet.find(ticket.hash)) is not None:
                place = Place(sheet.number, at)
                self._found = ticket, place
                return place
        return None


class _KnownSheet:
    """Finds hashes: by their first four bytes as numbers, which are sorted as the hashes are."""

    def __init__(self, week: int, number: int, ids: bytes) -> None:
        self.week, self.number, self._ids = week, number, ids
        words = array("I", ids)
        if sys.byteorder == "little":
            words.byteswap()
        self._begins = words[:: HASH_BYTES // words.itemsize]

    def find(self, hash: bytes) -> int | None:
        """The first byte of a hash."""
        begins, begin = self._begins, int.from_bytes(hash[:4], "big")
        number = bisect_left(begins, begin)
        while number < len(begins) and begins[number] == begin:
            at = number * HASH_BYTES
            if self._ids[at : at + HASH_BYTES] == hash:
                return at
            number += 1
        return None


def keep_sheet(
    db: sqlite3.Connection,
    uses: RecentUses,
    inbox: bytes,
    change: SettingsChange,
    sheet: Sheet,
    now: UnixTime,
    randbelow: Callable[[int], int],
) -> None:
    """Tickets that were used stay used, also those that are not on the new sheet."""
    settle(db, inbox, change, None, now)
    of = (inbox, sheet.week)
    uses.leave(db, [number for (number,) in db.execute("SELECT number FROM sheet WHERE inbox = ? AND week = ?", of)])
    row = db.execute("SELECT ids, used FROM sheet WHERE inbox = ? AND week = ?", of).fetchone()
    used = {id: mark for id, mark in tickets_of(*row or (b"", b"")) if mark != UNUSED}
    left_over = sorted(used.keys() - set(sheet.ids))[:MOST_USED]
    ids = sorted({*sheet.ids, *left_over})
    db.execute("DELETE FROM sheet WHERE inbox = ? AND week = ?", of)
    insert_sheet(db, inbox, sheet.week, [(id, used.get(id, UNUSED)) for id in ids], randbelow)


def insert_sheet(
    db: sqlite3.Connection,
    inbox: bytes,
    week: int,
    tickets: Sequence[tuple[bytes, bytes]],
    randbelow: Callable[[int], int],
) -> None:
    """Keep a sheet where there is none: sorted ids of tickets, each with what it was used for, or `UNUSED`."""
    ids, used = (b"".join(column) for column in zip(*tickets, strict=True)) if tickets else (b"", b"")
    db.execute(
        "INSERT INTO sheet (number, inbox, week, fill, ids, used) VALUES (?, ?, ?, ?, ?, ?)",
        (randbelow(_NUMBERS), inbox, week, _FILL, ids, used),
    )


def tickets_of(ids: bytes, used: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each id in the columns of a sheet, and what it was used for, or `UNUSED`."""
    for at in range(0, len(ids), HASH_BYTES):
        yield ids[at : at + HASH_BYTES], used[at : at + HASH_BYTES]


def read_sheets(db: sqlite3.Connection, inbox: bytes, ticket: Ticket) -> KnownSheets | None:
    """What there is of the ticket's weeks; None when there is no inbox. The same statements in either case."""
    policy, _ = read_policy(db, inbox, _NOBODY)
    rows = db.execute(
        "SELECT week, number, ids FROM sheet WHERE inbox = ? AND week BETWEEN ? AND ?",
        (inbox, ticket.weeks[0], ticket.weeks[-1]),
    ).fetchall()
    return KnownSheets(policy, tuple(_KnownSheet(*row) for row in rows)) if policy else None


def rekeyed_tickets(ids: bytes, used: bytes, old: Layer, new: Layer) -> tuple[bytes, bytes]:
    """The two columns of a sheet under another layer, sorted as they will be looked for."""
    rekeyed = sorted(
        (new.hide(old.show(id)), UNUSED if mark == UNUSED else new.hide(old.show(mark)))
        for id, mark in tickets_of(ids, used)
    )
    return b"".join(id for id, _ in rekeyed), b"".join(mark for _, mark in rekeyed)
