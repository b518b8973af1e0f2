"""Invites where a claim takes several steps: they are in the first cluster, and the new inbox may be in another."""

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.store.postgres.primary import Connection


async def take_invite(db: Connection, code: bytes, inbox: bytes, now: UnixTime) -> None:
    """Raises `Refused` not_registered."""
    taken = await db.fetchval(
        "UPDATE invite SET inbox = $2 WHERE code = $1 AND expires > $3 AND coalesce(inbox, $2) = $2 RETURNING 1",
        *(code, inbox, now),
    )
    if taken is None:
        raise Refused("not_registered", "This server needs an unused `invite` code; ask its operator for one.")


async def leave_invite(db: Connection, code: bytes, inbox: bytes) -> None:
    await db.execute("UPDATE invite SET inbox = NULL WHERE code = $1 AND inbox = $2", code, inbox)


async def spend_invite(db: Connection, code: bytes, inbox: bytes) -> None:
    await db.execute("DELETE FROM invite WHERE code = $1 AND inbox = $2", code, inbox)
