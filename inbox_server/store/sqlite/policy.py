"""What decides about a delivery, in SQLite: which inbox a name leads to, and the owner's policy."""

import sqlite3
from dataclasses import dataclass
from typing import Final

from inbox_server.store.contract import Accept, Policy


def proven(db: sqlite3.Connection, name: bytes) -> bytes | None:
    row = db.execute("SELECT inbox FROM name WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


_LONGEST_LISTS: Final = 16  # addresses that are remembered of an inbox
# Queries the lists even for an inbox that does not exist, so that it costs the same. To a sender, one that the operator
# suspended is as one whose owner accepts nobody.
_DOOR: Final = """
    SELECT app, iif(EXISTS (SELECT 1 FROM suspended WHERE inbox = ?1), 'nobody', accept), retention,
        EXISTS (SELECT 1 FROM listed WHERE inbox = ?1 AND kind = 'contact' AND address = ?2),
        EXISTS (SELECT 1 FROM listed WHERE inbox = ?1 AND kind = 'blocked' AND address = ?2),
        (SELECT group_concat(DISTINCT channel) FROM subscription WHERE inbox = ?1)
    FROM (SELECT ?1 AS inbox) LEFT JOIN inbox USING (inbox)
"""


@dataclass(frozen=True, slots=True)
class OwnersPolicy:
    """An owner's policy for everybody. It holds nothing of a sender who is not on the owner's lists."""

    app: bytes
    accept: Accept
    retention: int
    contacts: tuple[bytes, ...]
    blocked: tuple[bytes, ...]
    channels: tuple[str, ...]

    def for_sender(self, sender: bytes) -> Policy:
        contact, blocked = sender in self.contacts, sender in self.blocked
        return Policy(self.app, self.accept, self.retention, contact=contact, blocked=blocked, channels=self.channels)


def read_policy(db: sqlite3.Connection, inbox: bytes, sender: bytes) -> tuple[Policy | None, OwnersPolicy | None]:
    """The policy for a sender, and that for everybody if it may be remembered: long lists may not."""
    app, accept, retention, contact, blocked, channels = db.execute(_DOOR, (inbox, sender)).fetchone()
    listed = "SELECT kind, address FROM listed WHERE inbox = ? LIMIT ?"
    lists = db.execute(listed, (inbox, _LONGEST_LISTS + 1)).fetchall()
    if app is None:
        return None, None
    told = tuple(channels.split(",")) if channels else ()
    policy = Policy(app, accept, retention, contact=bool(contact), blocked=bool(blocked), channels=told)
    if len(lists) > _LONGEST_LISTS:
        return policy, None
    contacts, others = (tuple(a for kind, a in lists if kind == wanted) for wanted in ("contact", "blocked"))
    return policy, OwnersPolicy(app, accept, retention, contacts, others, told)
