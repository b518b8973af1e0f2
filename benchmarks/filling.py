"""A database as if years had passed: inboxes and entries put in by bulk, with the shape that deliveries would give it.

Entries come in the order of time, one to each inbox in turn, so that the trees are as ragged and an inbox's texts as
scattered as after real deliveries.
"""

import asyncio
import contextlib
import hashlib
import os
import random
import secrets
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.signing import APP, MESSAGE_ID_CHARACTERS, Person, message_id
from inbox_server.clock import DAY_SECONDS, UnixTime, end_of_day
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.store.contract import Quota
from inbox_server.store.sqlite.opening import DATABASE_NAME, open_store
from inbox_server.store.sqlite.slots import MOST_OPEN, PAGE_SLOTS, body_of
from inbox_server.store.texts import as_listed

_RETENTION_DAYS: Final = 30
_CACHE_KIB: Final = 4 << 20


def fill(
    folder: Path,
    secret: bytes,
    owners: Sequence[Person],
    *,
    entries: int,
    characters: int = MESSAGE_ID_CHARACTERS,
) -> None:
    """Make the database in `folder`: an inbox for each owner, which takes anyone's, with as many unread `entries`."""
    hashes = KeyedHash(secret)
    asyncio.run(_make(folder, hashes))
    inboxes = [hashes.inbox(owner.address) for owner in owners]
    with contextlib.closing(sqlite3.connect(folder / DATABASE_NAME, isolation_level=None)) as db:
        for pragma in ("synchronous=OFF", "journal_mode=OFF", f"cache_size=-{_CACHE_KIB}"):
            db.execute(f"PRAGMA {pragma}").fetchall()
        db.execute("BEGIN")
        _add_inboxes(db, hashes, inboxes, entries, characters)
        _add_entries(db, inboxes, entries, characters)
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode=WAL").fetchall()
    with (folder / DATABASE_NAME).open("rb+") as file:
        os.fsync(file.fileno())  # or the first runs pay for it


def stored(folder: Path) -> int:
    """How many unread entries stand in the database; a server may run on it."""
    uri = f"file:{folder / DATABASE_NAME}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
        return int(db.execute("SELECT count(*) FROM message WHERE slot IS NOT NULL").fetchone()[0])


async def _make(folder: Path, hashes: KeyedHash) -> None:
    async with open_store(folder, check_value=hashes.check_value(), quota=Quota(1, 1, 1, 1)):
        pass


def _add_inboxes(
    db: sqlite3.Connection, hashes: KeyedHash, inboxes: Sequence[bytes], entries: int, characters: int
) -> None:
    db.executemany(
        "INSERT INTO inbox (inbox, app, generation, change, horizon, retention, accept, unread, unread_bytes,"
        " tombstones, refused, settings_at, settings_request) VALUES (?, ?, ?, ?, 0, ?, 'anyone', ?, ?, 0, 0, 0, ?)",
        (
            (
                inbox,
                hashes.app(inbox, APP),
                secrets.token_bytes(8),
                entries,
                _RETENTION_DAYS * DAY_SECONDS,
                entries,
                entries * characters,
                bytes(16),
            )
            for inbox in inboxes
        ),
    )


def _add_entries(db: sqlite3.Connection, inboxes: Sequence[bytes], entries: int, characters: int) -> None:
    """In rounds, one entry to each inbox; as many rounds together as fill the page of the file that each inbox has."""
    # The store remembers of only so many inboxes which page they fill; of more, each text is on another one.
    rounds = PAGE_SLOTS if len(inboxes) <= MOST_OPEN else 1
    turn, start = random.sample(inboxes, len(inboxes)), end_of_day(UnixTime(int(time.time())))
    for done in range(0, entries, rounds):
        first = _grow(db, rounds * len(inboxes))
        for change in range(done + 1, min(done + rounds, entries) + 1):
            expires = UnixTime(start + DAY_SECONDS * (1 + _RETENTION_DAYS * (change - 1) // entries))
            slots = range(first + change - done - 1, first + rounds * len(inboxes), rounds)
            texts = [message_id(characters) for _ in slots]
            ids = [hashlib.sha256(text.encode()).digest() for text in texts]
            listed = [(slot, as_listed(text)) for slot, text in zip(slots, texts, strict=True)]
            db.executemany(
                "UPDATE text SET body = ? WHERE slot = ?",
                ((body_of(id, text), slot) for id, (slot, (text, _)) in zip(ids, listed, strict=True)),
            )
            db.executemany("DELETE FROM free_slot WHERE slot = ?", ((slot,) for slot in slots))
            db.executemany(
                "INSERT INTO message (inbox, change, id, slot, size, listed, expires, forget_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (inbox, change, id, slot, characters, length, expires, expires)
                    for inbox, id, (slot, (_, length)) in zip(turn, ids, listed, strict=True)
                ),
            )


def _grow(db: sqlite3.Connection, slots: int) -> int:
    """Append so many blank slots; the first of them."""
    (last,) = db.execute("SELECT max(slot) FROM text").fetchone()
    new, blank = range(last + 1, last + 1 + slots), bytes(len(body_of(b"", "")))
    db.executemany("INSERT INTO text (slot, body) VALUES (?, ?)", ((slot, blank) for slot in new))
    db.executemany("INSERT INTO free_slot (slot) VALUES (?)", ((slot,) for slot in new))
    return new.start
