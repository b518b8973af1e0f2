"""Where texts are kept: slots of one size, written over in place, so that nothing of a text stays behind.

When SQLite balances a B-tree it moves rows between pages, and what it leaves in the old page is not blanked, not even
with `secure_delete`: of some hundred texts that were acknowledged, one could still be found (tests/test_erasing.py). A
row of this table is never moved and never deleted. It is made blank, filled, and blanked again, always with as many
bytes, which SQLite writes over in place. Growing appends blank rows at the end, where no row has to move.
"""

import sqlite3
from typing import Final

SLOT_BYTES: Final = 1024  # the longest message ID; tests hold it equal to the protocol's limit
_BLANK: Final = bytes(SLOT_BYTES)
_GROW_SLOTS: Final = 64
_ENOUGH_SLOTS: Final = 32  # to choose among
# The first free slot from a random place on, or else the first one.
_TAKE_ANY: Final = """
    DELETE FROM free_slot WHERE slot = coalesce(
        (SELECT slot FROM free_slot WHERE slot >= (SELECT abs(random() % max(slot)) FROM free_slot) LIMIT 1),
        (SELECT min(slot) FROM free_slot)
    ) RETURNING slot
"""


def fill_slot(db: sqlite3.Connection, text: str) -> int:
    """Keep a text of printable ASCII; its slot, any of the free ones: its number says little about when it came."""
    (free,) = db.execute("SELECT count(*) FROM (SELECT 1 FROM free_slot LIMIT ?)", (_ENOUGH_SLOTS,)).fetchone()
    if free < _ENOUGH_SLOTS:
        _grow(db)
    (slot,) = db.execute(_TAKE_ANY).fetchone()
    db.execute("UPDATE text SET body = ? WHERE slot = ?", (text.encode().ljust(SLOT_BYTES, b"\0"), slot))
    return int(slot)


def blank_slot(db: sqlite3.Connection, slot: int) -> None:
    """Write a text over, and let the next one have its slot."""
    db.execute("UPDATE text SET body = ? WHERE slot = ?", (_BLANK, slot))
    db.execute("INSERT INTO free_slot (slot) VALUES (?)", (slot,))


def text_of(body: bytes) -> str:
    return body.rstrip(b"\0").decode()


def _grow(db: sqlite3.Connection) -> None:
    (last,) = db.execute("SELECT coalesce(max(slot), 0) FROM text").fetchone()
    new = range(last + 1, last + 1 + _GROW_SLOTS)
    db.executemany("INSERT INTO text (slot, body) VALUES (?, ?)", ((slot, _BLANK) for slot in new))
    db.executemany("INSERT INTO free_slot (slot) VALUES (?)", ((slot,) for slot in new))
