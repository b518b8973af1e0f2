"""As filling.py, a database in PostgreSQL: inboxes and entries put in by bulk, sealed and logged as deliveries are.

Entries come in the order of time, one to each inbox in turn, so an inbox's texts are as scattered as after deliveries.
"""

import asyncio
import hashlib
import random
import secrets
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.signing import APP, MESSAGE_ID_CHARACTERS, Person, message_id
from inbox_server.clock import DAY_SECONDS, UnixTime, end_of_day
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.inbox_log import LogPoint, next_head
from inbox_server.store.contract import Quota
from inbox_server.store.postgres.day_keys import DayKeys
from inbox_server.store.postgres.opening import open_store
from inbox_server.store.postgres.primary import Cluster, Connection
from inbox_server.store.postgres.sealing import Sealing
from inbox_server.store.postgres.text_days import ensure_days

_RETENTION_DAYS: Final = 30
_LOG_DAYS: Final = 90
_FIRST: Final = 1  # number of a change
_BASE: Final = LogPoint(1, bytes(32))
_INBOX: Final = (
    *("inbox", "app", "generation", "log_head", "change", "horizon", "retention", "accept", "unread", "unread_bytes"),
    *("settings_at", "settings_request", "log_n", "log_until", "base_n", "base_head"),
)
_MESSAGE: Final = ("inbox", "change", "id", "day", "size", "expires", "forget_at", "n")
_TEXT: Final = ("inbox", "id", "day", "body")


async def fill(cluster: Cluster, day_keys_file: Path, secret: bytes, owners: Sequence[Person], *, entries: int) -> None:
    """Make the tables, and an inbox for each owner, which takes anyone's, with as many unread `entries`."""
    hashes = KeyedHash(secret)
    opening = open_store(
        cluster, day_keys_file=day_keys_file, check_value=hashes.check_value(), quota=Quota(1, 1, 1, 1)
    )
    async with opening:
        pass
    messages, texts = await cluster.connect(), await cluster.connect()
    try:
        await _Filling(messages, texts, Sealing(DayKeys(day_keys_file)), hashes).fill(owners, entries)
        await texts.execute("VACUUM ANALYZE")
    finally:
        messages.terminate()
        texts.terminate()


class _Filling:
    """Two connections, so that PostgreSQL takes messages and their texts at the same time."""

    def __init__(self, messages: Connection, texts: Connection, sealing: Sealing, hashes: KeyedHash) -> None:
        self._messages = messages
        self._texts = texts
        self._sealing = sealing
        self._hashes = hashes
        self._now = UnixTime(int(time.time()))

    async def fill(self, owners: Sequence[Person], entries: int) -> None:
        inboxes = [self._hashes.inbox(owner.address) for owner in random.sample(owners, len(owners))]
        heads = [_BASE.head] * len(inboxes)
        await ensure_days(self._messages, {self._end(number) // DAY_SECONDS for number in range(entries)})
        for number in range(entries):
            ids = await self._add_entries(inboxes, number)
            heads = [next_head(head, _BASE.n + 1 + number, id) for head, id in zip(heads, ids, strict=True)]
        await self._add_inboxes(inboxes, heads, entries)

    def _end(self, number: int) -> UnixTime:
        return end_of_day(UnixTime(self._now + (1 + number % _RETENTION_DAYS) * DAY_SECONDS))

    async def _add_entries(self, inboxes: Sequence[bytes], number: int) -> list[bytes]:
        """One to each; their ids."""
        end, change, n = self._end(number), _FIRST + 1 + number, _BASE.n + 1 + number
        day, texts = end // DAY_SECONDS, [message_id() for _ in inboxes]
        ids = [hashlib.sha256(text.encode()).digest() for text in texts]
        found = list(zip(inboxes, ids, texts, strict=True))
        messages = [(inbox, change, id, day, len(text), end, end, n) for inbox, id, text in found]
        sealed = [(inbox, id, day, self._sealing.seal(inbox, id, day, text)) for inbox, id, text in found]
        await asyncio.gather(
            _copy(self._messages, "message", _MESSAGE, messages),
            _copy(self._texts, f"text_{day}", _TEXT, sealed),
        )
        return ids

    async def _add_inboxes(self, inboxes: Sequence[bytes], heads: Sequence[bytes], entries: int) -> None:
        kept_until = end_of_day(UnixTime(self._now + _LOG_DAYS * DAY_SECONDS))
        alike = (
            *(_FIRST + entries, _FIRST, _RETENTION_DAYS * DAY_SECONDS, "anyone"),
            *(entries, entries * MESSAGE_ID_CHARACTERS, 0, bytes(16)),
            *(_BASE.n + entries, kept_until, _BASE.n, _BASE.head),
        )
        rows = (
            (inbox, self._hashes.app(inbox, APP), secrets.token_bytes(8), head, *alike)
            for inbox, head in zip(inboxes, heads, strict=True)
        )
        await _copy(self._messages, "inbox", _INBOX, rows)
        marks = ((inbox, _BASE.n + 1, kept_until) for inbox in inboxes)
        await _copy(self._messages, "log_mark", ("inbox", "n", "until"), marks)


async def _copy(db: Connection, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    await db.copy_records_to_table(table, columns=list(columns), records=rows)
