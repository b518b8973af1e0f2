"""Deliveries into SQLite: those of a group together, in a few statements; a repeat, or one without room, alone.

What is new and has room is inserted by statements of one row, run many times. Room and change numbers are reckoned
here, in order of arrival. A statement of many rows would first copy every page that it changes into a journal, and
take twice as long.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.inbox_log import is_logged
from inbox_server.store.contract import Delivered, Quota, Ticket
from inbox_server.store.sqlite.expiry import drop_entry, drop_expired
from inbox_server.store.sqlite.log import LogEnd, LongerLife, log_longer, log_new, shorten
from inbox_server.store.sqlite.recent_uses import Place
from inbox_server.store.sqlite.slots import Slots
from inbox_server.store.texts import TEXT_BYTES, as_listed

_EXPIRED_BATCH: Final = TEXT_BYTES  # this many entries, of at least a byte each, make room for any other
_Row = tuple[bytes, int, bytes, int, int, int | None, int, int, int | None]
"""inbox, change, id, slot, size, listed, expires, forget_at, n"""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a sender wants kept."""

    inbox: bytes
    id: bytes
    message_id: str
    expires: UnixTime
    now: UnixTime
    ticket: Ticket | None = None
    """What it is delivered with, if not with a token, and its place as far as it is known (`admitting.py`)."""
    place: Place | None = None


@dataclass(slots=True)
class _Count:
    """Of an inbox: the last change number, unread entries and their bytes, what it may hold, the log's last number."""

    change: int
    unread: int
    bytes: int
    most_entries: int | None = None
    most_bytes: int | None = None
    log_n: int = 0

    def number(self, one: Delivery) -> int | None:
        """The number in the log, if it is logged."""
        if not is_logged(one.expires, one.now):
            return None
        self.log_n += 1
        return self.log_n

    def add(self, size: int, quota: Quota) -> bool:
        """Count one more entry, if it fits."""
        entries = quota.entries if self.most_entries is None else self.most_entries
        most_bytes = quota.bytes if self.most_bytes is None else self.most_bytes
        if self.unread >= entries or self.bytes + size > most_bytes:
            return False
        self.change, self.unread, self.bytes = self.change + 1, self.unread + 1, self.bytes + size
        return True


class Delivering:
    """Implements `jobs.Kind`. `quota` may change between groups."""

    def __init__(self, slots: Slots, quota: Quota) -> None:
        self.quota = quota
        self._slots = slots

    def together(self, db: sqlite3.Connection, asked: Sequence[Delivery]) -> list[Delivered | None]:
        """Keep what is new and has room. None for a repeat, a full inbox and none: `alone` knows what to do."""
        counts, ends = _counts(db, asked)
        rows, texts = dict[int, _Row](), dict[int, str]()
        for number, one in enumerate(asked):
            size, count = len(one.message_id), counts.get(one.inbox)
            if count and count.add(size, self.quota):
                slot, n = self._slots.take(db, one.inbox), count.number(one)
                texts[number], listed = as_listed(one.message_id)
                rows[number] = (one.inbox, count.change, one.id, slot, size, listed, one.expires, one.expires, n)
        if rows and _insert(db, rows.values()) < len(rows):
            for number, row in [each for each in rows.items() if not _is_there(db, each[1])]:
                self._slots.put_back(row[0], row[3])
                del rows[number]
        if rows:
            self._slots.fill(db, [(row[3], row[2], texts[number]) for number, row in rows.items()])
            log_new(db, [(asked[number], row[1], row[8]) for number, row in rows.items()], ends, self.quota)
            _count(db, rows.values(), ends)
            shorten(db, ends, self.quota)
        return [Delivered(new=True, expires=one.expires) if n in rows else None for n, one in enumerate(asked)]

    def alone(self, db: sqlite3.Connection, asked: Delivery) -> Delivered | None:
        """None when the inbox is full. Raises `Refused` when there is none.

        A repeat is answered alike whether the entry is unread or read, so a sender cannot probe: a tombstone moves its
        `expires` as the unread entry would, and once that has passed the answer is that of a new delivery.
        """
        inbox, size, now = asked.inbox, len(asked.message_id), asked.now
        row = db.execute(
            "SELECT change, slot, size, expires FROM message WHERE inbox = ? AND id = ?", (inbox, asked.id)
        ).fetchone()
        if row is None:
            return self.together(db, [asked])[0] if _make_room(db, inbox, size, self.quota, now) else None
        change, slot, old_size, expires = row
        new = expires <= now
        granted = asked.expires if new else max(asked.expires, expires)
        if slot is None:
            if new and not _make_room(db, inbox, size, self.quota, now):
                return None  # as an unread entry that expired would be refused now
            db.execute(
                "UPDATE message SET expires = ?, forget_at = max(forget_at, ?) WHERE inbox = ? AND change = ?",
                (granted, granted, inbox, change),
            )
            self._log_longer_life(db, asked, granted, expires)
            return Delivered(new, UnixTime(granted))
        if new:
            drop_entry(db, inbox, change, slot, old_size)
            return self.together(db, [asked])[0] if _make_room(db, inbox, size, self.quota, now) else None
        if granted > expires:  # a longer lifetime is a change that every device must see
            db.execute(
                "UPDATE message SET expires = ?, forget_at = ?, change = ? WHERE inbox = ? AND change = ?",
                (granted, granted, next_change(db, inbox), inbox, change),
            )
            self._log_longer_life(db, asked, granted, expires)
        return Delivered(new=False, expires=UnixTime(granted))

    def _log_longer_life(self, db: sqlite3.Connection, asked: Delivery, granted: int, expires: int) -> None:
        """What a sender is told must be in the log until then, and the entry of a shorter life may go earlier."""
        if granted > expires:
            log_longer(db, [LongerLife(asked.inbox, asked.id, UnixTime(granted), asked.now)], self.quota)


def next_change(db: sqlite3.Connection, inbox: bytes) -> int:
    (change,) = db.execute("UPDATE inbox SET change = change + 1 WHERE inbox = ? RETURNING change", (inbox,)).fetchone()
    return int(change)


def _counts(db: sqlite3.Connection, asked: Sequence[Delivery]) -> tuple[dict[bytes, _Count], dict[bytes, LogEnd]]:
    """The counts of the inboxes that are there, and where their logs end."""
    inboxes = list({one.inbox for one in asked})
    inboxes += inboxes[:1] * ((1 << (len(inboxes) - 1).bit_length()) - len(inboxes))  # so that there are few statements
    marks = ", ".join("?" * len(inboxes))
    columns = "inbox, change, unread, unread_bytes, most_entries, most_bytes, log_n, log_head, log_until, base_n"
    rows = db.execute(f"SELECT {columns} FROM inbox WHERE inbox IN ({marks})", inboxes).fetchall()  # noqa: S608
    return {row[0]: _Count(*row[1:7]) for row in rows}, {row[0]: LogEnd(*row[6:]) for row in rows}


def _insert(db: sqlite3.Connection, rows: Iterable[_Row]) -> int:
    """How many were inserted; the others are there already."""
    insert = (
        "INSERT OR IGNORE INTO message (inbox, change, id, slot, size, listed, expires, forget_at, n)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    )
    return db.executemany(insert, rows).rowcount


def _is_there(db: sqlite3.Connection, row: _Row) -> bool:
    """Whether it is this row, with this slot, that was inserted."""
    found = db.execute("SELECT slot FROM message WHERE inbox = ? AND id = ?", (row[0], row[2])).fetchone()
    return bool(found == (row[3],))


def _count(db: sqlite3.Connection, rows: Iterable[_Row], ends: Mapping[bytes, LogEnd]) -> None:
    """Count the rows in their inboxes, and write where the logs end."""
    counts: dict[bytes, _Count] = {}
    for inbox, change, _, _, size, *_ in rows:
        count = counts.setdefault(inbox, _Count(0, 0, 0))
        count.change, count.unread, count.bytes = change, count.unread + 1, count.bytes + size
    db.executemany(
        "UPDATE inbox SET change = ?, unread = unread + ?, unread_bytes = unread_bytes + ?, log_n = ?, log_head = ?"
        " WHERE inbox = ?",
        [
            (count.change, count.unread, count.bytes, ends[inbox].n, ends[inbox].head, inbox)
            for inbox, count in counts.items()
        ],
    )


def _make_room(db: sqlite3.Connection, inbox: bytes, size: int, quota: Quota, now: UnixTime) -> bool:
    """Whether an entry of `size` bytes fits, once what has expired is gone. If not, the owner will be told."""
    if _has_room(db, inbox, size, quota):
        return True
    drop_expired(db, inbox, now, most=_EXPIRED_BATCH)
    if _has_room(db, inbox, size, quota):
        return True
    db.execute("UPDATE inbox SET refused = 1 WHERE inbox = ?", (inbox,))
    return False


def _has_room(db: sqlite3.Connection, inbox: bytes, size: int, quota: Quota) -> bool:
    row = db.execute(
        "SELECT change, unread, unread_bytes, most_entries, most_bytes FROM inbox WHERE inbox = ?", (inbox,)
    ).fetchone()
    if row is None:
        raise Refused("not_accepted", "The delivery is not accepted.")  # the owner deleted it a moment ago
    return _Count(*row).add(size, quota)
