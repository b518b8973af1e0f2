"""Whole inboxes in PostgreSQL, read and written for a migration, in transactions of the caller's."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from inbox_server.clock import DAY_SECONDS
from inbox_server.store.contract import ENTRY_JSON
from inbox_server.store.postgres.primary import Connection
from inbox_server.store.postgres.sealing import Sealing
from inbox_server.store.postgres.text_days import ensure_days
from inbox_server.store.whole_inbox import (
    PARTS,
    Entry,
    InboxRow,
    Rest,
    WholeInbox,
    WholeSheet,
    batch_of,
    grouped,
    readable,
)

_WEIGHTS: Final = (
    "SELECT inbox, 10 + unread + tombstones + log_n - base_n"
    " + (SELECT count(*) FROM ticket WHERE ticket.inbox = inbox.inbox)"
    " FROM inbox WHERE inbox > $1 ORDER BY inbox LIMIT 500"
)
_MESSAGE: Final = ("change", "id", "day", "size", "expires", "forget_at", "n")


async def next_batch(db: Connection, after: bytes) -> bytes | None:
    """The last of the inboxes behind `after` that are moved together."""
    return batch_of(tuple(row) for row in await db.fetch(_WEIGHTS, after))


async def read_inboxes(db: Connection, sealing: Sealing, after: bytes, last: bytes) -> list[WholeInbox]:
    """Those behind `after` up to `last`, in the order of their keys."""
    entries = grouped(await _entries(db, sealing, after, last))
    sheets = await _sheets(db, after, last)
    parts = {table: grouped(await _rows(db, table, columns, after, last)) for table, columns in PARTS.items()}
    rows = [InboxRow(*row) for row in await _rows(db, "inbox", InboxRow._fields[1:], after, last)]
    return [
        WholeInbox(
            row,
            {table: tuple(sorted(found.get(row.inbox, ()))) for table, found in parts.items()},
            tuple(sorted(sheets.get(row.inbox, ()))),
            tuple(Entry(*entry) for entry in sorted(entries.get(row.inbox, ()))),
        )
        for row in sorted(rows)
    ]


async def _rows(
    db: Connection, table: str, columns: Iterable[str], after: bytes, last: bytes
) -> Sequence[tuple[Any, ...]]:
    select = f"SELECT inbox, {', '.join(columns)} FROM {table} WHERE inbox > $1 AND inbox <= $2"  # noqa: S608
    return [tuple(row) for row in await db.fetch(select, after, last)]


async def _entries(db: Connection, sealing: Sealing, after: bytes, last: bytes) -> list[tuple[Any, ...]]:
    bodies = {(inbox, id, day): body for inbox, id, day, body in await _rows(db, "text", _TEXT, after, last)}
    found = []
    for inbox, change, id, day, size, expires, forget_at, n in await _rows(db, "message", _MESSAGE, after, last):
        text = None if day is None else _text(sealing, inbox, id, day, size, bodies.get((inbox, id, day), b""))
        found.append((inbox, change, id, text, size, expires, forget_at, n))
    return found


_TEXT: Final = ("id", "day", "body")


def _text(sealing: Sealing, inbox: bytes, id: bytes, day: int, size: int, body: bytes) -> str:
    opened = sealing.open_body(inbox, id, day, body) if body else b""
    listed = opened.partition(ENTRY_JSON[1].encode())[2].decode("ascii", "replace")
    try:
        return readable(id, str(json.loads(f'"{listed}"')), size)
    except ValueError:
        return readable(id, listed, size)


async def _sheets(db: Connection, after: bytes, last: bytes) -> dict[bytes, list[WholeSheet]]:
    tickets = dict[tuple[bytes, int], list[tuple[bytes, bytes | None]]]()
    for inbox, week, ticket, mark in await _rows(db, "ticket", ("week", "ticket", "mark"), after, last):
        tickets.setdefault((inbox, week), []).append((ticket, mark))
    found = dict[bytes, list[WholeSheet]]()
    for inbox, week in await _rows(db, "sheet", ("week",), after, last):
        of_sheet = sorted(tickets.get((inbox, week), ()), key=lambda each: each[0])
        found.setdefault(inbox, []).append(WholeSheet(week, tuple(of_sheet)))
    return found


async def write_inboxes(db: Connection, sealing: Sealing, inboxes: Sequence[WholeInbox]) -> None:
    """Add inboxes that are not there."""
    await db.execute("SELECT keep_ahead($1)", max(each.row.change for each in inboxes))
    await _insert(db, "inbox", InboxRow._fields, [each.row for each in inboxes])
    for table, columns in PARTS.items():
        rows = [(each.row.inbox, *row) for each in inboxes for row in each.parts[table]]
        await _insert(db, table, ("inbox", *columns), rows)
    weeks = [(each.row.inbox, sheet) for each in inboxes for sheet in each.sheets]
    await _insert(db, "sheet", ("inbox", "week"), [(inbox, sheet.week) for inbox, sheet in weeks])
    tickets = [(inbox, sheet.week, *ticket) for inbox, sheet in weeks for ticket in sheet.tickets]
    await _insert(db, "ticket", ("inbox", "week", "ticket", "mark"), tickets)
    await _write_entries(db, sealing, inboxes)


async def _write_entries(db: Connection, sealing: Sealing, inboxes: Sequence[WholeInbox]) -> None:
    messages, texts = list[tuple[Any, ...]](), list[tuple[bytes, bytes, int, bytes]]()
    for each in inboxes:
        inbox = each.row.inbox
        for change, id, text, size, expires, forget_at, n in each.entries:
            day = None
            if text is not None:
                # What expired before the keys begin is kept with what expires on their first day.
                day = max(expires // DAY_SECONDS, sealing.keys.day)
                texts.append((inbox, id, day, sealing.seal(inbox, id, day, text)))
            messages.append((inbox, change, id, day, size, expires, forget_at, n))
    await _insert(db, "message", ("inbox", *_MESSAGE), messages)
    await ensure_days(db, {day for _, _, day, _ in texts})
    await _insert(db, "text", ("inbox", *_TEXT), texts)


async def _insert(db: Connection, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    if rows:
        await db.copy_records_to_table(table, records=rows, columns=columns)


async def read_rest(db: Connection) -> Rest:
    return Rest(
        suspended=tuple(row[0] for row in await db.fetch("SELECT inbox FROM suspended ORDER BY inbox")),
        invites=tuple(tuple(row) for row in await db.fetch("SELECT code, expires FROM invite ORDER BY code")),
        draining=await db.fetchval("SELECT EXISTS (SELECT FROM draining)"),
        seen=await db.fetchval("SELECT time FROM seen"),
    )


async def write_rest(db: Connection, rest: Rest) -> None:
    """Put it in place of what is there."""
    for table in ("suspended", "invite", "draining", "seen"):
        await db.execute(f"DELETE FROM {table}")  # noqa: S608 — names above
    await _insert(db, "suspended", ("inbox",), [(inbox,) for inbox in rest.suspended])
    await _insert(db, "invite", ("code", "expires"), rest.invites)
    await _insert(db, "draining", ("one",), [(1,)] * rest.draining)
    await _insert(db, "seen", ("one", "time"), [(1, rest.seen)] if rest.seen is not None else [])
