"""Whether a host's chain of day keys is the one that sealed the texts of a database."""

from inbox_server.store.postgres.day_keys import BadDayKeys, DayKeys
from inbox_server.store.postgres.primary import Connection

_OTHER = (
    "The day keys of this host are not those that the texts in the database were sealed with. Copy the file from"
    " another host of this database: docs/postgresql.md, The day keys are lost"
)


async def check_day_keys(db: Connection, keys: DayKeys) -> None:
    """Raises `BadDayKeys`. Keys that have moved on further than any check in the database cannot be checked."""
    for day, value in await db.fetch("SELECT day, value FROM day_check WHERE day >= $1", keys.day):
        if keys.check(day) != value:
            raise BadDayKeys(_OTHER)


async def note_day_keys(db: Connection, keys: DayKeys) -> None:
    """Leave a check for hosts whose keys have moved on as far as these. Raises `BadDayKeys`."""
    await db.execute(
        "INSERT INTO day_check (day, value) VALUES ($1, $2) ON CONFLICT DO NOTHING", keys.day, keys.check(keys.day)
    )
    await check_day_keys(db, keys)
    await db.execute("DELETE FROM day_check WHERE day < (SELECT max(day) FROM day_check)")
