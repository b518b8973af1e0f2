"""Acknowledgements in PostgreSQL: those of a group in one round trip."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.store.contract import TOMBSTONE_SECONDS, Quota, no_inbox
from inbox_server.store.postgres.expiry import drop_oldest_tombstones
from inbox_server.store.postgres.primary import Connection
from inbox_server.store.postgres.sharding import lock_inbox

_ACKNOWLEDGE: Final = "SELECT number, verdict, remembered FROM acknowledge($1, $2, $3, $4)"
_NO_INBOX: Final = 3


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Entries that an owner has read; without ids, it only asks whether there is an inbox."""

    inbox: bytes
    ids: tuple[bytes, ...]
    now: UnixTime


async def acknowledge(db: Connection, asked: Sequence[Acknowledgement], quota: Quota) -> list[Refused | None]:
    """In one commit, which is no transaction of the caller's; what follows it forgets tombstones of which there are
    too many.
    """
    numbers, inboxes, ids = list[int](), list[bytes](), list[bytes | None]()
    for number, one in enumerate(asked):
        for id in one.ids or (None,):
            numbers.append(number)
            inboxes.append(one.inbox)
            ids.append(id)
    times = [asked[number].now for number in numbers]
    rows = await db.fetch(
        _ACKNOWLEDGE,
        inboxes,
        ids,
        [now + quota.max_retention for now in times],
        [now + TOMBSTONE_SECONDS for now in times],
    )
    outcomes: list[Refused | None] = [None] * len(asked)
    crowded = set[bytes]()
    for place, verdict, remembered in rows:
        number = numbers[place - 1]
        if verdict == _NO_INBOX:
            outcomes[number] = no_inbox()
        elif remembered > quota.tombstones:
            crowded.add(asked[number].inbox)
    for inbox in crowded:
        async with db.transaction():
            await lock_inbox(db, inbox)
            await drop_oldest_tombstones(db, inbox)
    return outcomes
