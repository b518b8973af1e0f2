"""Deliveries with a ticket: which of them may be done, and that each ticket is used for one entry.

A ticket is looked at, the delivery done and the ticket marked within one transaction.
"""

import sqlite3
from collections.abc import Sequence

from inbox_server.errors import Refused
from inbox_server.store.contract import Delivered
from inbox_server.store.sqlite.delivering import Delivering, Delivery
from inbox_server.store.sqlite.recent_uses import UNUSED, RecentUses, Use
from inbox_server.store.sqlite.sheets import read_sheets


class Admitting:
    """Implements `jobs.Kind` for deliveries of both kinds, which are then done together."""

    def __init__(self, delivering: Delivering, uses: RecentUses) -> None:
        self._delivering = delivering
        self._uses = uses

    def together(self, db: sqlite3.Connection, asked: Sequence[Delivery]) -> list[Delivered | None]:
        """None also for a ticket that is not known to be unused: `alone` looks for it."""
        if not any(one.ticket for one in asked):
            return self._delivering.together(db, asked)
        outcomes: list[Delivered | None] = [None] * len(asked)
        admitted = [number for number, one in enumerate(asked) if one.ticket is None or self._is_unused(db, one)]
        done = self._delivering.together(db, [asked[number] for number in admitted])
        uses = list[Use]()
        for number, delivered in zip(admitted, done, strict=True):
            outcomes[number], ticket, place = delivered, asked[number].ticket, asked[number].place
            if ticket and place:
                if delivered:
                    uses.append(Use(place, ticket.mark))
                else:
                    self._uses.give_back(place)
        if uses:
            self._uses.add(db, uses)
        return outcomes

    def _is_unused(self, db: sqlite3.Connection, one: Delivery) -> bool:
        """Whether its ticket is where it was, and unused until now."""
        return one.place is not None and self._uses.take(db, one.place)

    def alone(self, db: sqlite3.Connection, asked: Delivery) -> Delivered | None:
        """None when the inbox is full. Raises `Refused`."""
        ticket = asked.ticket
        if ticket is None:
            return self._delivering.alone(db, asked)
        sheets = read_sheets(db, asked.inbox, ticket)
        place = sheets.place_of(ticket) if sheets else None
        if place is None:
            raise Refused("not_accepted", "The delivery is not accepted.")  # the owner has just sent another sheet
        mark = self._uses.mark_at(db, place)
        if mark not in (UNUSED, ticket.mark):
            raise Refused("ticket_spent", "This ticket was used for another delivery. Take the next one.")
        delivered = self._delivering.alone(db, asked)
        if delivered and mark == UNUSED:
            self._uses.take(db, place)
            self._uses.add(db, [Use(place, ticket.mark)])
        return delivered
