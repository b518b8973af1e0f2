"""The feed of an inbox in PostgreSQL: what is unread, or what changed since a cursor.

Where a feed ends is asked for many readers in one statement, and most learn so that nothing is new. A page is read with
its inbox in one statement, so in one snapshot; texts come after it, sealed, and are opened here.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.store.contract import ENTRY_JSON, Cursor, Page, ReadyEntries, Unread, no_inbox, notices_of
from inbox_server.store.postgres.primary import Connection
from inbox_server.store.postgres.sealing import BLANK, Sealing
from inbox_server.store.texts import base64url

_INBOX: Final = (
    "inbox.generation, inbox.change, inbox.horizon, inbox.refused, inbox.gone,"
    " EXISTS (SELECT FROM suspended WHERE suspended.inbox = inbox.inbox) AS suspended"
)
_ENDS: Final = f"SELECT inbox.inbox, {_INBOX} FROM inbox WHERE inbox.inbox = ANY ($1)"  # noqa: S608 — the columns above
# $1 the inbox, $2 and $3 after which change and up to which, $4 up to which what was read is left out, $5 the time
_PAGE: Final = f"""
    SELECT m.change, m.id, m.day, m.expires, {_INBOX}
    FROM inbox LEFT JOIN LATERAL (
        SELECT change, id, day, expires FROM message
        WHERE message.inbox = $1 AND message.change > $2 AND message.change <= least(inbox.change, $3)
            AND CASE WHEN day IS NULL THEN message.change > coalesce($4, inbox.change) ELSE expires > $5 END
        ORDER BY message.change LIMIT $6
    ) m ON true
    WHERE inbox.inbox = $1 ORDER BY m.change
"""  # noqa: S608
_TEXTS: Final = "SELECT id, day, body FROM text WHERE inbox = $1 AND id = ANY ($2) AND day = ANY ($3)"
_MOST: Final = (1 << 63) - 1

log = logging.getLogger(__name__)


class FeedEnd(NamedTuple):
    """An inbox as a reader of its feed sees it."""

    generation: bytes
    change: int
    horizon: int
    refused: bool
    gone: str
    suspended: bool

    def notices(self) -> tuple[str, ...]:
        return notices_of(refused=self.refused, suspended=self.suspended, gone=self.gone.split())

    def check(self, after: Cursor) -> None:
        """Raises `Refused` cursor_gone."""
        place = max(after.change, after.listed_at)
        if after.generation != self.generation or not self.horizon <= place <= self.change:
            raise Refused(
                "cursor_gone", "The changes since this cursor are no longer kept. List again, without `after`."
            )

    def empty_page(self, after: Cursor) -> Page | None:
        """The page after a cursor, if nothing is there."""
        self.check(after)
        if not after.change == self.change >= after.listed_at:
            return None
        end = Cursor(self.generation, self.change, self.change)
        return Page((), (), end, more=False, notices=self.notices())


async def read_ends(db: Connection, inboxes: Sequence[bytes]) -> list[FeedEnd | None]:
    """The ends of many feeds; None where there is no such inbox."""
    ends = {row[0]: FeedEnd(*row[1:]) for row in await db.fetch(_ENDS, list(set(inboxes)))}
    return [ends.get(inbox) for inbox in inboxes]


class _Row(NamedTuple):
    """An entry of a feed, without its text. `day` is None for one that was read."""

    change: int
    id: bytes
    day: int | None
    expires: int


async def read_page(
    db: Connection,
    sealing: Sealing,
    inbox: bytes,
    after: Cursor | None,
    limit: int,
    now: UnixTime,
    upto: int | None,
) -> Page:
    """A page of an inbox's feed. Raises `Refused` no_inbox or cursor_gone."""
    place = (-1, None) if after is None else (after.change, after.listed_at)
    found = await db.fetch(_PAGE, inbox, place[0], _MOST if upto is None else upto, place[1], now, limit + 1)
    if not found:
        raise no_inbox()
    last = FeedEnd(*tuple(found[0])[4:])
    if after is None:
        after = Cursor(last.generation, -1, last.change)
    else:
        last.check(after)
    rows = [_Row(*tuple(row)[:4]) for row in found[:limit] if row[0] is not None]
    end = last.change if upto is None else min(upto, last.change)
    more = len(found) > limit
    reached = rows[-1].change if more else end
    return Page(
        messages=await _messages(db, sealing, inbox, [row for row in rows if row.day is not None]),
        read=tuple(row.id for row in rows if row.day is None),
        cursor=Cursor(last.generation, reached, max(reached, after.listed_at) if more else reached),
        more=more,
        notices=last.notices(),
        end=end,
    )


async def _messages(
    db: Connection, sealing: Sealing, inbox: bytes, rows: Sequence[_Row]
) -> tuple[Unread, ...] | ReadyEntries:
    """The unread entries. One that was read since, or lives longer, is left out: its change is behind this page."""
    if not rows:
        return ()
    bodies = {(row[0], row[1]): row[2] for row in await db.fetch(_TEXTS, inbox, *_keys(rows))}
    before_id, before_text, before_expires, end = ENTRY_JSON
    parts = list[str]()
    for row in rows:
        body = bodies.get((row.id, row.day), BLANK)
        if body == BLANK:
            continue
        listed = sealing.open(inbox, row.id, row.day or 0, body)
        if listed is None:
            log.error("a text cannot be opened with the day keys of this host")
        parts.append(f"{before_id}{base64url(row.id)}{before_text}{listed or ''}{before_expires}{row.expires}{end}")
    return ReadyEntries(",".join(parts).encode(), len(parts)) if parts else ()


def _keys(rows: Iterable[_Row]) -> tuple[list[bytes], list[int]]:
    return [row.id for row in rows], list({row.day for row in rows if row.day is not None})
