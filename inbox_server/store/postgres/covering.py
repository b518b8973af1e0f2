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

_ZEROS: Final = bytes(4000)  # with its row as long as what is free in a page that is half full
_ROWS: Final = 500
_MARKS: Final = 100_000  # some tens of megabytes here
_ROUNDS: Final = 20  # of so many each: more than come in a minute
_ENDED: Final = "age(xmin) > age(({}::bigint % 4294967296)::text::xid)"
_PLACES: Final = "ctid = ANY ($1::text[]::tid[])"
_THESE: Final = "JOIN unnest($1::bytea[], $2::bytea[]) AS these (inbox, id) USING (inbox, id)"


class Crowded(Exception):
    """There is no room for zeros in these pages yet; nothing was written."""

    def __init__(self, pages: Collection[str]) -> None:
        self.pages = pages


async def cover(db: Connection, day: int, *, at_once: int = _MARKS) -> None:
    """Cover the texts of a day that are gone. Where there is no room, the next round does it."""
    crowded = set[str]()
    for _ in range(_ROUNDS):
        pages, are_all = await _pages(db, day, at_once)
        found = await _cover_all(db, day, [marks for page, marks in pages.items() if page not in crowded])
        if found:
            crowded |= found
            await db.execute(f"VACUUM (INDEX_CLEANUP OFF) text_{day}")  # what was undone makes room again
        elif are_all:
            break


async def _pages(db: Connection, day: int, most: int) -> tuple[dict[str, list[str]], bool]:
    """The marks that are to be covered, by page, and whether these are all of them."""
    rows = await db.fetch(
        f"SELECT gone_text.ctid::text, text.ctid::text FROM gone_text LEFT JOIN text_{day} AS text USING (inbox, id)"  # noqa: S608
        " WHERE gone_text.day = $1 AND NOT covered ORDER BY text.ctid LIMIT $2",
        *(day, most),
    )
    pages = dict[str, list[str]]()
    for mark, place in rows:
        pages.setdefault(_page_of(place or ""), []).append(mark)
    are_all = len(rows) < most
    if not are_all and len(pages) > 1:
        pages.popitem()  # it may have more
    return pages, are_all


async def _cover_all(db: Connection, day: int, pages: Sequence[list[str]]) -> set[str]:
    """Some of them at once; returns those that are crowded."""
    found, batch = set[str](), list[str]()
    for number, marks in enumerate(pages, 1):
        batch += marks
        if len(batch) >= _ROWS or number == len(pages):
            try:
                async with db.transaction():
                    await _cover(db, day, batch)
            except Crowded as error:
                found.update(error.pages)
            batch = []
    return found


async def _cover(db: Connection, day: int, places: Sequence[str]) -> None:
    """A text that is in use again is left, and its mark goes: it came once more. Raises `Crowded`."""
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
    await lay_zeros(db, day, [place for place, *key in texts if tuple(key) not in in_use])
    await db.execute(f"DELETE FROM gone_text WHERE {_PLACES}", [place for place, *_ in marks])  # noqa: S608


async def lay_zeros(db: Connection, day: int, places: Sequence[str]) -> None:
    """Let one row of each page become zeros, within a transaction, and delete the others at these places.

    The zeros are under ids of nobody: a text that comes again gets a row of its own, and they stay where they are.
    Raises `Crowded`; then the transaction must be undone.
    """
    of_page = {_page_of(place): place for place in places}
    written = await db.fetch(
        f"UPDATE text_{day} SET id = sha256(id || body), body = $2 WHERE {_PLACES} RETURNING ctid::text, inbox, id",  # noqa: S608
        *(list(of_page.values()), _ZEROS),
    )
    if elsewhere := of_page.keys() - {_page_of(place) for place, *_ in written}:
        raise Crowded(elsewhere)
    await db.execute(f"DELETE FROM text_{day} WHERE {_PLACES}", list(set(places) - set(of_page.values())))  # noqa: S608
    await db.execute(
        "INSERT INTO gone_text (inbox, id, day, covered) SELECT inbox, id, $3, true"
        " FROM unnest($1::bytea[], $2::bytea[]) AS zeros (inbox, id)",
        *_columns([(inbox, id) for _, inbox, id in written]),
        day,
    )


async def uncover(db: Connection, day: int, vacuumed: int) -> bool:
    """Drop the rows of zeros that were written before the vacuum.

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
            f"DELETE FROM text_{day} AS text USING unnest($1::bytea[], $2::bytea[]) AS zeros (inbox, id)"  # noqa: S608
            " WHERE text.inbox = zeros.inbox AND text.id = zeros.id",
            *_columns([(inbox, id) for inbox, id in rows]),
        )
    return bool(rows)


def _columns(keys: Collection[tuple[bytes, bytes]]) -> tuple[list[bytes], list[bytes]]:
    return [inbox for inbox, _ in keys], [id for _, id in keys]


def _page_of(place: str) -> str:
    """The page of a ctid, such as "(17,3)"."""
    return place.partition(",")[0]
