"""The feed of an inbox in PostgreSQL: what is unread, or what changed since a cursor.

Many readers are answered by one statement, and most learn so that nothing is new. A page is read with its inbox and its
texts in one statement, so in one snapshot, and the texts are opened here.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.store.contract import ENTRY_JSON, Cursor, Page, ReadyEntries, no_inbox, notices_of
from inbox_server.store.postgres.primary import Connection
from inbox_server.store.postgres.sealing import BODY_HEAD_BYTES, NONCE_BYTES, Sealing

ID_BYTES: Final = 32
_INBOX: Final = (
    "inbox.generation, inbox.change, inbox.horizon, inbox.refused, inbox.gone,"
    " EXISTS (SELECT FROM suspended WHERE suspended.inbox = inbox.inbox) AS suspended"
)
_ENDS: Final = f"SELECT inbox.inbox, {_INBOX} FROM inbox WHERE inbox.inbox = ANY ($1)"  # noqa: S608 — the columns above
_BYTES: Final = f"{BODY_HEAD_BYTES} + get_byte(body, 0) * 256 + get_byte(body, 1)"
# A text that is not there any more, or whose length cannot be right, comes as one of no length.
_BODY: Final = (
    f"coalesce(CASE WHEN length(body) <= {BODY_HEAD_BYTES} THEN NULL"
    f" WHEN {_BYTES} <= length(body) THEN substr(body, 1, {_BYTES}) END, '\\x{bytes(BODY_HEAD_BYTES).hex()}')"
)
# Of each page that is asked for: $1 the inbox, $2 and $3 after which change and up to which, $4 up to which what was
# read is left out, $5 the time, $6 the limit. All entries of a page come as one value: a hundred rows take four times
# as long to be taken apart.
_PAGES: Final = f"""
    SELECT number, {_INBOX}, page.*
    FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::integer[]) WITH ORDINALITY
        AS asked (inbox, after, upto, listed_at, now, most, number)
        JOIN inbox USING (inbox) LEFT JOIN LATERAL (
        SELECT count(*) > most AS more, max(change) FILTER (WHERE place <= most) AS reached,
            string_agg(
                entry.id || int4send(entry.day) || int8send(expires) || {_BODY}, ''::bytea ORDER BY change
            ) FILTER (WHERE place <= most AND entry.day IS NOT NULL) AS unread,
            string_agg(entry.id, ''::bytea ORDER BY change) FILTER (WHERE place <= most AND entry.day IS NULL) AS read
        FROM (
            SELECT change, id, day, expires, row_number() OVER (ORDER BY change) AS place FROM message
            WHERE message.inbox = asked.inbox AND message.change > after AND message.change <= least(inbox.change, upto)
                AND CASE WHEN day IS NULL THEN message.change > coalesce(listed_at, inbox.change) ELSE expires > now END
            ORDER BY change LIMIT most + 1
        ) AS entry LEFT JOIN text ON text.inbox = asked.inbox AND text.id = entry.id AND text.day = entry.day
    ) AS page ON true
"""  # noqa: S608
_ENTRY: Final = struct.Struct(f">{ID_BYTES}siqH{NONCE_BYTES}s")
_FIRST, _LAST = ENTRY_JSON[0].encode(), ENTRY_JSON[3].encode()
_NEXT: Final = b"," + _FIRST
_MOST: Final = (1 << 63) - 1


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


class AskedPage(NamedTuple):
    """A page that a reader asks for: see `contract.Store.unread`."""

    inbox: bytes
    after: Cursor | None
    limit: int
    now: UnixTime
    upto: int | None


async def read_pages(db: Connection, asked: Sequence[AskedPage]) -> list[Sequence[Any] | None]:
    """What `page_of` takes of each page; None where there is no such inbox."""
    places = [(-1, None) if one.after is None else (one.after.change, one.after.listed_at) for one in asked]
    rows = await db.fetch(
        _PAGES,
        [one.inbox for one in asked],
        [change for change, _ in places],
        [_MOST if one.upto is None else one.upto for one in asked],
        [listed_at for _, listed_at in places],
        [one.now for one in asked],
        [one.limit for one in asked],
    )
    found = {number: columns for number, *columns in rows}
    return [found.get(number) for number in range(1, len(asked) + 1)]


def page_of(sealing: Sealing, asked: AskedPage, columns: Sequence[Any] | None) -> Page:
    """A page of an inbox's feed. Raises `Refused` no_inbox or cursor_gone."""
    if columns is None:
        raise no_inbox()
    *of_inbox, more, reached, unread, read = columns
    last = FeedEnd(*of_inbox)
    after = asked.after
    if after is None:
        after = Cursor(last.generation, -1, last.change)
    else:
        last.check(after)
    end = last.change if asked.upto is None else min(asked.upto, last.change)
    if not more:
        reached = end
    return Page(
        messages=_listed(sealing, asked.inbox, unread) if unread else (),
        read=tuple(read[at : at + ID_BYTES] for at in range(0, len(read), ID_BYTES)) if read else (),
        cursor=Cursor(last.generation, reached, max(reached, after.listed_at) if more else reached),
        more=more,
        notices=last.notices(),
        end=end,
    )


def _listed(sealing: Sealing, inbox: bytes, unread: bytes) -> ReadyEntries:
    """The unread entries. One that cannot be opened is there without its text, so that it can be acknowledged."""
    at, end, size, open_text, unpack = 0, len(unread), _ENTRY.size, sealing.open, _ENTRY.unpack_from
    parts = [_FIRST]
    while at < end:
        id, day, expires, length, nonce = unpack(unread, at)
        start = at + size
        at = start + length
        parts.append(open_text(inbox, id, day, nonce, unread[start:at]))
        parts.append(_after_text(expires))
    parts[-1] = parts[-1][: -len(_NEXT)]
    return ReadyEntries(b"".join(parts), len(parts) // 2)


@lru_cache(64)
def _after_text(expires: int) -> bytes:
    """What stands between a text and the id of the next one."""
    return b"%b%d%b" % (ENTRY_JSON[2].encode(), expires, _LAST + _NEXT)
