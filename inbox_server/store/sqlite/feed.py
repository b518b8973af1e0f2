"""The feed of an inbox, in SQLite: what is unread, or what changed since a cursor.

SQLite itself joins the entries of a page into JSON: one row for a page, and no objects for each entry.
"""

import sqlite3
from typing import Any, Final

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.store.contract import ENTRY_JSON, Cursor, Page, ReadyEntries, Unread, no_inbox, notices_of
from inbox_server.store.sqlite.feed_ends import FeedEnd
from inbox_server.store.sqlite.slots import HEAD_BYTES, text_in

_BEFORE_ID, _, _BEFORE_EXPIRES, _END = ENTRY_JSON
_QUOTES: Final = "".join(ENTRY_JSON).count('"')
_PLAIN: Final = bytes(set(range(0x20, 0x7F)) - set(b'"\\'))

# ?1 the inbox, ?2 and ?3 after which change and up to which, ?4 up to which what was read is left out, ?5 the time
_WHERE: Final = (
    "WHERE inbox = ?1 AND change > ?2 AND change <= ?3"
    " AND CASE WHEN slot IS NULL THEN change > ?4 ELSE expires > ?5 END"
)
# The texts are joined after the limit was applied, and in that order: SQLite reads a subquery with a limit as a list.
_JOINED: Final = f"""
    SELECT count(*), count(slot), max(change), CAST(
        group_concat(substr(body, 1, {HEAD_BYTES} + listed) || '{_BEFORE_EXPIRES}' || expires, '{_END},{_BEFORE_ID}')
    AS BLOB)
    FROM (SELECT change, slot, listed, expires FROM message {_WHERE} ORDER BY change LIMIT ?6)
        LEFT JOIN text USING (slot)
"""  # noqa: S608 — the names and the JSON above


def read_feed(
    db: sqlite3.Connection, inbox: bytes, after: Cursor | None, limit: int, now: UnixTime, upto: int | None = None
) -> tuple[Page, FeedEnd | None]:
    """A page of an inbox's feed, and the end of the feed if it may be cached.

    Raises `Refused` no_inbox or cursor_gone.
    """
    row = db.execute(
        "SELECT generation, change, horizon, unread, refused, gone,"
        " EXISTS (SELECT 1 FROM suspended WHERE suspended.inbox = inbox.inbox) FROM inbox WHERE inbox = ?",
        (inbox,),
    ).fetchone()
    if row is None:
        raise no_inbox()
    generation, change, horizon, unread, refused, gone, suspended = row
    notices = notices_of(refused=bool(refused), suspended=bool(suspended), gone=gone.split())
    from_the_start = after is None
    if after is None:
        after = Cursor(generation, -1, change)
    elif after.generation != generation or not horizon <= max(after.change, after.listed_at) <= change:
        raise Refused("cursor_gone", "The changes since this cursor are no longer kept. List again, without `after`.")
    end = change if upto is None else min(upto, change)
    place = (inbox, after.change, end, after.listed_at, now)
    entries, unread_here, reached, joined = db.execute(_JOINED, (*place, limit)).fetchone()
    more = entries == limit and _is_any(db, (inbox, reached, *place[2:]))
    if not more:
        reached = end
    part = (inbox, after.change, reached, *place[3:])
    page = Page(
        messages=(_ready(joined, unread_here) or _unread(db, part)) if unread_here else (),
        read=_read(db, part) if entries > unread_here else (),
        cursor=Cursor(generation, reached, max(reached, after.listed_at) if more else reached),
        more=more,
        notices=notices,
        end=end,
    )
    # What has expired is not in the list, but would be again once a clock was set back: so the count must agree.
    empty = from_the_start and not entries and not unread
    # A sweep may remove a notice without waking anyone: so with a notice, nothing is cached.
    return page, None if notices else FeedEnd(Cursor(generation, change, change), empty)


def _is_any(db: sqlite3.Connection, place: tuple[Any, ...]) -> bool:
    return bool(db.execute(f"SELECT EXISTS (SELECT 1 FROM message {_WHERE})", place).fetchone()[0])  # noqa: S608 — above


def _ready(joined: bytes | None, count: int) -> ReadyEntries | None:
    """What SQLite joined, if every text is as one is written. What a failing disk has changed may not be JSON.

    Of escapes it takes those of quotes, as message IDs have them that are JSON themselves. A page with another goes the
    other way, and so does one with a text that is not in its slot as it is listed. Only quotes and backslashes are
    looked at: a look at all bytes for a backslash before something else would take as long as joining them.
    """
    if joined is None:
        return None
    special = joined.translate(None, _PLAIN)
    escapes, left_out = special.count(b"\\"), f"{_BEFORE_ID}{_END}".count('"')  # before the first, after the last
    quotes = _QUOTES * count - left_out + escapes
    if len(special) != quotes + escapes or special.count(b'"') != quotes or special.count(b'\\"') != escapes:
        return None
    return ReadyEntries(_BEFORE_ID.encode() + joined + _END.encode(), count)


def _unread(db: sqlite3.Connection, place: tuple[Any, ...]) -> tuple[Unread, ...]:
    """The entries one by one; each can be acknowledged, whatever a disk made of its text."""
    rows = db.execute(
        f"SELECT id, body, size, listed, expires FROM message JOIN text USING (slot) {_WHERE} ORDER BY change",  # noqa: S608
        place,
    )
    return tuple(Unread(id, text_in(body, size, listed), UnixTime(expires)) for id, body, size, listed, expires in rows)


def _read(db: sqlite3.Connection, place: tuple[Any, ...]) -> tuple[bytes, ...]:
    rows = db.execute(f"SELECT id FROM message {_WHERE} AND slot IS NULL ORDER BY change", place)  # noqa: S608
    return tuple(id for (id,) in rows)
