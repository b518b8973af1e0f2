"""Where owners are told, in PostgreSQL: each function below is one transaction."""

from inbox_server.clock import UnixTime
from inbox_server.store.contract import SettingsChange, Subscribed
from inbox_server.store.postgres.primary import Connection
from inbox_server.store.postgres.settings import settle
from inbox_server.store.postgres.sharding import lock_inbox


async def subscribe(
    db: Connection, inbox: bytes, change: SettingsChange, new: Subscribed, most: int, now: UnixTime
) -> bool:
    if await lock_inbox(db, inbox):
        others: int = await db.fetchval(
            "SELECT count(*) FROM subscription WHERE inbox = $1 AND channel = $2 AND id <> $3",
            *(inbox, new.channel, new.id),
        )
        if others >= most:
            return False
    await settle(db, inbox, change, None, now)
    await db.execute(
        "INSERT INTO subscription (inbox, channel, id, sealed) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (inbox, channel, id) DO UPDATE SET sealed = excluded.sealed",
        *(inbox, new.channel, new.id, new.sealed),
    )
    await _note_gone(db, inbox, new.channel, gone=False)
    return True


async def unsubscribe(
    db: Connection, inbox: bytes, change: SettingsChange, channel: str, id: bytes | None, now: UnixTime
) -> None:
    await settle(db, inbox, change, None, now)
    await db.execute(
        "DELETE FROM subscription WHERE inbox = $1 AND channel = $2 AND id = coalesce($3, id)", inbox, channel, id
    )
    await _note_gone(db, inbox, channel, gone=False)


async def subscriptions(db: Connection, inbox: bytes, channel: str) -> tuple[Subscribed, ...]:
    rows = await db.fetch(
        "SELECT id, sealed FROM subscription WHERE inbox = $1 AND channel = $2 ORDER BY id", inbox, channel
    )
    return tuple(Subscribed(channel, id, sealed) for id, sealed in rows)


async def drop_subscription(db: Connection, inbox: bytes, gone: Subscribed) -> None:
    """One that was made anew meanwhile is sealed anew too, and stays."""
    dropped = await lock_inbox(db, inbox) and await db.fetchval(
        "DELETE FROM subscription WHERE inbox = $1 AND channel = $2 AND id = $3 AND sealed = $4 RETURNING true",
        *(inbox, gone.channel, gone.id, gone.sealed),
    )
    if dropped:
        await _note_gone(db, inbox, gone.channel, gone=True)


async def _note_gone(db: Connection, inbox: bytes, channel: str, *, gone: bool) -> None:
    before: str = await db.fetchval("SELECT gone FROM inbox WHERE inbox = $1", inbox)
    others = set(before.split()) - {channel}
    after = others | {channel} if gone else others
    await db.execute("UPDATE inbox SET gone = $2 WHERE inbox = $1", inbox, " ".join(after))
