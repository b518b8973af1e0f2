"""Where texts are kept: slots of one size, overwritten in place, so that nothing of a text stays behind.

When SQLite balances a B-tree it moves rows between pages, and what it leaves in the old page is not blanked, not even
with `secure_delete`: of some hundred texts that were acknowledged, one could still be found (test_erasing.py). A row of
this table is never moved and never deleted. It is made blank, filled, and blanked again, always with as many
bytes, which SQLite writes over in place. Growing appends blank rows at the end, where no row has to move.

A text lies there as it is listed: its id and what comes between the two go before it, so that SQLite can join a page.
"""

import base64
import sqlite3
from typing import Final

from inbox_server.store.contract import ENTRY_JSON

SLOT_BYTES: Final = 1024  # the longest message ID; tests hold it equal to the protocol's limit
_BETWEEN: Final = ENTRY_JSON[1].encode()
HEAD_BYTES: Final = 43 + len(_BETWEEN)
_BODY_BYTES: Final = HEAD_BYTES + SLOT_BYTES
_BLANK: Final = bytes(_BODY_BYTES)
_CHOICE: Final = 64
"""How many of the lowest free slots a text has the choice of. More would say still less about when it came, but would
scatter a group's texts over as many pages, each of which is written for every one of them."""
_GROW_SLOTS: Final = 2 * _CHOICE
_TAKE: Final = (
    "DELETE FROM free_slot WHERE slot ="
    " (SELECT slot FROM free_slot ORDER BY slot LIMIT 1 OFFSET abs(random() % ?)) RETURNING slot"
)


def fill_slot(db: sqlite3.Connection, id: bytes, text: str) -> int:
    """Keep a text of printable ASCII; its slot, any of the next free ones: it says little about when the text came."""
    taken = db.execute(_TAKE, (_CHOICE,)).fetchall()
    while not taken:  # the choice fell on a slot that is not there
        grow_slots(db)
        taken = db.execute(_TAKE, (_CHOICE,)).fetchall()
    slot: int = taken[0][0]
    db.execute("UPDATE text SET body = ? WHERE slot = ?", (body_of(id, text), slot))
    return slot


def blank_slot(db: sqlite3.Connection, slot: int) -> None:
    """Write a text over, and let the next one have its slot."""
    db.execute("UPDATE text SET body = ? WHERE slot = ?", (_BLANK, slot))
    db.execute("INSERT INTO free_slot (slot) VALUES (?)", (slot,))


def base64url(raw: bytes) -> str:
    """Without padding, as `protocol/base64url.py` has it."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def body_of(id: bytes, text: str) -> bytes:
    """What a slot holds of a text."""
    return (base64url(id).encode() + _BETWEEN + text.encode()).ljust(_BODY_BYTES, b"\0")


def text_in(body: bytes, size: int) -> str:
    """The text as it was delivered. What a failing disk made of it is not hidden: its id tells that it is another."""
    return body[HEAD_BYTES : HEAD_BYTES + size].decode("ascii", "replace")


def grow_slots(db: sqlite3.Connection) -> None:
    """Append blank slots."""
    (last,) = db.execute("SELECT coalesce(max(slot), 0) FROM text").fetchone()
    new = range(last + 1, last + 1 + _GROW_SLOTS)
    db.executemany("INSERT INTO text (slot, body) VALUES (?, ?)", ((slot, _BLANK) for slot in new))
    db.executemany("INSERT INTO free_slot (slot) VALUES (?)", ((slot,) for slot in new))
