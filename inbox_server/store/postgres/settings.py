"""Claims and settings in PostgreSQL: each function below that writes is one transaction.

An inbox's row is locked first. Names are locked after it, always in their order, so that no two owners who take names
from each other wait for each other.
"""

import json
from typing import Final

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.store.contract import Admission, Settings, SettingsChange, Totals, no_inbox
from inbox_server.store.operating import draining
from inbox_server.store.postgres.expiry import drop_entries
from inbox_server.store.postgres.primary import Connection
from inbox_server.store.postgres.sharding import is_away, is_moving, lock_inbox

_MOST_APART_SECONDS: Final = 420  # as in sqlite/settings.py
_SETTINGS: Final = """
    SELECT retention, accept,
        (SELECT count(*) FROM listed WHERE listed.inbox = $1 AND kind = 'contact') AS contacts,
        (SELECT count(*) FROM listed WHERE listed.inbox = $1 AND kind = 'blocked') AS blocked,
        (SELECT count(*) FROM name WHERE name.inbox = $1) AS names,
        unread, unread_bytes, tombstones, refused, gone, most_entries, most_bytes,
        EXISTS (SELECT FROM suspended WHERE suspended.inbox = $1) AS suspended,
        (
            SELECT json_object_agg(channel, many)
            FROM (SELECT channel, count(*) AS many FROM subscription WHERE inbox = $1 GROUP BY channel) AS each
        ) AS subscribed,
        ARRAY(SELECT week FROM sheet WHERE sheet.inbox = $1 ORDER BY week) AS sheets
    FROM inbox WHERE inbox = $1
"""


async def read_settings(db: Connection, inbox: bytes) -> Settings | None:
    row = await db.fetchrow(_SETTINGS, inbox)
    if row is None:
        return None
    return Settings(
        row["retention"],
        row["accept"],
        row["contacts"],
        row["blocked"],
        row["names"],
        row["unread"],
        row["unread_bytes"],
        row["tombstones"],
        refused=row["refused"],
        subscriptions=json.loads(row["subscribed"] or "{}"),
        gone=tuple(row["gone"].split()),
        suspended=row["suspended"],
        most_entries=row["most_entries"],
        most_bytes=row["most_bytes"],
        sheets=tuple(row["sheets"]),
    )


async def read_totals(db: Connection) -> Totals:
    async with db.transaction(readonly=True):
        await db.execute("SET LOCAL enable_seqscan = on")
        ((unread, read, inboxes, suspended),) = await db.fetch(
            "SELECT coalesce(sum(unread), 0), coalesce(sum(tombstones), 0), count(*),"
            " (SELECT count(*) FROM suspended) FROM inbox"
        )
    return Totals(unread, read, inboxes, suspended)


async def is_draining(db: Connection) -> bool:
    return bool(await db.fetchval("SELECT EXISTS (SELECT FROM draining)"))


async def settle(
    db: Connection, inbox: bytes, change: SettingsChange, admission: Admission | None, now: UnixTime
) -> bool:
    there = await _check(db, inbox, change)
    while not there:
        if admission is None:
            raise no_inbox()
        if await _admit(db, inbox, change, admission, now):
            break
        there = await _check(db, inbox, change)
    await db.execute(
        "UPDATE inbox SET settings_at ="
        " CASE WHEN settings_at > $2::bigint + $4::bigint THEN $2 ELSE greatest(settings_at, $2) END,"
        " settings_request = $3, retention = coalesce($5, retention), accept = coalesce($6, accept) WHERE inbox = $1",
        *(inbox, change.issued, change.request, _MOST_APART_SECONDS, change.retention, change.accept),
    )
    for kind, addresses in (("contact", change.contacts), ("blocked", change.blocked)):
        if addresses is not None:
            await _list(db, inbox, kind, addresses)
    if change.names is not None:
        await _take_names(db, inbox, change.names, change.issued)
    return not there


async def _check(db: Connection, inbox: bytes, change: SettingsChange) -> bool:
    """Whether there is such an inbox, whose row is then locked. Raises `Refused` when this change must not be made."""
    if not await lock_inbox(db, inbox):
        return False
    ((app, settings_at, settings_request),) = await db.fetch(
        "SELECT app, settings_at, settings_request FROM inbox WHERE inbox = $1", inbox
    )
    if app != change.app:
        raise Refused("bad_token", "`app` is not the app that this inbox was claimed for.", member="app")
    _check_order(change.issued, change.request, settings_at, settings_request)
    return True


async def _list(db: Connection, inbox: bytes, kind: str, addresses: tuple[bytes, ...]) -> None:
    await db.execute(
        "DELETE FROM listed WHERE inbox = $1 AND kind = $2"
        " AND NOT EXISTS (SELECT FROM unnest($3::bytea[]) AS new (address) WHERE new.address = listed.address)",
        *(inbox, kind, addresses),
    )
    await db.execute(
        "INSERT INTO listed (inbox, kind, address) SELECT $1, $2, unnest($3::bytea[]) ON CONFLICT DO NOTHING",
        *(inbox, kind, addresses),
    )


async def _take_names(db: Connection, inbox: bytes, names: tuple[bytes, ...], issued: UnixTime) -> None:
    """The last verified claim of a name wins: its chain leads here now. What this inbox had before is locked too."""
    had = [name for (name,) in await db.fetch("SELECT name FROM name WHERE inbox = $1", inbox)]
    await db.execute(
        "INSERT INTO name (name, inbox, claimed) SELECT each, $1, $4 FROM unnest($2::bytea[]) AS each ORDER BY each"
        " ON CONFLICT (name) DO UPDATE SET inbox = excluded.inbox, claimed = excluded.claimed"
        " WHERE name.name = ANY ($3)",  # a row that this leaves out is locked as well
        *(inbox, list({*names, *had}), names, issued),
    )
    await db.execute(
        "DELETE FROM name WHERE inbox = $1 AND NOT EXISTS"
        " (SELECT FROM unnest($2::bytea[]) AS new (name) WHERE new.name = name.name)",
        *(inbox, names),
    )


async def _admit(db: Connection, inbox: bytes, change: SettingsChange, admission: Admission, now: UnixTime) -> bool:
    """Create the inbox; False when another process has just done so. Raises `Refused` or `Unavailable`."""
    created = await db.fetchval(
        "INSERT INTO inbox (inbox, app, generation, change, horizon, retention, accept, settings_at, settings_request,"
        " log_n, log_head, base_n, base_head) VALUES ($1, $2, $3, $4, $4, $5, 'names', $6, $7, $8, $9, $8, $9)"
        " ON CONFLICT DO NOTHING RETURNING true",
        *(inbox, change.app, admission.generation, admission.first_change, admission.default_retention),
        *(change.issued, change.request, admission.first_log.n, admission.first_log.head),
    )
    if await is_away(db, inbox):
        raise is_moving()
    if not created:
        return False
    if await db.fetchval("SELECT EXISTS (SELECT FROM suspended WHERE inbox = $1)", inbox):
        raise Refused("suspended", "The operator of this server has suspended the inbox of this key. Ask the operator.")
    if await is_draining(db):
        raise draining()
    if admission.max_inboxes is not None:
        await db.execute("SELECT FROM secret_check FOR UPDATE")  # one claim at a time, or each would count itself only
        if await db.fetchval("SELECT count(*) FROM inbox") > admission.max_inboxes:
            raise Refused("not_registered", "This server accepts no more inboxes.")
    if admission.invite is not None and not await db.fetchval(
        "DELETE FROM invite WHERE code = $1 AND expires > $2 RETURNING true", admission.invite, now
    ):
        raise Refused("not_registered", "This server needs an unused `invite` code; ask its operator for one.")
    return True


def _check_order(issued: UnixTime, request: bytes, settings_at: int, settings_request: bytes) -> None:
    """An old settings token must not undo a later one; the same request again is a retry."""
    if issued < settings_at <= issued + _MOST_APART_SECONDS and request != settings_request:
        raise Refused(
            "stale_token", "A settings token that was signed later has already been used. Read the settings first."
        )


async def forget(db: Connection, inbox: bytes, issued: UnixTime, request: bytes) -> bool | None:
    """Drop the inbox: False when there is none; None when a part of it is gone, and this must be repeated."""
    if not await lock_inbox(db, inbox):
        return False
    ((settings_at, settings_request),) = await db.fetch(
        "SELECT settings_at, settings_request FROM inbox WHERE inbox = $1", inbox
    )
    _check_order(issued, request, settings_at, settings_request)
    return await drop_inbox(db, inbox)


async def drop_inbox(db: Connection, inbox: bytes) -> bool | None:
    """As `forget`, whoever asks for it."""
    if not await lock_inbox(db, inbox):
        return False
    if not await drop_entries(db, inbox):
        # Should it break off here: what is gone was not told, so devices that had it must list anew.
        await db.execute(
            "UPDATE inbox SET change = next_change(change), horizon = next_change(change) WHERE inbox = $1", inbox
        )
        return None
    await db.execute("SELECT FROM name WHERE inbox = $1 ORDER BY name FOR UPDATE", inbox)
    for table in ("listed", "name", "subscription", "ticket", "sheet", "log_mark", "inbox"):
        await db.execute(f"DELETE FROM {table} WHERE inbox = $1", inbox)  # noqa: S608 — names above
    return True
