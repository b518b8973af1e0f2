"""Writing over texts that are gone for their owner, in the files of `text`.

PostgreSQL never writes over a row, and does not clear the hole that one leaves: what is there stays until another row
comes to lie over it. So texts that are gone are covered, page by page. One of a page's rows becomes zeros for half a
page, which are free, since texts fill no more than the other half; the others are deleted. A vacuum then moves the rows
together: those that stay over those that are deleted, and the zeros over what is left of both. Only after it the row of
zeros goes. It is the last one in its page, where nothing else had room meanwhile, so no row is moved by that.
"""

from collections.abc import Collection, Sequence
from typing import Final

from inbox_server.store.postgres.primary import Connection

_ZEROS: Final = bytes(4004)  # with its row as long as what is free in a page that is half full
_ROWS: Final = 500
_MOST_ROWS: Final = 100_000  # in a round
_ATTEMPTS: Final = 5
_ENDED: Final = "age(xmin) > age(({}::bigint % 4294967296)::text::xid)"
_PLACES: Final = "ctid = ANY ($1::text[]::tid[])"
_THESE: Final = "JOIN unnest($1::bytea[], $2::bytea[]) AS these (inbox, id) USING (inbox, id)"


class _Crowded(Exception):
    """There is no room for zeros in these pages yet; nothing was written."""

    def __init__(self, pages: Collection[str]) -> None:
        self.pages = pages


async def cover(db: Connection, day: int) -> None:
    """Cover the texts of a day that are gone. Where there is no room, the next round does it."""
    crowded = set[str]()
    for _ in range(_ATTEMPTS):
        found = await _cover_all(db, day, crowded)
        if not found:
            break
        crowded |= found
        await db.execute(f"VACUUM (INDEX_CLEANUP OFF) text_{day}")  # what was undone makes room again


async def _cover_all(db: Connection, day: int, crowded: Collection[str]) -> set[str]:
    """All but the crowded pages, some of them at once; returns those that are crowded too."""
    found = set[str]()
    rows = await db.fetch(
        f"SELECT gone_text.ctid::text, text.ctid::text FROM gone_text LEFT JOIN text_{day} AS text USING (inbox, id)"  # noqa: S608
        " WHERE gone_text.day = $1 AND NOT covered LIMIT $2",
        *(day, _MOST_ROWS),
    )
    pages = dict[str, list[str]]()
    for mark, place in rows:
        pages.setdefault(_page_of(place or ""), []).append(mark)
    batch = list[str]()
    left = [marks for page, marks in pages.items() if page not in crowded]
    for number, marks in enumerate(left, 1):
        batch += marks
        if len(batch) >= _ROWS or number == len(left):
            try:
                async with db.transaction():
                    await _cover(db, day, batch)
            except _Crowded as error:
                found.update(error.pages)
            batch = []
    return found


async def _cover(db: Connection, day: int, places: Sequence[str]) -> None:
    """A text that is in use again is left, and its mark goes: it came once more. Raises `_Crowded`."""
    marks = await db.fetch(
        f"SELECT ctid::text, inbox, id FROM gone_text WHERE {_PLACES} AND day = $2 AND NOT covered"  # noqa: S608 — names
        " FOR UPDATE SKIP LOCKED",
        *(places, day),
    )
    keys = _columns({(inbox, id) for _, inbox, id in marks})
    texts = await db.fetch(
        f"SELECT text.ctid::text, inbox, id FROM text_{day} AS text {_THESE} FOR UPDATE OF text",  # noqa: S608
        *keys,
    )
    # Asked once the rows are locked: who takes one into use again waits for us, or has committed.
    used = await db.fetch(f"SELECT inbox, id FROM message {_THESE} WHERE day = $3", *keys, day)  # noqa: S608
    in_use = {tuple(row) for row in used}
    gone = {place: (inbox, id) for place, inbox, id in texts if (inbox, id) not in in_use}
    covering = {_page_of(place): place for place in gone}
    written = await db.fetch(
        f"UPDATE text_{day} SET body = $2 WHERE {_PLACES} RETURNING ctid::text",  # noqa: S608
        *(list(covering.values()), _ZEROS),
    )
    if elsewhere := covering.keys() - {_page_of(place) for (place,) in written}:
        raise _Crowded(elsewhere)
    await db.execute(f"DELETE FROM text_{day} WHERE {_PLACES}", list(gone.keys() - covering.values()))  # noqa: S608
    zeros = {gone[place] for place in covering.values()}
    covered = [place for place, *key in marks if tuple(key) in zeros]
    done = [place for place, *key in marks if tuple(key) not in zeros]
    await db.execute(f"UPDATE gone_text SET covered = true WHERE {_PLACES}", covered)  # noqa: S608
    await db.execute(f"DELETE FROM gone_text WHERE {_PLACES}", done)  # noqa: S608


async def uncover(db: Connection, day: int, vacuumed: int) -> bool:
    """Drop the rows of zeros that were written before the vacuum, unless they have a text again.

    Returns whether there were any. Any transaction that had ended before the vacuum has a number below `vacuumed`.
    """
    found = False
    while await _uncover(db, day, vacuumed):
        found = True
    return found


async def _uncover(db: Connection, day: int, vacuumed: int) -> bool:
    async with db.transaction():
        rows = await db.fetch(
            "DELETE FROM gone_text WHERE ctid = ANY (ARRAY(SELECT ctid FROM gone_text"  # noqa: S608
            f" WHERE day = $1 AND covered AND {_ENDED.format('$2')} LIMIT {_ROWS} FOR UPDATE SKIP LOCKED))"
            " RETURNING inbox, id",
            *(day, vacuumed),
        )
        await db.execute(
            f"DELETE FROM text_{day} WHERE ctid = ANY (ARRAY(SELECT text.ctid FROM text_{day} AS text {_THESE}"  # noqa: S608
            " WHERE body = $3 FOR UPDATE OF text SKIP LOCKED))",
            *_columns([(inbox, id) for inbox, id in rows]),
            _ZEROS,
        )
    return bool(rows)


def _columns(keys: Collection[tuple[bytes, bytes]]) -> tuple[list[bytes], list[bytes]]:
    return [inbox for inbox, _ in keys], [id for _, id in keys]


def _page_of(place: str) -> str:
    """The page of a ctid, such as "(17,3)"."""
    return place.partition(",")[0]
