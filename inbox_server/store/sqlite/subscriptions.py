"""Push subscriptions in SQLite: each function below is one unit of work."""

import sqlite3

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.store.contract import SettingsChange, Subscribed
from inbox_server.store.sqlite.settings import settle


def subscribe(
    db: sqlite3.Connection, inbox: bytes, change: SettingsChange, new: Subscribed, most: int, now: UnixTime
) -> None:
    (others,) = db.execute("SELECT count(*) FROM push WHERE inbox = ? AND id <> ?", (inbox, new.id)).fetchone()
    if others >= most:
        detail = (
            f"`endpoint` is one more than the {most} subscriptions that an inbox may have. List them with"
            " `GET /v1/inbox/push`, and drop a stale one with `DELETE /v1/inbox/push` and its `id`."
        )
        raise Refused("bad_request", detail, member="endpoint")
    settle(db, inbox, change, None, now)
    db.execute("INSERT OR REPLACE INTO push (inbox, id, sealed) VALUES (?, ?, ?)", (inbox, new.id, new.sealed))
    _take_notice_back(db, inbox)


def unsubscribe(db: sqlite3.Connection, inbox: bytes, change: SettingsChange, id: bytes | None, now: UnixTime) -> None:
    settle(db, inbox, change, None, now)
    db.execute("DELETE FROM push WHERE inbox = ?1 AND id = coalesce(?2, id)", (inbox, id))
    _take_notice_back(db, inbox)


def subscriptions(db: sqlite3.Connection, inbox: bytes) -> tuple[Subscribed, ...]:
    rows = db.execute("SELECT id, sealed FROM push WHERE inbox = ? ORDER BY id", (inbox,)).fetchall()
    return tuple(Subscribed(id, sealed) for id, sealed in rows)


def drop_subscription(db: sqlite3.Connection, inbox: bytes, gone: Subscribed) -> None:
    """One that was made anew meanwhile is sealed anew too, and stays."""
    dropped = db.execute("DELETE FROM push WHERE inbox = ? AND id = ? AND sealed = ?", (inbox, gone.id, gone.sealed))
    if dropped.rowcount:
        db.execute("UPDATE inbox SET push_gone = 1 WHERE inbox = ?", (inbox,))


def _take_notice_back(db: sqlite3.Connection, inbox: bytes) -> None:
    db.execute("UPDATE inbox SET push_gone = 0 WHERE inbox = ?", (inbox,))
