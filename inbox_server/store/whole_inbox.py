"""An inbox with everything in it, as any store can be read into it and written from it: what a migration moves.

Hashes and sealed addresses are those that are stored, under whatever layer (`identity/layer.py`): nobody looks inside.
What only one kind of database has, such as the place of a text, is not in it.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "name": ("name",),
    "listed": ("kind", "address"),
    "subscription": ("channel", "id", "sealed"),
    "logged": ("n", "id"),
    "log_mark": ("n", "until"),
}
"""Tables that all stores have alike, and their columns beside `inbox`. Tests hold it to the schemas."""

_BATCH_ROWS: Final = 5000  # of some hundred bytes, and up to 1 KB of text


class InboxRow(NamedTuple):
    """The row of the table `inbox`, whose columns have these names in every store."""

    inbox: bytes
    app: bytes
    generation: bytes
    change: int
    horizon: int
    retention: int
    accept: str
    unread: int
    unread_bytes: int
    tombstones: int
    refused: bool
    gone: str
    settings_at: int
    settings_request: bytes
    log_n: int
    log_head: bytes
    log_until: int
    base_n: int
    base_head: bytes
    restored: int | None
    most_entries: int | None
    most_bytes: int | None


class Entry(NamedTuple):
    """An entry; `text` is as it was delivered, and None once it was read (a tombstone)."""

    change: int
    id: bytes
    text: str | None
    size: int
    expires: int
    forget_at: int
    n: int | None


class WholeSheet(NamedTuple):
    """The tickets of a week, sorted, and for each what it was used for, or None."""

    week: int
    tickets: tuple[tuple[bytes, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class WholeInbox:
    """`parts` has the rows of each of `PARTS`, sorted; entries are in order of their change numbers."""

    row: InboxRow
    parts: Mapping[str, tuple[tuple[Any, ...], ...]] = field(repr=False)
    sheets: tuple[WholeSheet, ...] = field(repr=False)
    entries: tuple[Entry, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rest:
    """What a database has beside inboxes: those that are suspended, there or not, and invites with their expiry."""

    suspended: tuple[bytes, ...]
    invites: tuple[tuple[bytes, int], ...]
    draining: bool
    seen: int | None


def readable(id: bytes, text: str, size: int) -> str:
    """A text as it was delivered; one that a disk has changed is readable by every store, and still not what it was."""
    if hashlib.sha256(text.encode()).digest() == id:
        return text
    return "?" * size


def batch_of(weights: Iterable[tuple[bytes, int]]) -> bytes | None:
    """The last of the inboxes, each with its number of rows, that are moved together; None when there is none."""
    last, rows = None, 0
    for inbox, weight in weights:
        rows += weight
        if last is not None and rows > _BATCH_ROWS:
            break
        last = inbox
    return last


def grouped(rows: Iterable[Sequence[Any]]) -> dict[bytes, list[tuple[Any, ...]]]:
    """Rows that begin with an inbox, by inbox and without it."""
    found: dict[bytes, list[tuple[Any, ...]]] = {}
    for inbox, *row in rows:
        found.setdefault(inbox, []).append(tuple(row))
    return found


class Tally:
    """Counts what was read, and adds it to a hash that is the same only for the same content in the same order."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._hash = hashlib.sha256()

    def add(self, inbox: WholeInbox) -> None:
        unread = sum(entry.text is not None for entry in inbox.entries)
        self.counts.update(inboxes=1, unread=unread, read=len(inbox.entries) - unread, sheets=len(inbox.sheets))
        self.counts.update(tickets=sum(len(sheet.tickets) for sheet in inbox.sheets))
        self.counts.update({table: len(rows) for table, rows in inbox.parts.items()})
        self.counts.update(damaged=sum(_is_damaged(entry) for entry in inbox.entries))
        self._hash.update(repr((inbox.row, list(inbox.parts.items()), inbox.sheets, inbox.entries)).encode())

    def add_rest(self, rest: Rest) -> None:
        self.counts.update(suspended=len(rest.suspended), invites=len(rest.invites))
        self._hash.update(repr(rest).encode())

    def digest(self) -> str:
        return self._hash.hexdigest()


def _is_damaged(entry: Entry) -> bool:
    return entry.text is not None and hashlib.sha256(entry.text.encode()).digest() != entry.id
