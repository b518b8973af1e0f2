"""Owners' sheets of tickets in PostgreSQL: a row for each ticket, which is marked when it is used."""

from typing import Final

from inbox_server.clock import UnixTime
from inbox_server.store.contract import SettingsChange, Sheet
from inbox_server.store.postgres.primary import Connection
from inbox_server.store.postgres.settings import settle

MOST_USED: Final = 4096
"""How many used tickets that are not on the new sheet are remembered when it takes the place of another."""


async def keep_sheet(db: Connection, inbox: bytes, change: SettingsChange, sheet: Sheet, now: UnixTime) -> None:
    """Tickets that were used stay used, also those that are not on the new sheet."""
    await settle(db, inbox, change, None, now)
    await db.execute(
        """
        DELETE FROM ticket USING (
            SELECT ticket AS old, row_number() OVER (ORDER BY mark IS NULL, ticket) > $4 OR mark IS NULL AS goes
            FROM ticket LEFT JOIN unnest($3::bytea[]) AS new (ticket) USING (ticket)
            WHERE inbox = $1 AND week = $2 AND new.ticket IS NULL
        ) AS others
        WHERE inbox = $1 AND week = $2 AND ticket = old AND goes
        """,
        *(inbox, sheet.week, sheet.ids, MOST_USED),
    )
    await db.execute(
        "INSERT INTO ticket (inbox, week, ticket) SELECT $1, $2, unnest($3::bytea[]) ON CONFLICT DO NOTHING",
        *(inbox, sheet.week, sheet.ids),
    )
    await db.execute("INSERT INTO sheet (inbox, week) VALUES ($1, $2) ON CONFLICT DO NOTHING", inbox, sheet.week)
