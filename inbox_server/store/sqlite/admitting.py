"""Deliveries with a ticket: which of them may be done, and that each ticket is used for one entry.

A ticket is looked at, the delivery done and the ticket marked within one transaction.
"""

import sqlite3
from collections.abc import Sequence
from typing import Self

from inbox_server.errors import Refused
from inbox_server.store.contract import Delivered
from inbox_server.store.sqlite.delivering import Delivering, Delivery
from inbox_server.store.sqlite.sheets import HASH_BYTES, UNUSED, Place, marks_of, read_sheets


class Admitting:
    """Implements `jobs.Kind` for deliveries of both kinds, which are then done together."""

    def __init__(self, delivering: Delivering) -> None:
        self._delivering = delivering

    def together(self, db: sqlite3.Connection, asked: Sequence[Delivery]) -> list[Delivered | None]:
        """None also for a ticket that is not known to be unused: `alone` looks for it."""
        if not any(one.ticket for one in asked):
            return self._delivering.together(db, asked)
        outcomes: list[Delivered | None] = [None] * len(asked)
        with _Marks(db) as marks:
            admitted = [number for number, one in enumerate(asked) if one.ticket is None or marks.use(one)]
            done = self._delivering.together(db, [asked[number] for number in admitted])
            for number, delivered in zip(admitted, done, strict=True):
                outcomes[number] = delivered
                if delivered is None:
                    marks.give_back(asked[number])
        return outcomes

    def alone(self, db: sqlite3.Connection, asked: Delivery) -> Delivered | None:
        """None when the inbox is full. Raises `Refused`."""
        ticket = asked.ticket
        if ticket is None:
            return self._delivering.alone(db, asked)
        sheets = read_sheets(db, asked.inbox, ticket)
        place = sheets.place_of(ticket) if sheets else None
        if place is None:
            raise Refused("not_accepted", "The delivery is not accepted.")  # the owner has just sent another sheet
        with _Marks(db) as marks:
            mark = marks.read(place)
            if mark not in (UNUSED, ticket.mark):
                raise Refused("ticket_spent", "This ticket was used for another delivery. Take the next one.")
            delivered = self._delivering.alone(db, asked)
            if delivered and mark == UNUSED:
                marks.write(place, ticket.mark)
        return delivered


class _Marks:
    """Which tickets were used, while a transaction lasts: an open column keeps it from being committed."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._open: dict[int, sqlite3.Blob] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for marks in self._open.values():
            marks.close()

    def use(self, asked: Delivery) -> bool:
        """Mark its ticket, if that is where it was, and unused."""
        place, ticket = asked.place, asked.ticket
        if place is None or ticket is None:
            return False
        try:
            unused = self.read(place) == UNUSED
        except sqlite3.Error:  # the sheet was replaced: a new one has another number
            return False
        if unused:
            self.write(place, ticket.mark)
        return unused

    def give_back(self, asked: Delivery) -> None:
        """Its ticket, if it had one, is unused after all."""
        if asked.place:
            self.write(asked.place, UNUSED)

    def read(self, place: Place) -> bytes:
        marks = self._open.get(place.sheet)
        if marks is None:
            marks = self._open[place.sheet] = marks_of(self._db, place.sheet)
        marks.seek(place.at)
        return marks.read(HASH_BYTES)

    def write(self, place: Place, mark: bytes) -> None:
        """Only where it was read."""
        marks = self._open[place.sheet]
        marks.seek(place.at)
        marks.write(mark)
