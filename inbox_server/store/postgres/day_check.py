"""Whether a host's chain of day keys is the one that sealed the texts of a database."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from inbox_server.store.postgres.day_keys import BadDayKeys, DayKeys
from inbox_server.store.postgres.primary import Connection

# The check is of a day far ahead, which every file of the chain can compute: also one that has moved on past a copy of
# the database that was put back. It opens nothing.
_DAYS_AHEAD: Final = 50 * 365
_OTHER: Final = (
    "The day keys of this host are not those that the texts in the database were sealed with. Copy the file from"
    " another host of this database: docs/postgresql.md, The day keys are lost"
)


class Check(NamedTuple):
    """A day, and what every file of a chain computes for it."""

    day: int
    value: bytes


async def check_day_keys(db: Connection, keys: DayKeys, known: Sequence[Check] = ()) -> Sequence[Check]:
    """Returns the database's checks. `known` are those that were found to be right: each takes ten milliseconds.

    Raises `BadDayKeys`.
    """
    found = [Check(*row) for row in await db.fetch("SELECT day, value FROM day_check WHERE day >= $1", keys.day)]
    if any(keys.check(check.day) != check.value for check in found if check not in known):
        raise BadDayKeys(_OTHER)
    return found


async def note_day_keys(db: Connection, keys: DayKeys) -> None:
    """Leave a check, if there is none. Raises `BadDayKeys` when another host was faster, with keys of its own."""
    async with db.transaction():
        await db.execute("LOCK TABLE day_check IN SHARE ROW EXCLUSIVE MODE")
        if not await db.fetchval("SELECT EXISTS (SELECT FROM day_check)"):
            day = keys.day + _DAYS_AHEAD
            await db.execute("INSERT INTO day_check (day, value) VALUES ($1, $2)", day, keys.check(day))
    await check_day_keys(db, keys)
