"""What a copy of the database needs once it was put back, and seeing that one was.

What clients remember may be ahead of the copy. So every inbox gets a new generation, and its log says on which day that
was: an owner may remember a head that the copy has not reached.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from inbox_server.store.contract import BadDatabase
from inbox_server.store.postgres.primary import Connection

_GENERATION_BYTES: Final = 8
_AT_ONCE: Final = 1000
_IS_WRITTEN_HERE: Final = "xmin::text::bigint = written AND inboxes = 'inbox'::regclass::oid::bigint"
_HERE: Final = "written = pg_current_xact_id()::text::bigint % 4294967296, inboxes = 'inbox'::regclass::oid::bigint"
_MARK: Final = "UPDATE inbox SET generation = new.generation, restored = $3"
# No entry is in the copy, so no earlier cursor may count as one that has seen them.
_FORGET_MESSAGES: Final = (
    ", horizon = change, unread = 0, unread_bytes = 0, tombstones = 0, refused = false,"
    " base_n = log_n, base_head = log_head, log_until = 0"
)
_EACH: Final = " FROM unnest($1::bytea[], $2::bytea[]) AS new (inbox, generation) WHERE inbox.inbox = new.inbox"


@dataclass(frozen=True, slots=True)
class Restored:
    """What is in the copy."""

    inboxes: int
    unread: int


async def is_home(db: Connection) -> bool:
    """Whether no dump was put back since inboxes were last marked."""
    return bool(await db.fetchval(f"SELECT {_IS_WRITTEN_HERE} AND marked IS NULL FROM home"))  # noqa: S608 — above


async def check_home(db: Connection) -> None:
    """Raises `BadDatabase` after a dump was put back."""
    if not await is_home(db):
        raise BadDatabase(
            "A copy of this database was put back. Run `inbox-server after-restore` once, before any server starts:"
            " docs/postgresql.md, Restore"
        )


async def will_be_marked(db: Connection) -> None:
    """Let `check_home` refuse the database from now on, until `mark_restored` is done."""
    await db.execute("UPDATE home SET marked = '' WHERE marked IS NULL")


async def mark_restored(
    db: Connection, *, day: int, settings_only: bool, random_bytes: Callable[[int], bytes]
) -> Restored:
    """Give every inbox a new generation and the day, in small transactions. Raises `BadDatabase`.

    What was broken off is continued. Until it is done, `check_home` refuses the database.
    """
    await check_content(db, settings_only=settings_only)
    last = await db.fetchval(f"SELECT marked FROM home WHERE {_IS_WRITTEN_HERE}") or b""  # noqa: S608
    sql = _MARK + (_FORGET_MESSAGES if settings_only else "") + _EACH
    while last is not None:
        async with db.transaction():
            rows = await db.fetch(
                "SELECT inbox FROM inbox WHERE inbox > $1 ORDER BY inbox LIMIT $2 FOR UPDATE", last, _AT_ONCE
            )
            inboxes = [row[0] for row in rows]
            await db.execute(sql, inboxes, [random_bytes(_GENERATION_BYTES) for _ in inboxes], day)
            last = inboxes[-1] if inboxes else None
            await db.execute(f"UPDATE home SET marked = $1, {_HERE}", last)  # noqa: S608
    await db.execute("DELETE FROM migration WHERE state <> 'target'")  # so it may be used again, if it was whole
    rows = await db.fetch("SELECT count(*), coalesce(sum(unread), 0)::bigint FROM inbox")
    return Restored(*rows[0])


async def check_content(db: Connection, *, settings_only: bool) -> None:
    """That the copy is of the kind that the operator takes it for. Raises `BadDatabase`."""
    has_messages = await db.fetchval("SELECT EXISTS (SELECT FROM message)")
    if settings_only and has_messages:
        raise BadDatabase("There are messages in the copy: leave out --settings-only. Nothing was changed.")
    if settings_only or has_messages:
        return
    if await db.fetchval("SELECT EXISTS (SELECT FROM inbox WHERE unread + tombstones > 0)"):
        raise BadDatabase("There are no messages in the copy: add --settings-only. Nothing was changed.")
