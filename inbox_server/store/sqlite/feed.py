"""The feed of an inbox, in SQLite: what is unread, or what changed since a cursor."""

import sqlite3

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.store.contract import Cursor, Page, Unread, no_inbox, notices_of
from inbox_server.store.sqlite.feed_ends import FeedEnd
from inbox_server.store.sqlite.slots import text_of


def read_feed(
    db: sqlite3.Connection, inbox: bytes, after: Cursor | None, limit: int, now: UnixTime, upto: int | None = None
) -> tuple[Page, FeedEnd | None]:
    """A page of an inbox's feed, and the end of the feed if it may be cached.

    Raises `Refused` no_inbox or cursor_gone.
    """
    row = db.execute(
        "SELECT generation, change, horizon, unread, refused, gone FROM inbox WHERE inbox = ?", (inbox,)
    ).fetchone()
    if row is None:
        raise no_inbox()
    generation, change, horizon, unread, refused, gone = row
    notices = notices_of(refused=bool(refused), gone=gone.split())
    from_the_start = after is None
    if after is None:
        after = Cursor(generation, -1, change)
    elif after.generation != generation or not horizon <= max(after.change, after.listed_at) <= change:
        raise Refused("cursor_gone", "The changes since this cursor are no longer kept. List again, without `after`.")
    end = change if upto is None else min(upto, change)
    rows = db.execute(
        "SELECT change, id, body, size, expires FROM message LEFT JOIN text USING (slot)"
        " WHERE inbox = ? AND change > ? AND change <= ?"
        " AND CASE WHEN slot IS NULL THEN change > ? ELSE expires > ? END ORDER BY change LIMIT ?",
        (inbox, after.change, end, after.listed_at, now, limit + 1),
    ).fetchall()
    more = len(rows) > limit
    rows = rows[:limit]
    reached = rows[-1][0] if more else end
    page = Page(
        messages=tuple(
            Unread(id, text_of(body, size), UnixTime(expires))
            for _, id, body, size, expires in rows
            if body is not None
        ),
        read=tuple(id for _, id, body, _, _ in rows if body is None),
        cursor=Cursor(generation, reached, max(reached, after.listed_at) if more else reached),
        more=more,
        notices=notices,
        end=end,
    )
    # What has expired is not in the list, but would be again once a clock was set back: so the count must agree.
    empty = from_the_start and not rows and not unread
    # A sweep may remove a notice without waking anyone: so with a notice, nothing is cached.
    return page, None if notices else FeedEnd(Cursor(generation, change, change), empty)
