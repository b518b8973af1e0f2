"""What the operator does, in PostgreSQL. Each function below that writes is one transaction."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from inbox_server.clock import UnixTime
from inbox_server.store.contract import Quota
from inbox_server.store.operating import NEARLY_FULL_PERCENT, Invite, Known, Overview, SizeClass, Standby
from inbox_server.store.postgres.links import Links
from inbox_server.store.postgres.primary import Connection
from inbox_server.store.postgres.sealing import MORE_BYTES
from inbox_server.store.postgres.settings import drop_inbox
from inbox_server.store.postgres.settled import others_ended
from inbox_server.store.postgres.sharding import IS_AWAY
from inbox_server.store.postgres.standbys import read_standby
from inbox_server.store.postgres.vacuum import bytes_of, file_bytes, give_back

T = TypeVar("T")
_MOST_DIGITS: Final = 5  # 10,000 unread entries and more are one class
_MOST_SECONDS: Final = 3.0  # for others' transactions; ours are over sooner


class PostgresOperating:
    """Implements `operating.Operating`. `quota` is that of the configuration.

    `draining` is what this process knows; the database itself refuses what comes too early. `tell` is called with an
    inbox after a commit that changed it.
    """

    def __init__(
        self, reading: Links, writing: Links, tell: Callable[[bytes], None], quota: Quota, *, draining: bool
    ) -> None:
        self.quota = quota
        self.draining = draining
        self._reading = reading
        self._writing = writing
        self._tell = tell
        self._vacuuming = asyncio.Lock()

    async def overview(self) -> Overview:
        return await self._reading.transaction(lambda db: _overview(db, self.quota))

    async def look_up(self, inbox: bytes) -> Known:
        return await self._reading.run(lambda db: _look_up(db, inbox))

    async def suspend(self, inbox: bytes) -> bool:
        return await self._write(inbox, partial(_suspend, inbox=inbox))

    async def resume(self, inbox: bytes) -> bool:
        return await self._write(inbox, partial(_resume, inbox=inbox))

    async def drop(self, inbox: bytes) -> bool:
        done = None
        while done is None:
            done = await self._write(inbox, partial(drop_inbox, inbox=inbox))
        return done

    async def set_quota(self, inbox: bytes, entries: int | None, bytes: int | None) -> bool:
        return await self._write(inbox, lambda db: _set_quota(db, inbox, entries, bytes))

    async def invites(self, now: UnixTime) -> tuple[Invite, ...]:
        return await self._reading.run(lambda db: _invites(db, now))

    async def revoke_invite(self, handle: str) -> int:
        return await self._writing.transaction(lambda db: _revoke_invite(db, handle))

    async def drain(self, *, on: bool) -> bool:
        changed = await self._writing.transaction(lambda db: _drain(db, on=on))
        self.draining = on
        if on:
            # Else one that did not see it would take something after our answer.
            await self._writing.run(lambda db: others_ended(db, _MOST_SECONDS))
        return changed

    async def standby(self) -> Standby:
        return await self._reading.run(read_standby)

    async def vacuum(self) -> int:
        async with self._vacuuming:
            return await give_back(self._writing)

    async def _write(self, inbox: bytes, work: Callable[[Connection], Awaitable[T]]) -> T:
        outcome = await self._writing.transaction(work)
        self._tell(inbox)
        return outcome


async def _overview(db: Connection, quota: Quota) -> Overview:
    await db.execute("SET LOCAL enable_seqscan = on")  # all inboxes, one after the other
    rows = await db.fetch(
        "SELECT CASE WHEN unread = 0 THEN 0 ELSE least(length(unread::text), $1) END AS digits,"
        " count(*), sum(unread), sum(unread_bytes)::bigint FROM inbox GROUP BY digits",
        _MOST_DIGITS,
    )
    counts = {digits: sums for digits, *sums in rows}
    classes = tuple(
        SizeClass(10 ** (digits - 1) if digits else 0, *counts.get(digits, (0, 0, 0)))
        for digits in range(_MOST_DIGITS + 1)
    )
    ((read, nearly_full, own_quotas, suspended),) = await db.fetch(
        "SELECT coalesce(sum(tombstones), 0),"
        " count(*) FILTER (WHERE 100::bigint * unread >= $1::bigint * coalesce(most_entries, $2::bigint)"
        " OR 100::bigint * unread_bytes >= $1::bigint * coalesce(most_bytes, $3::bigint)),"
        " count(*) FILTER (WHERE coalesce(most_entries, most_bytes) IS NOT NULL),"
        " (SELECT count(*) FROM suspended) FROM inbox",
        *(NEARLY_FULL_PERCENT, quota.entries, quota.bytes),
    )
    texts: int = await db.fetchval(
        "SELECT coalesce(sum(pg_relation_size(inhrelid)), 0)::bigint FROM pg_inherits"
        " WHERE inhparent = 'text'::regclass"
    )
    unread = sum(each.unread for each in classes)
    free = max(0, texts - bytes_of(unread, sum(each.bytes for each in classes) + MORE_BYTES * unread))
    return Overview(classes, read, nearly_full, own_quotas, suspended, await file_bytes(db), free)


async def _look_up(db: Connection, inbox: bytes) -> Known:
    ((exists, suspended, unread, size, entries, most),) = await db.fetch(
        "SELECT inbox.inbox IS NOT NULL, EXISTS (SELECT FROM suspended WHERE suspended.inbox = asked),"
        " coalesce(unread, 0), coalesce(unread_bytes, 0), most_entries, most_bytes"
        " FROM (SELECT $1::bytea AS asked) AS one LEFT JOIN inbox ON inbox.inbox = asked",
        inbox,
    )
    return Known(exists, suspended, unread, size, entries, most)


async def _suspend(db: Connection, inbox: bytes) -> bool:
    sql = f"INSERT INTO suspended (inbox) SELECT $1 WHERE NOT {IS_AWAY} ON CONFLICT DO NOTHING RETURNING true"
    return bool(await db.fetchval(sql, inbox))


async def _resume(db: Connection, inbox: bytes) -> bool:
    sql = f"DELETE FROM suspended WHERE inbox = $1 AND NOT {IS_AWAY} RETURNING true"  # noqa: S608
    return bool(await db.fetchval(sql, inbox))


async def _set_quota(db: Connection, inbox: bytes, entries: int | None, bytes: int | None) -> bool:
    sql = (
        "UPDATE inbox SET most_entries = $2, most_bytes = $3"  # noqa: S608
        f" WHERE inbox = $1 AND NOT {IS_AWAY} RETURNING true"
    )
    return bool(await db.fetchval(sql, inbox, entries, bytes))


async def _invites(db: Connection, now: UnixTime) -> tuple[Invite, ...]:
    rows = await db.fetch("SELECT code, expires FROM invite WHERE expires > $1 ORDER BY expires, code", now)
    return tuple(Invite(code, UnixTime(expires)) for code, expires in rows)


async def _revoke_invite(db: Connection, handle: str) -> int:
    found = await db.fetch("SELECT code FROM invite WHERE starts_with(encode(code, 'hex'), $1)", handle)
    if len(found) == 1:
        await db.execute("DELETE FROM invite WHERE code = $1", found[0]["code"])
    return len(found)


async def _drain(db: Connection, *, on: bool) -> bool:
    if on:
        return bool(await db.fetchval("INSERT INTO draining VALUES (1) ON CONFLICT DO NOTHING RETURNING true"))
    return bool(await db.fetchval("DELETE FROM draining RETURNING true"))
