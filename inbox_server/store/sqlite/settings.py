"""Claims and settings in SQLite: each function below is one unit of work."""

import sqlite3
from typing import Final

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.store.contract import Admission, Settings, SettingsChange, Totals, no_inbox
from inbox_server.store.operating import draining
from inbox_server.store.sqlite.expiry import drop_entries
from inbox_server.store.sqlite.recent_uses import RecentUses

_MOST_APART_SECONDS: Final = 420
"""How much later a token that was used can have been signed than one that is good now: a life and twice the skew. One
from further ahead was taken by a clock that was wrong, and must not lock its owner out until then."""


def read_settings(db: sqlite3.Connection, inbox: bytes) -> Settings | None:
    row = db.execute(
        "SELECT retention, accept,"
        " (SELECT count(*) FROM listed WHERE listed.inbox = inbox.inbox AND kind = 'contact'),"
        " (SELECT count(*) FROM listed WHERE listed.inbox = inbox.inbox AND kind = 'blocked'),"
        " (SELECT count(*) FROM name WHERE name.inbox = inbox.inbox),"
        " unread, unread_bytes, tombstones, refused, gone, most_entries, most_bytes,"
        " EXISTS (SELECT 1 FROM suspended WHERE suspended.inbox = inbox.inbox) FROM inbox WHERE inbox = ?",
        (inbox,),
    ).fetchone()
    if row is None:
        return None
    retention, accept, contacts, blocked, names, unread, unread_bytes, read, refused, gone, *most, suspended = row
    subscribed = db.execute(
        "SELECT channel, count(*) FROM subscription WHERE inbox = ? GROUP BY channel", (inbox,)
    ).fetchall()
    return Settings(
        retention,
        accept,
        contacts,
        blocked,
        names,
        unread,
        unread_bytes,
        read,
        refused=bool(refused),
        subscriptions=dict(subscribed),
        gone=tuple(gone.split()),
        suspended=bool(suspended),
        most_entries=most[0],
        most_bytes=most[1],
        sheets=tuple(week for (week,) in db.execute("SELECT week FROM sheet WHERE inbox = ? ORDER BY week", (inbox,))),
    )


def read_totals(db: sqlite3.Connection) -> Totals:
    return Totals(
        *db.execute(
            "SELECT coalesce(sum(unread), 0), coalesce(sum(tombstones), 0), count(*),"
            " (SELECT count(*) FROM suspended) FROM inbox"
        ).fetchone()
    )


def is_draining(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM draining").fetchone() is not None


def settle(
    db: sqlite3.Connection, inbox: bytes, change: SettingsChange, admission: Admission | None, now: UnixTime
) -> bool:
    row = db.execute("SELECT app, settings_at, settings_request FROM inbox WHERE inbox = ?", (inbox,)).fetchone()
    if row is None:
        if admission is None:
            raise no_inbox()
        _admit(db, inbox, change, admission, now)
    else:
        app, settings_at, settings_request = row
        if app != change.app:
            raise Refused("bad_token", "`app` is not the app that this inbox was claimed for.", member="app")
        _check_order(change.issued, change.request, settings_at, settings_request)
        db.execute(
            "UPDATE inbox SET settings_at = iif(settings_at > ?1 + ?4, ?1, max(settings_at, ?1)), settings_request = ?2"
            " WHERE inbox = ?3",
            (change.issued, change.request, inbox, _MOST_APART_SECONDS),
        )
    for column, value in (("retention", change.retention), ("accept", change.accept)):
        if value is not None:
            db.execute(f"UPDATE inbox SET {column} = ? WHERE inbox = ?", (value, inbox))  # noqa: S608 — names above
    for kind, addresses in (("contact", change.contacts), ("blocked", change.blocked)):
        if addresses is not None:
            db.execute("DELETE FROM listed WHERE inbox = ? AND kind = ?", (inbox, kind))
            db.executemany(
                "INSERT OR IGNORE INTO listed (inbox, kind, address) VALUES (?, ?, ?)",
                ((inbox, kind, address) for address in addresses),
            )
    if change.names is not None:
        db.execute("DELETE FROM name WHERE inbox = ?", (inbox,))
        # The last verified claim of a name wins: its chain leads here now.
        db.executemany("INSERT OR REPLACE INTO name (name, inbox) VALUES (?, ?)", ((n, inbox) for n in change.names))
    return row is None


def _admit(db: sqlite3.Connection, inbox: bytes, change: SettingsChange, admission: Admission, now: UnixTime) -> None:
    if db.execute("SELECT 1 FROM suspended WHERE inbox = ?", (inbox,)).fetchone():
        raise Refused("suspended", "The operator of this server has suspended the inbox of this key. Ask the operator.")
    if is_draining(db):
        raise draining()
    if admission.max_inboxes is not None:
        (inboxes,) = db.execute("SELECT count(*) FROM inbox").fetchone()
        if inboxes >= admission.max_inboxes:
            raise Refused("not_registered", "This server accepts no more inboxes.")
    if admission.invite is not None:
        used = db.execute("DELETE FROM invite WHERE code = ? AND expires > ?", (admission.invite, now))
        if used.rowcount != 1:
            raise Refused("not_registered", "This server needs an unused `invite` code; ask its operator for one.")
    db.execute(
        "INSERT INTO inbox (inbox, app, generation, change, horizon, retention, accept, unread, unread_bytes,"
        " tombstones, refused, settings_at, settings_request, log_n, log_head, base_n, base_head)"
        " VALUES (?, ?, ?, ?, ?, ?, 'names', 0, 0, 0, 0, ?, ?, ?, ?, ?, ?)",
        (
            inbox,
            change.app,
            admission.generation,
            admission.first_change,
            admission.first_change,
            admission.default_retention,
            change.issued,
            change.request,
            *(admission.first_log.n, admission.first_log.head) * 2,
        ),
    )


def _check_order(issued: UnixTime, request: bytes, settings_at: int, settings_request: bytes) -> None:
    """An old settings token must not undo a later one; the same request again is a retry."""
    if issued < settings_at <= issued + _MOST_APART_SECONDS and request != settings_request:
        raise Refused(
            "stale_token", "A settings token that was signed later has already been used. Read the settings first."
        )


def forget(db: sqlite3.Connection, uses: RecentUses, inbox: bytes, issued: UnixTime, request: bytes) -> bool | None:
    """Drop the inbox: False when there is none; None when a part of it is gone, and this must be repeated."""
    row = db.execute("SELECT settings_at, settings_request FROM inbox WHERE inbox = ?", (inbox,)).fetchone()
    if row is not None:
        _check_order(issued, request, *row)
    return drop_inbox(db, uses, inbox)


def drop_inbox(db: sqlite3.Connection, uses: RecentUses, inbox: bytes) -> bool | None:
    """As `forget`, whoever asks for it."""
    if db.execute("SELECT 1 FROM inbox WHERE inbox = ?", (inbox,)).fetchone() is None:
        return False
    if not drop_entries(db, inbox):
        # Should it break off here: what is gone was not told, so devices that had it must list anew.
        db.execute("UPDATE inbox SET change = change + 1, horizon = change + 1 WHERE inbox = ?", (inbox,))
        return None
    uses.leave(db, [number for (number,) in db.execute("SELECT number FROM sheet WHERE inbox = ?", (inbox,))])
    for table in ("listed", "name", "subscription", "sheet", "due", "log_mark", "inbox"):
        db.execute(f"DELETE FROM {table} WHERE inbox = ?", (inbox,))  # noqa: S608 — names above
    return True
