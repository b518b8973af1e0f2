"""Giving free slots back to the file system, beside a server that works: a few milliseconds at a time.

Rows of `text` never move (`slots.py` says why), and only the end of the table can be cut off. So what is still unread
behind the new end is copied to a free slot before it, blanked where it was, and then the blank rows go, from the last
one on. Each step is a transaction that leaves everything in order: who is broken off begins again.
"""

import asyncio
import sqlite3
from functools import partial
from itertools import takewhile
from typing import Final

from inbox_server.store.sqlite.expiry import give_back
from inbox_server.store.sqlite.reader import Reader
from inbox_server.store.sqlite.slots import PAGE_SLOTS, SPARE_SLOTS, Slots, blank_slot
from inbox_server.store.sqlite.writer import Writer

_Row = tuple[bytes, int, int | None]
"""inbox, change, slot"""

_LOOKED_AT_ROWS: Final = 2000
_MOVED_ROWS: Final = 100
_DROPPED_SLOTS: Final = 100 * PAGE_SLOTS
_GIVEN_BACK_PAGES: Final = 100  # ten milliseconds
_ROUNDS: Final = 3  # a longer life moves an entry in its feed, perhaps past where we look


class Vacuum:
    """One at a time; a second one waits."""

    def __init__(self, reader: Reader, writer: Writer, slots: Slots) -> None:
        self._reader = reader
        self._writer = writer
        self._slots = slots
        self._turn = asyncio.Lock()

    async def run(self) -> int:
        """How many bytes the file became shorter."""
        async with self._turn:
            before = await self._reader.read(_file_bytes)
            try:
                end = await self._writer.write(self._set_end)
                for _ in range(_ROUNDS):
                    await self._move_from_behind(end)
                while await self._writer.write(partial(self._drop_last, end=end), erases=True):
                    pass
            finally:
                self._slots.end = None
            while await self._writer.write(partial(give_back, most=_GIVEN_BACK_PAGES), erases=True):
                pass
            return before - await self._reader.read(_file_bytes)

    def _set_end(self, db: sqlite3.Connection) -> int:
        """Where the table shall end: after as many slots as are full, and some more to choose from."""
        (full,) = db.execute("SELECT coalesce(sum(unread), 0) FROM inbox").fetchone()
        pages = -(-(full + SPARE_SLOTS) // PAGE_SLOTS)
        self._slots.forget()
        self._slots.end = pages * PAGE_SLOTS
        return self._slots.end

    async def _move_from_behind(self, end: int) -> None:
        """Look through all entries for those behind the end."""
        rows: list[_Row] = [(b"", -1, None)]
        while rows:
            if not await self._reader.read(partial(_is_any_behind, end=end)):
                break
            rows = await self._reader.read(partial(_entries, after=rows[-1][:2]))
            behind = [row for row in rows if row[2] is not None and row[2] > end]
            for start in range(0, len(behind), _MOVED_ROWS):
                work = partial(self._move, rows=behind[start : start + _MOVED_ROWS], end=end)
                await self._writer.write(work, erases=True)

    def _move(self, db: sqlite3.Connection, rows: list[_Row], end: int) -> None:
        """Move these texts, as far as they are still there and there is room before the end."""
        self._slots.forget()  # some of the slots below may be held
        free = db.execute("SELECT slot FROM free_slot WHERE slot <= ? ORDER BY slot LIMIT ?", (end, len(rows)))
        for (inbox, change, old), (new,) in zip(rows, free.fetchall(), strict=False):
            moved = "UPDATE message SET slot = ? WHERE inbox = ? AND change = ? AND slot = ?"
            if db.execute(moved, (new, inbox, change, old)).rowcount and old is not None:
                db.execute("UPDATE text SET body = (SELECT body FROM text WHERE slot = ?) WHERE slot = ?", (old, new))
                db.execute("DELETE FROM free_slot WHERE slot = ?", (new,))
                blank_slot(db, old)

    def _drop_last(self, db: sqlite3.Connection, end: int) -> bool:
        """Drop blank rows from the end of the table, whole pages; whether there were any."""
        rows = db.execute(
            "SELECT slot, EXISTS (SELECT 1 FROM free_slot WHERE free_slot.slot = text.slot) FROM text"
            " WHERE slot > ? ORDER BY slot DESC LIMIT ?",
            (end, _DROPPED_SLOTS),
        ).fetchall()
        blank = [(slot,) for slot, _ in takewhile(lambda row: row[1], rows)]
        blank = blank[: len(blank) // PAGE_SLOTS * PAGE_SLOTS]
        self._slots.forget()
        db.executemany("DELETE FROM text WHERE slot = ?", blank)
        db.executemany("DELETE FROM free_slot WHERE slot = ?", blank)
        give_back(db, _GIVEN_BACK_PAGES)
        return bool(blank)


def _is_any_behind(db: sqlite3.Connection, end: int) -> bool:
    """Whether a row behind the end is not blank. To count the rows themselves would be to read all of the file."""
    last, blank = db.execute(
        "SELECT (SELECT max(slot) FROM text), (SELECT count(*) FROM free_slot WHERE slot > ?)", (end,)
    ).fetchone()
    return bool(last - end > blank)


def _entries(db: sqlite3.Connection, after: tuple[bytes, int]) -> list[_Row]:
    return db.execute(
        "SELECT inbox, change, slot FROM message WHERE (inbox, change) > (?, ?) ORDER BY inbox, change LIMIT ?",
        (*after, _LOOKED_AT_ROWS),
    ).fetchall()


def _file_bytes(db: sqlite3.Connection) -> int:
    (pages,), (size,) = (db.execute(f"PRAGMA {each}").fetchone() for each in ("page_count", "page_size"))
    return int(pages * size)
