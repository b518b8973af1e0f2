"""What decides about deliveries, in PostgreSQL, for many of them in one statement."""

from collections.abc import Sequence
from typing import Any, Final

from inbox_server.store.contract import Policy, Ticket
from inbox_server.store.postgres.primary import Connection

# To a sender, an inbox that the operator suspended is as one whose owner accepts nobody.
_POLICY: Final = """
    inbox.app,
    CASE WHEN EXISTS (SELECT FROM suspended WHERE suspended.inbox = asked.inbox) THEN 'nobody' ELSE accept END,
    inbox.retention, {contact}, {blocked},
    (SELECT string_agg(DISTINCT channel, ' ') FROM subscription WHERE subscription.inbox = asked.inbox)
"""
_LISTED: Final = (
    "EXISTS (SELECT FROM listed WHERE listed.inbox = asked.inbox AND kind = '{}' AND address = asked.address)"
)
# Looks at the lists even for an inbox that does not exist, so that it costs the same.
_BY_SENDER: Final = f"""
    SELECT {_POLICY.format(contact=_LISTED.format("contact"), blocked=_LISTED.format("blocked"))}
    FROM unnest($1::bytea[], $2::bytea[]) WITH ORDINALITY AS asked (inbox, address, number)
        LEFT JOIN inbox ON inbox.inbox = asked.inbox
    ORDER BY asked.number
"""  # noqa: S608 — the columns above
_BY_TICKET: Final = f"""
    SELECT {_POLICY.format(contact="false", blocked="false")}
    FROM unnest($1::bytea[], $2::bytea[], $3::integer[], $4::integer[])
        WITH ORDINALITY AS asked (inbox, ticket, first, last, number)
        LEFT JOIN inbox ON inbox.inbox = asked.inbox AND EXISTS (
            SELECT FROM ticket WHERE ticket.inbox = asked.inbox AND ticket.week BETWEEN asked.first AND asked.last
                AND ticket.ticket = asked.ticket
        )
    ORDER BY asked.number
"""  # noqa: S608


async def proven(db: Connection, name: bytes) -> bytes | None:
    inbox: bytes | None = await db.fetchval("SELECT inbox FROM name WHERE name = $1", name)
    return inbox


async def claim_of(db: Connection, name: bytes) -> tuple[bytes, int] | None:
    """The inbox that a name leads to, and when it was claimed."""
    row = await db.fetchrow("SELECT inbox, claimed FROM name WHERE name = $1", name)
    return (row[0], row[1]) if row else None


async def give_up_names(db: Connection, names: Sequence[bytes], before: int) -> None:
    await db.execute("DELETE FROM name WHERE name = ANY ($1) AND claimed <= $2", names, before)


async def read_policies(db: Connection, asked: Sequence[tuple[bytes, bytes]]) -> list[Policy | None]:
    """What decides about deliveries, each to an inbox by a sender, both hashed."""
    rows = await db.fetch(_BY_SENDER, [inbox for inbox, _ in asked], [sender for _, sender in asked])
    return [_policy(row) for row in rows]


async def read_ticket_policies(db: Connection, asked: Sequence[tuple[bytes, Ticket]]) -> list[Policy | None]:
    """What decides about deliveries, each to an inbox with a ticket."""
    rows = await db.fetch(
        _BY_TICKET,
        [inbox for inbox, _ in asked],
        [ticket.hash for _, ticket in asked],
        [ticket.weeks[0] for _, ticket in asked],
        [ticket.weeks[-1] for _, ticket in asked],
    )
    return [_policy(row) for row in rows]


def _policy(row: Any) -> Policy | None:
    app, accept, retention, contact, blocked, channels = row
    if app is None:
        return None
    return Policy(app, accept, retention, contact=contact, blocked=blocked, channels=tuple((channels or "").split()))
