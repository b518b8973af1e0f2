"""Deliveries into PostgreSQL: those of a group in one round trip; a repeat that changes something, or one without room,
alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

import asyncpg

from inbox_server.clock import DAY_SECONDS, UnixTime, end_of_day
from inbox_server.errors import Refused
from inbox_server.inbox_log import is_logged
from inbox_server.store.contract import FORGOTTEN_AT_ONCE, Delivered, Quota, Ticket
from inbox_server.store.operating import draining
from inbox_server.store.postgres.expiry import drop_entry, drop_expired
from inbox_server.store.postgres.log import LongerLife, log_longer, shorten
from inbox_server.store.postgres.primary import Connection
from inbox_server.store.postgres.sealing import Sealing
from inbox_server.store.postgres.sharding import lock_inbox
from inbox_server.store.postgres.text_days import ensure_days, move_text
from inbox_server.store.texts import TEXT_BYTES

_EXPIRED_BATCH: Final = TEXT_BYTES  # this many entries, of at least a byte each, make room for any other
_DELIVER: Final = (
    "SELECT number, verdict, granted, log_length FROM deliver($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
)


class _Verdict(IntEnum):
    """What the function `deliver` says of a delivery (schema/0006_groups.sql)."""

    REPEAT = 0
    KEPT = 1
    ALONE = 2
    NO_INBOX = 3
    DRAINING = 4


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a sender wants kept, with its text sealed under the day of `expires`."""

    inbox: bytes
    id: bytes
    size: int
    body: bytes
    expires: UnixTime
    now: UnixTime
    ticket: Ticket | None = None

    @property
    def day(self) -> int:
        return self.expires // DAY_SECONDS


class Delivering:
    """`quota` may change between groups."""

    def __init__(self, sealing: Sealing, quota: Quota) -> None:
        self.quota = quota
        self._sealing = sealing
        self._days: set[int] = set()

    async def together(self, db: Connection, asked: Sequence[Delivery]) -> list[Delivered | Refused | None]:
        """Keep what is new and has room, in one commit. None for what `alone` has to be asked for.

        It is no transaction of the caller's: what follows must not delay the commit, nor undo it.
        """
        if not self._days.issuperset(days := {one.day for one in asked}):
            await ensure_days(db, days)
            self._days |= days
        try:
            rows = await db.fetch(_DELIVER, *self._arguments(asked))
        except asyncpg.CheckViolationError:  # a failover has lost the table of a day
            self._days.clear()
            raise asyncpg.SerializationError("the table of a day has gone") from None
        outcomes: list[Delivered | Refused | None] = [None] * len(asked)
        for number, verdict, granted, _ in rows:
            outcomes[number - 1] = _outcome(_Verdict(verdict), granted)
        for inbox in {
            asked[number - 1].inbox
            for number, verdict, _, log_length in rows
            if verdict == _Verdict.KEPT and log_length - self.quota.log > FORGOTTEN_AT_ONCE
        }:
            async with db.transaction():
                await lock_inbox(db, inbox)
                await shorten(db, inbox, self.quota)
        return outcomes

    def _arguments(self, asked: Sequence[Delivery]) -> tuple[object, ...]:
        kept, until = list[int | None](), list[int | None]()
        for one in asked:
            logged = is_logged(one.expires, one.now)
            last = UnixTime(one.now + self.quota.max_retention)
            kept.append(max(last, one.expires) if logged else None)
            until.append(max(end_of_day(last), one.expires) if logged else None)
        tickets = [one.ticket for one in asked]
        return (
            [one.inbox for one in asked],
            [one.id for one in asked],
            [one.size for one in asked],
            [one.expires for one in asked],
            [one.body for one in asked],
            kept,
            until,
            [ticket and ticket.hash for ticket in tickets],
            [ticket and ticket.mark for ticket in tickets],
            [ticket and ticket.weeks[0] for ticket in tickets],
            [ticket and ticket.weeks[-1] for ticket in tickets],
            self.quota.entries,
            self.quota.bytes,
        )

    async def alone(self, db: Connection, asked: Delivery) -> Delivered | None:
        """Within a transaction. None when the inbox is full, which must be committed. Raises `Refused`."""
        if not await lock_inbox(db, asked.inbox):
            raise _not_accepted()
        unused = asked.ticket and await _look_at_ticket(db, asked.inbox, asked.ticket)
        delivered = await self._deliver(db, asked)
        if delivered and unused and asked.ticket:
            await db.execute(
                "UPDATE ticket SET mark = $4 WHERE inbox = $1 AND week = $2 AND ticket = $3",
                *(asked.inbox, unused.week, asked.ticket.hash, asked.ticket.mark),
            )
        return delivered

    async def _deliver(self, db: Connection, asked: Delivery) -> Delivered | None:
        """A repeat is answered alike whether the entry is unread or read, as in SQLite (sqlite/delivering.py)."""
        inbox, now = asked.inbox, asked.now
        row = await db.fetchrow(
            "SELECT change, day, expires FROM message WHERE inbox = $1 AND id = $2", inbox, asked.id
        )
        if row is None:
            return await self._keep(db, asked)
        change, day, expires = row
        new = expires <= now
        granted = asked.expires if new else UnixTime(max(asked.expires, expires))
        if day is not None and new:
            await drop_entry(db, inbox, change)
            return await self._keep(db, asked)
        if day is None:
            if new and not await self._make_room(db, inbox, asked.size, now):
                return None  # as an unread entry that expired would be refused now
            await db.execute(
                "UPDATE message SET expires = $3, forget_at = greatest(forget_at, $3) WHERE inbox = $1 AND change = $2",
                *(inbox, change, granted),
            )
        elif granted > expires:  # a longer lifetime is a change that every device must see
            await move_text(db, self._sealing, inbox, asked.id, day, granted // DAY_SECONDS)
            await db.execute(
                "WITH given AS (UPDATE inbox SET change = next_change(change) WHERE inbox = $1 RETURNING change)"
                " UPDATE message SET expires = $3, forget_at = $3, day = $4, change = given.change FROM given"
                " WHERE message.inbox = $1 AND message.change = $2",
                *(inbox, change, granted, granted // DAY_SECONDS),
            )
        if granted > expires:  # what a sender is told must be in the log until then
            await log_longer(db, LongerLife(inbox, asked.id, granted, now), self.quota)
        return Delivered(new, granted)

    async def _keep(self, db: Connection, asked: Delivery) -> Delivered | None:
        """A new entry, whose ticket was looked at before."""
        if not await self._make_room(db, asked.inbox, asked.size, asked.now):
            return None
        await ensure_days(db, {asked.day})
        (row,) = await db.fetch(_DELIVER, *self._arguments([replace(asked, ticket=None)]))
        outcome = _outcome(_Verdict(row["verdict"]), row["granted"])
        if isinstance(outcome, Refused):
            raise outcome
        return outcome

    async def _make_room(self, db: Connection, inbox: bytes, size: int, now: UnixTime) -> bool:
        """Whether an entry of `size` bytes fits, once what has expired is gone. If not, the owner will be told."""
        if await self._has_room(db, inbox, size):
            return True
        await drop_expired(db, inbox, now, most=_EXPIRED_BATCH)
        if await self._has_room(db, inbox, size):
            return True
        await db.execute("UPDATE inbox SET refused = true WHERE inbox = $1", inbox)
        return False

    async def _has_room(self, db: Connection, inbox: bytes, size: int) -> bool:
        room: bool = await db.fetchval(
            "SELECT unread < coalesce(most_entries, $3) AND unread_bytes + $2 <= coalesce(most_bytes, $4)"
            " FROM inbox WHERE inbox = $1",
            *(inbox, size, self.quota.entries, self.quota.bytes),
        )
        return room


@dataclass(frozen=True, slots=True)
class _Unused:
    """A ticket that was not used yet, and the week of its sheet."""

    week: int


async def _look_at_ticket(db: Connection, inbox: bytes, ticket: Ticket) -> _Unused | None:
    """None for one that was used for the same entry. Raises `Refused`."""
    row = await db.fetchrow(
        "SELECT week, mark FROM ticket WHERE inbox = $1 AND week BETWEEN $2 AND $3 AND ticket = $4 LIMIT 1",
        *(inbox, ticket.weeks[0], ticket.weeks[-1], ticket.hash),
    )
    if row is None:
        raise _not_accepted()  # the owner has just sent another sheet
    week, mark = row
    if mark not in (None, ticket.mark):
        raise Refused("ticket_spent", "This ticket was used for another delivery. Take the next one.")
    return _Unused(week) if mark is None else None


def _outcome(verdict: _Verdict, granted: int) -> Delivered | Refused | None:
    match verdict:
        case _Verdict.REPEAT | _Verdict.KEPT:
            return Delivered(new=verdict is _Verdict.KEPT, expires=UnixTime(granted))
        case _Verdict.NO_INBOX:
            return _not_accepted()
        case _Verdict.DRAINING:
            return draining()
        case _:
            return None


def _not_accepted() -> Refused:
    return Refused("not_accepted", "The delivery is not accepted.")
