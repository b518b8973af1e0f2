"""What decides about a delivery, in SQLite: which inbox a name leads to, and the owner's policy."""

import sqlite3
from typing import Final

from inbox_server.store.contract import Policy


def proven(db: sqlite3.Connection, name: bytes) -> bytes | None:
    row = db.execute("SELECT inbox FROM name WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


# Queries the lists even for an inbox that does not exist, so that it costs the same.
_DOOR: Final = """
    SELECT app, accept, retention,
        EXISTS (SELECT 1 FROM listed WHERE inbox = ?1 AND kind = 'contact' AND address = ?2),
        EXISTS (SELECT 1 FROM listed WHERE inbox = ?1 AND kind = 'blocked' AND address = ?2),
        (SELECT group_concat(DISTINCT channel) FROM subscription WHERE inbox = ?1)
    FROM (SELECT ?1 AS inbox) LEFT JOIN inbox USING (inbox)
"""


def read_policy(db: sqlite3.Connection, inbox: bytes, sender: bytes) -> Policy | None:
    app, accept, retention, contact, blocked, channels = db.execute(_DOOR, (inbox, sender)).fetchone()
    if app is None:
        return None
    told = tuple(channels.split(",")) if channels else ()
    return Policy(app, accept, retention, contact=bool(contact), blocked=bool(blocked), channels=told)
