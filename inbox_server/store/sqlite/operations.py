"""What the operator does, in SQLite. Each function below is one unit of work."""

import sqlite3
from functools import partial

from inbox_server.clock import UnixTime
from inbox_server.store.contract import Quota
from inbox_server.store.operating import NEARLY_FULL_PERCENT, Invite, Known, Overview, SizeClass
from inbox_server.store.sqlite.reader import Reader
from inbox_server.store.sqlite.recent_uses import RecentUses
from inbox_server.store.sqlite.settings import drop_inbox
from inbox_server.store.sqlite.slots import PAGE_SLOTS
from inbox_server.store.sqlite.vacuum import Vacuum
from inbox_server.store.sqlite.writer import Writer

_MOST_DIGITS = 5  # 10,000 unread entries and more are one class


class SqliteOperating:
    """Implements `operating.Operating`. `quota` is that of the configuration."""

    def __init__(
        self, reader: Reader, writer: Writer, vacuum: Vacuum, uses: RecentUses, quota: Quota, *, draining: bool
    ) -> None:
        self.quota = quota
        self.draining = draining
        self._reader = reader
        self._writer = writer
        self._vacuum = vacuum
        self._uses = uses

    async def overview(self) -> Overview:
        return await self._reader.read(lambda db: _overview(db, self.quota))

    async def look_up(self, inbox: bytes) -> Known:
        return await self._reader.read(lambda db: _look_up(db, inbox))

    async def suspend(self, inbox: bytes) -> bool:
        return await self._writer.write(partial(_suspend, inbox=inbox), inbox=inbox)

    async def resume(self, inbox: bytes) -> bool:
        return await self._writer.write(partial(_resume, inbox=inbox), inbox=inbox)

    async def drop(self, inbox: bytes) -> bool:
        done = None
        while done is None:
            done = await self._writer.write(partial(drop_inbox, uses=self._uses, inbox=inbox), inbox=inbox, erases=True)
        return done

    async def set_quota(self, inbox: bytes, entries: int | None, bytes: int | None) -> bool:
        return await self._writer.write(lambda db: _set_quota(db, inbox, entries, bytes), inbox=inbox)

    async def invites(self, now: UnixTime) -> tuple[Invite, ...]:
        return await self._reader.read(lambda db: _invites(db, now))

    async def revoke_invite(self, handle: str) -> int:
        return await self._writer.write(lambda db: _revoke_invite(db, handle))

    async def drain(self, *, on: bool) -> bool:
        before = self.draining
        self.draining = on or before  # before the commit: what waits to be written is then written before it
        try:
            changed = await self._writer.write(lambda db: _drain(db, on=on))
        except Exception:
            self.draining = before
            raise
        self.draining = on
        return changed

    async def standby(self) -> None:
        return None

    async def vacuum(self) -> int:
        return await self._vacuum.run()


def _overview(db: sqlite3.Connection, quota: Quota) -> Overview:
    rows = db.execute(
        "SELECT iif(unread = 0, 0, min(length(unread), ?)) AS digits, count(*), sum(unread), sum(unread_bytes)"
        " FROM inbox GROUP BY digits",
        (_MOST_DIGITS,),
    )
    counts = {digits: sums for digits, *sums in rows}
    classes = (
        SizeClass(10 ** (digits - 1) if digits else 0, *counts.get(digits, (0, 0, 0)))
        for digits in range(_MOST_DIGITS + 1)
    )
    read, nearly_full, own_quotas, suspended = db.execute(
        "SELECT coalesce(sum(tombstones), 0),"
        " count(*) FILTER (WHERE 100 * unread >= ?1 * coalesce(most_entries, ?2)"
        " OR 100 * unread_bytes >= ?1 * coalesce(most_bytes, ?3)),"
        " count(*) FILTER (WHERE coalesce(most_entries, most_bytes) IS NOT NULL),"
        " (SELECT count(*) FROM suspended) FROM inbox",
        (NEARLY_FULL_PERCENT, quota.entries, quota.bytes),
    ).fetchone()
    page_size, pages, free_pages = (
        db.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in ("page_size", "page_count", "freelist_count")
    )
    (free_slots,) = db.execute("SELECT count(*) FROM free_slot").fetchone()
    free = (free_slots // PAGE_SLOTS + free_pages) * page_size
    return Overview(tuple(classes), read, nearly_full, own_quotas, suspended, pages * page_size, free)


def _look_up(db: sqlite3.Connection, inbox: bytes) -> Known:
    suspended = db.execute("SELECT 1 FROM suspended WHERE inbox = ?", (inbox,)).fetchone() is not None
    row = db.execute(
        "SELECT unread, unread_bytes, most_entries, most_bytes FROM inbox WHERE inbox = ?", (inbox,)
    ).fetchone()
    return Known(row is not None, suspended, *(row or (0, 0, None, None)))


def _suspend(db: sqlite3.Connection, inbox: bytes) -> bool:
    return db.execute("INSERT OR IGNORE INTO suspended (inbox) VALUES (?)", (inbox,)).rowcount == 1


def _resume(db: sqlite3.Connection, inbox: bytes) -> bool:
    return db.execute("DELETE FROM suspended WHERE inbox = ?", (inbox,)).rowcount == 1


def _set_quota(db: sqlite3.Connection, inbox: bytes, entries: int | None, bytes: int | None) -> bool:
    changed = db.execute("UPDATE inbox SET most_entries = ?, most_bytes = ? WHERE inbox = ?", (entries, bytes, inbox))
    return changed.rowcount == 1


def _invites(db: sqlite3.Connection, now: UnixTime) -> tuple[Invite, ...]:
    rows = db.execute("SELECT code, expires FROM invite WHERE expires > ? ORDER BY expires, code", (now,))
    return tuple(Invite(code, UnixTime(expires)) for code, expires in rows)


def _revoke_invite(db: sqlite3.Connection, handle: str) -> int:
    begins = "substr(lower(hex(code)), 1, length(?1)) = ?1"
    (count,) = db.execute(f"SELECT count(*) FROM invite WHERE {begins}", (handle,)).fetchone()  # noqa: S608 — above
    if count == 1:
        db.execute(f"DELETE FROM invite WHERE {begins}", (handle,))  # noqa: S608
    return int(count)


def _drain(db: sqlite3.Connection, *, on: bool) -> bool:
    sql = "INSERT OR IGNORE INTO draining (one) VALUES (1)" if on else "DELETE FROM draining"
    return db.execute(sql).rowcount == 1
