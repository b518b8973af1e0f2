"""Where owners are told, in SQLite: each function below is one unit of work."""

import sqlite3

from inbox_server.clock import UnixTime
from inbox_server.store.contract import SettingsChange, Subscribed
from inbox_server.store.sqlite.settings import settle


def subscribe(
    db: sqlite3.Connection, inbox: bytes, change: SettingsChange, new: Subscribed, most: int, now: UnixTime
) -> bool:
    (others,) = db.execute(
        "SELECT count(*) FROM subscription WHERE inbox = ? AND channel = ? AND id <> ?", (inbox, new.channel, new.id)
    ).fetchone()
    if others >= most:
        return False
    settle(db, inbox, change, None, now)
    db.execute(
        "INSERT OR REPLACE INTO subscription (inbox, channel, id, sealed) VALUES (?, ?, ?, ?)",
        (inbox, new.channel, new.id, new.sealed),
    )
    _note_gone(db, inbox, new.channel, gone=False)
    return True


def unsubscribe(
    db: sqlite3.Connection, inbox: bytes, change: SettingsChange, channel: str, id: bytes | None, now: UnixTime
) -> None:
    settle(db, inbox, change, None, now)
    db.execute(
        "DELETE FROM subscription WHERE inbox = ?1 AND channel = ?2 AND id = coalesce(?3, id)", (inbox, channel, id)
    )
    _note_gone(db, inbox, channel, gone=False)


def subscriptions(db: sqlite3.Connection, inbox: bytes, channel: str) -> tuple[Subscribed, ...]:
    rows = db.execute(
        "SELECT id, sealed FROM subscription WHERE inbox = ? AND channel = ? ORDER BY id", (inbox, channel)
    ).fetchall()
    return tuple(Subscribed(channel, id, sealed) for id, sealed in rows)


def drop_subscription(db: sqlite3.Connection, inbox: bytes, gone: Subscribed) -> None:
    """One that was made anew meanwhile is sealed anew too, and stays."""
    dropped = db.execute(
        "DELETE FROM subscription WHERE inbox = ? AND channel = ? AND id = ? AND sealed = ?",
        (inbox, gone.channel, gone.id, gone.sealed),
    )
    if dropped.rowcount:
        _note_gone(db, inbox, gone.channel, gone=True)


def _note_gone(db: sqlite3.Connection, inbox: bytes, channel: str, *, gone: bool) -> None:
    (before,) = db.execute("SELECT gone FROM inbox WHERE inbox = ?", (inbox,)).fetchone()
    others = set(before.split()) - {channel}
    db.execute("UPDATE inbox SET gone = ? WHERE inbox = ?", (" ".join(others | {channel} if gone else others), inbox))
