"""The SQLite store, and acknowledging. Each function below is one unit of work.

What the statements keep true: change numbers only grow; `inbox.unread`, `unread_bytes` and `tombstones` count the
inbox's rows in `message`; a row is a tombstone exactly when `slot` is NULL; the numbers in `message` and `logged` lead
from the log's base to its head.
"""

import contextlib
import secrets
import sqlite3
from functools import partial
from typing import Final

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.store.contract import (
    TOMBSTONE_SECONDS,
    Admission,
    Cursor,
    Delivered,
    Load,
    LogPage,
    Page,
    Policy,
    Quota,
    Settings,
    SettingsChange,
    Sheet,
    Subscribed,
    Ticket,
    Totals,
    no_inbox,
)
from inbox_server.store.operating import draining
from inbox_server.store.sqlite.admitting import Admitting
from inbox_server.store.sqlite.delivering import Delivering, Delivery, next_change
from inbox_server.store.sqlite.expiry import drop_oldest_tombstones, is_due, sweep
from inbox_server.store.sqlite.feed import read_feed
from inbox_server.store.sqlite.jobs import Part
from inbox_server.store.sqlite.log import read_log
from inbox_server.store.sqlite.operations import SqliteOperating
from inbox_server.store.sqlite.outages import lapsed_inboxes, note_seen, prolong, read_seen, rounded
from inbox_server.store.sqlite.policy import proven, read_policy
from inbox_server.store.sqlite.reader import Reader
from inbox_server.store.sqlite.recent_uses import RecentUses
from inbox_server.store.sqlite.remembered import Remembered
from inbox_server.store.sqlite.settings import forget, read_settings, read_totals, settle
from inbox_server.store.sqlite.sheets import keep_sheet, read_sheets
from inbox_server.store.sqlite.slots import Slots, blank_slot, grow_slots
from inbox_server.store.sqlite.subscriptions import drop_subscription, subscribe, subscriptions, unsubscribe
from inbox_server.store.sqlite.vacuum import Vacuum
from inbox_server.store.sqlite.writer import Writer
from inbox_server.store.turns import Turns

_FULL_RETRY_SECONDS: Final = 3600
_READS_AT_ONCE: Final = 16  # of feeds: a group of so many parts of a page takes a few milliseconds
_LONG_WRITES_AT_ONCE: Final = 2  # those that change a hundred rows or more
_LONGEST_LINE: Final = 64  # of an owner's writes, with bodies of up to 64 KiB each
_FEW_IDS: Final = 10  # more of them in one acknowledgement are a long write
_ACK_BATCH: Final = 100  # a thousand ids in one commit would delay everybody by tens of milliseconds


class SqliteStore:
    """Implements `contract.Store`."""

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        remembered: Remembered,
        slots: Slots,
        uses: RecentUses,
        quota: Quota,
        *,
        draining: bool = False,
    ) -> None:
        self.operating = SqliteOperating(reader, writer, Vacuum(reader, writer, slots), uses, quota, draining=draining)
        self._reader = reader
        self._writer = writer
        self._feed_ends, self._policies, self._sheets = remembered.feed_ends, remembered.policies, remembered.sheets
        self._delivering = Delivering(slots, quota)
        self._admitting = Admitting(self._delivering, uses)
        self._uses = uses
        self._quota = quota
        self._reads = Turns(_READS_AT_ONCE)
        self._writes = Turns(_LONG_WRITES_AT_ONCE, line=_LONGEST_LINE)

    async def proven(self, name: bytes) -> bytes | None:
        return await self._reader.read(lambda db: proven(db, name))

    async def policy(self, inbox: bytes, sender: bytes) -> Policy | None:
        with self._policies.reading(inbox) as reading:
            policy, reading.value = await self._reader.read(lambda db: read_policy(db, inbox, sender))
        return policy

    def known_policy(self, inbox: bytes, sender: bytes) -> Policy | None:
        known = self._policies.get(inbox)
        return known.for_sender(sender) if known else None

    async def ticket_policy(self, inbox: bytes, ticket: Ticket) -> Policy | None:
        with self._sheets.reading(inbox) as reading:
            known = reading.value = await self._reader.read(lambda db: read_sheets(db, inbox, ticket))
        return known.policy if known and known.place_of(ticket) else None

    def known_ticket_policy(self, inbox: bytes, ticket: Ticket) -> Policy | None:
        known = self._sheets.get(inbox)
        return known.policy if known and known.place_of(ticket) else None

    async def deliver(
        self,
        inbox: bytes,
        id: bytes,
        message_id: str,
        *,
        expires: UnixTime,
        now: UnixTime,
        ticket: Ticket | None = None,
    ) -> Delivered:
        if self.operating.draining:
            raise draining()
        known = self._sheets.get(inbox) if ticket else None
        place = known.place_of(ticket) if known and ticket else None
        work = Part(self._admitting, Delivery(inbox, id, message_id, expires, now, ticket, place))
        delivered: Delivered | None = await self._writer.write(work, inbox=inbox, settles=False)
        if delivered is None:
            raise Refused(
                "inbox_full",
                "The recipient's inbox is full; its owner can see so. Nothing was stored.",
                retry_after=_FULL_RETRY_SECONDS,
            )
        return delivered

    async def unread(
        self, inbox: bytes, *, after: Cursor | None, limit: int, now: UnixTime, upto: int | None = None
    ) -> Page:
        known = self._feed_ends.get(inbox)
        nothing = known.page_after(after) if known else None
        if nothing:
            return nothing
        async with self._reads.turn(inbox):
            with self._feed_ends.reading(inbox) as reading:
                page, reading.value = await self._reader.read(lambda db: read_feed(db, inbox, after, limit, now, upto))
        return page

    async def log(self, inbox: bytes, *, after: int, limit: int, now: UnixTime) -> LogPage:
        async with self._reads.turn(inbox):
            return await self._reader.read(lambda db: read_log(db, inbox, after, limit, self._quota, now))

    def end(self, inbox: bytes) -> Cursor | None:
        known = self._feed_ends.get(inbox)
        return known.end if known else None

    def load(self) -> Load:
        waiting, remnants = len(self._writer), self._writer.remnants
        return Load(waiting, remnants, len(self._feed_ends), len(self._policies), len(self._sheets))

    async def acknowledge(self, inbox: bytes, ids: tuple[bytes, ...], *, now: UnixTime) -> None:
        async with self._writes.line(inbox):
            for start in range(0, max(len(ids), 1), _ACK_BATCH):
                batch = ids[start : start + _ACK_BATCH]
                work = partial(_acknowledge, inbox=inbox, ids=batch, quota=self._quota, now=now)
                async with self._writes.places if len(batch) > _FEW_IDS else contextlib.nullcontext():
                    await self._writer.write(work, inbox=inbox, erases=True, settles=False)

    def limit(self, quota: Quota) -> None:
        self._quota = self._delivering.quota = self.operating.quota = quota

    async def totals(self) -> Totals:
        return await self._reader.read(read_totals)

    async def settings(self, inbox: bytes) -> Settings | None:
        return await self._reader.read(lambda db: read_settings(db, inbox))

    async def settle(self, inbox: bytes, change: SettingsChange, *, admission: Admission | None, now: UnixTime) -> bool:
        async with self._writes.turn(inbox):
            work = partial(settle, inbox=inbox, change=change, admission=admission, now=now)
            return await self._writer.write(work, inbox=inbox, erases=True)

    async def forget(self, inbox: bytes, *, issued: UnixTime, request: bytes) -> bool:
        done = None
        async with self._writes.line(inbox):
            while done is None:
                async with self._writes.places:
                    work = partial(forget, uses=self._uses, inbox=inbox, issued=issued, request=request)
                    done = await self._writer.write(work, inbox=inbox, erases=True)
        return done

    async def subscribe(
        self, inbox: bytes, change: SettingsChange, subscription: Subscribed, *, most: int, now: UnixTime
    ) -> bool:
        return await self._writer.write(
            lambda db: subscribe(db, inbox, change, subscription, most, now), inbox=inbox, erases=True
        )

    async def unsubscribe(
        self, inbox: bytes, change: SettingsChange, channel: str, id: bytes | None, *, now: UnixTime
    ) -> None:
        work = partial(unsubscribe, inbox=inbox, change=change, channel=channel, id=id, now=now)
        await self._writer.write(work, inbox=inbox, erases=True)

    async def subscriptions(self, inbox: bytes, channel: str) -> tuple[Subscribed, ...]:
        return await self._reader.read(lambda db: subscriptions(db, inbox, channel))

    async def drop_subscription(self, inbox: bytes, subscription: Subscribed) -> None:
        await self._writer.write(lambda db: drop_subscription(db, inbox, subscription), inbox=inbox, erases=True)

    async def keep_sheet(self, inbox: bytes, change: SettingsChange, sheet: Sheet, *, now: UnixTime) -> None:
        async with self._writes.turn(inbox):
            work = partial(
                keep_sheet,
                uses=self._uses,
                inbox=inbox,
                change=change,
                sheet=sheet,
                now=now,
                randbelow=secrets.randbelow,
            )
            await self._writer.write(work, inbox=inbox, erases=True)

    async def sweep(self, now: UnixTime) -> None:
        while await self._reader.read(lambda db: is_due(db, now)):
            await self._writer.write(lambda db: sweep(db, self._uses, now), erases=True)
        if await self.seen() != rounded(now):
            await self._writer.write(partial(self._note_seen, now=now))

    def _note_seen(self, db: sqlite3.Connection, now: UnixTime) -> None:
        note_seen(db, now)
        self._uses.empty(db)

    async def seen(self) -> UnixTime | None:
        return await self._reader.read(read_seen)

    async def prolong(self, since: UnixTime, now: UnixTime) -> None:
        for inbox in await self._reader.read(lambda db: lapsed_inboxes(db, since, now)):
            work = partial(prolong, inbox=inbox, since=since, now=now, quota=self._quota)
            while not await self._writer.write(work, inbox=inbox):
                pass

    async def ping(self) -> None:
        await self._reader.read(lambda db: db.execute("SELECT 1 FROM inbox LIMIT 1").fetchone())
        # While writing fails, a page may have room though a delivery has none; slots are of use in any case.
        await self._writer.write(grow_slots if self._writer.failing else _touch)


def _acknowledge(db: sqlite3.Connection, inbox: bytes, ids: tuple[bytes, ...], quota: Quota, now: UnixTime) -> None:
    if db.execute("SELECT 1 FROM inbox WHERE inbox = ?", (inbox,)).fetchone() is None:
        raise no_inbox()
    for id in ids:
        row = db.execute(
            "SELECT change, slot, size, expires FROM message WHERE inbox = ? AND id = ?", (inbox, id)
        ).fetchone()
        if row is None:
            _plant(db, inbox, id, quota, now)
            continue
        change, slot, size, expires = row
        if slot is None:  # read already
            continue
        blank_slot(db, slot)
        db.execute(
            "UPDATE message SET slot = NULL, size = 0, change = ?, forget_at = ? WHERE inbox = ? AND change = ?",
            (next_change(db, inbox), max(expires, now + TOMBSTONE_SECONDS), inbox, change),
        )
        db.execute(
            "UPDATE inbox SET unread = unread - 1, unread_bytes = unread_bytes - ?, tombstones = tombstones + 1,"
            " refused = 0 WHERE inbox = ?",
            (size, inbox),
        )
    _bound_tombstones(db, inbox, quota)


def _bound_tombstones(db: sqlite3.Connection, inbox: bytes, quota: Quota) -> None:
    """Forget a batch of the oldest when there are too many, more than one acknowledgement adds."""
    (tombstones,) = db.execute("SELECT tombstones FROM inbox WHERE inbox = ?", (inbox,)).fetchone()
    if tombstones > quota.tombstones:
        drop_oldest_tombstones(db, inbox)


def _plant(db: sqlite3.Connection, inbox: bytes, id: bytes, quota: Quota, now: UnixTime) -> None:
    """Remember an id that was read at another server, whose delivery may still come here.

    `expires` 0 has passed, so the first delivery is answered as a new one.
    """
    db.execute(
        "INSERT INTO message (inbox, change, id, slot, size, expires, forget_at) VALUES (?, ?, ?, NULL, 0, 0, ?)",
        (inbox, next_change(db, inbox), id, now + quota.max_retention),
    )
    db.execute("UPDATE inbox SET tombstones = tombstones + 1 WHERE inbox = ?", (inbox,))


def _touch(db: sqlite3.Connection) -> None:
    """Write something that changes nothing, to see whether writing works."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.execute(f"PRAGMA user_version={version}")
