"""The stores that the contract's tests run for, and short ways to say what happens in one inbox of a store."""

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import pytest

from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.identity.layer import ONLY_ONE, Layers, layers_of
from inbox_server.inbox_log import LogEntry, LogPoint, fold
from inbox_server.protocol.base64url import decode
from inbox_server.protocol.feed_json import entries_json
from inbox_server.store.contract import (
    Admission,
    Changed,
    Cursor,
    Delivered,
    LogPage,
    Page,
    Quota,
    ReadyEntries,
    Settings,
    SettingsChange,
    Store,
    Unread,
)
from inbox_server.store.postgres import opening as postgres_opening
from inbox_server.store.sqlite.opening import DATABASE_NAME, add_invite, open_store
from tests.conftest import START, HandClock
from tests.support import postgres

CHECK_VALUE: Final = b"the secret's own"
BOB: Final = b"the inbox of Bob"
CAROL: Final = b"Carol's inbox..."
APP_HASH: Final = b"the app, keyed.."
RETENTION: Final = 30 * DAY_SECONDS
MAX_RETENTION: Final = 90 * DAY_SECONDS
QUOTA: Final = Quota(entries=10_000, bytes=8 << 20, max_retention=MAX_RETENTION, tombstones=50_000)
ADMISSION: Final = Admission(
    generation=b"first...",
    first_change=1000,
    first_log=LogPoint(7000, b"the head before the first entry."),
    default_retention=RETENTION,
    max_inboxes=None,
    invite=None,
)


def id_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class Kind(Protocol):
    """One kind of store, and how a test opens one and looks into it. Each folder is a database of its own."""

    def open(self, folder: Path, *, quota: Quota, changed: Changed) -> AbstractAsyncContextManager[Store]: ...

    def add_invite(self, folder: Path, code: bytes, *, expires: UnixTime) -> Awaitable[None]:
        """As the command does, beside a store that is open."""

    def count(self, folder: Path) -> dict[str, int]:
        """How many there are of each in `COUNTED`, read beside the store."""

    def config(self, folder: Path) -> dict[str, str]:
        """The section `store` of the configuration of a server that has its database there."""


class Sqlite:
    def __init__(self, layers: Layers = ONLY_ONE) -> None:
        self._layers = layers

    def open(self, folder: Path, *, quota: Quota, changed: Changed) -> AbstractAsyncContextManager[Store]:
        return open_store(folder, check_value=CHECK_VALUE, layers=self._layers, quota=quota, changed=changed)

    def add_invite(self, folder: Path, code: bytes, *, expires: UnixTime) -> Awaitable[None]:
        return add_invite(folder, code, expires=expires, check_value=CHECK_VALUE, layers=self._layers)

    def count(self, folder: Path) -> dict[str, int]:
        counts = row_counts(folder)
        return {table: counts[table] for table in COUNTED}

    def config(self, folder: Path) -> dict[str, str]:
        return {}


class Postgres:
    """On the server of this test run; its tests have the mark `postgres`."""

    def __init__(self, layers: Layers = ONLY_ONE) -> None:
        self._layers = layers

    def open(self, folder: Path, *, quota: Quota, changed: Changed) -> AbstractAsyncContextManager[Store]:
        return postgres_opening.open_store(
            postgres.cluster_of(folder),
            day_keys_file=folder / "day-keys",
            check_value=CHECK_VALUE,
            layers=self._layers,
            quota=quota,
            changed=changed,
            clock=lambda: START,
        )

    def add_invite(self, folder: Path, code: bytes, *, expires: UnixTime) -> Awaitable[None]:
        cluster = postgres.cluster_of(folder)
        return postgres_opening.add_invite(cluster, code, expires=expires, check_value=CHECK_VALUE, layers=self._layers)

    def count(self, folder: Path) -> dict[str, int]:
        return {table: postgres.read_rows(folder, f"SELECT count(*) FROM {table}")[0][0] for table in COUNTED}

    def config(self, folder: Path) -> dict[str, str]:
        return postgres.config_of(folder)


class Sharded(Postgres):
    """Over two clusters, which are two schemas: Bob's inbox is in one, and Carol's in the other."""

    def open(self, folder: Path, *, quota: Quota, changed: Changed) -> AbstractAsyncContextManager[Store]:
        return postgres_opening.open_sharded_store(
            [postgres.cluster_of(part) for part in self._parts(folder)],
            day_keys_file=folder / "day-keys",
            check_value=CHECK_VALUE,
            quota=quota,
            changed=changed,
            clock=lambda: START,
        )

    def add_invite(self, folder: Path, code: bytes, *, expires: UnixTime) -> Awaitable[None]:
        return super().add_invite(self._parts(folder)[0], code, expires=expires)

    def count(self, folder: Path) -> dict[str, int]:
        one, other = map(super().count, self._parts(folder))
        return {table: one[table] + other[table] for table in COUNTED}

    def _parts(self, folder: Path) -> tuple[Path, Path]:
        return folder / "one", folder / "other"


COUNTED: Final = ("inbox", "name", "listed", "subscription", "message", "logged", "invite")
STORES: Final[dict[str, Kind]] = {
    "sqlite": Sqlite(),
    "rotated": Sqlite(layers_of([b"a second secret"])),
    "postgres": Postgres(),
    "postgres-rotated": Postgres(layers_of([b"a second secret"])),
    "postgres-sharded": Sharded(),
}
"""Every store that there is; every test of the contract runs for those in `MARKS`."""
MARKS: Final = {
    "sqlite": (),
    "rotated": (pytest.mark.long,),
    "postgres": (pytest.mark.postgres,),
    "postgres-sharded": (pytest.mark.postgres, pytest.mark.long),
}
"""Which command runs the contract's tests of a store: `make test`, `make long` or `make postgres`.

The same code hides keys under a second secret for any store, so there it is enough to try one of them.
"""


@dataclass(slots=True)
class Box:
    """One inbox of a store. Lives are in seconds from now; ids are the texts' own."""

    store: Store
    clock: HandClock
    inbox: bytes = BOB

    def of(self, inbox: bytes) -> "Box":
        """Another inbox of the same store, which is not claimed yet."""
        return replace(self, inbox=inbox)

    async def claim(self, *, admission: Admission | None = ADMISSION, **changes: Any) -> bool:
        change = SettingsChange(app=APP_HASH, issued=self.clock(), request=b"a request of PUT")
        return await self.store.settle(self.inbox, replace(change, **changes), admission=admission, now=self.clock())

    async def deliver(self, text: str, life: int = 1000) -> Delivered:
        expires = UnixTime(self.clock() + life)
        return await self.store.deliver(self.inbox, id_of(text), text, expires=expires, now=self.clock())

    async def acknowledge(self, *texts: str) -> None:
        await self.store.acknowledge(self.inbox, tuple(id_of(text) for text in texts), now=self.clock())

    async def page(self, after: Cursor | None = None, limit: int = 1000) -> Page:
        return await self.store.unread(self.inbox, after=after, limit=limit, now=self.clock())

    async def entries(self, after: Cursor | None = None) -> tuple[Unread, ...]:
        return entries_of(await self.page(after))

    async def texts(self) -> list[str]:
        return texts_of(await self.page())

    async def cursor(self) -> Cursor:
        return (await self.page()).cursor

    async def log(self, after: int = 0, limit: int = 1000) -> LogPage:
        return await self.store.log(self.inbox, after=after, limit=limit, now=self.clock())

    async def logged(self, limit: int = 1000) -> list[bytes]:
        """The ids in the whole log, whose entries lead from its base to its head."""
        page = await self.log(limit=limit)
        entries: list[LogEntry] = [*page.entries]
        while page.more:
            page = await self.log(entries[-1].n, limit)
            entries += page.entries
        assert fold(page.base, entries) == page.head
        return [entry.id for entry in entries]

    async def settings(self) -> Settings:
        settings = await self.store.settings(self.inbox)
        assert settings is not None
        return settings

    async def counts(self) -> tuple[int, int]:
        """Unread entries and their bytes, as the inbox has them."""
        settings = await self.settings()
        return settings.unread, settings.unread_bytes

    async def sweep(self) -> None:
        await self.store.sweep(self.clock())


def entries_of(page: Page) -> tuple[Unread, ...]:
    """The entries of a page. What a store has made ready must be what the others would be listed as."""
    if not isinstance(page.messages, ReadyEntries):
        return page.messages
    listed = json.loads(b"[" + page.messages.json + b"]")
    entries = tuple(Unread(decode(entry["id"]), entry["message_id"], entry["expires"]) for entry in listed)
    assert entries_json(entries) == page.messages.json
    assert len(entries) == len(page.messages) > 0
    return entries


def texts_of(page: Page) -> list[str]:
    entries = entries_of(page)
    assert all(entry.id == id_of(entry.message_id) for entry in entries)
    return [entry.message_id for entry in entries]


@contextlib.asynccontextmanager
async def claimed_box(
    folder: Path, *, kind: Kind = STORES["sqlite"], quota: Quota = QUOTA, changed: Changed = lambda _inboxes: None
) -> AsyncIterator[Box]:
    """A new store with one inbox in it, Bob's."""
    async with kind.open(folder, quota=quota, changed=changed) as store:
        box = Box(store, HandClock())
        assert await box.claim()
        yield box


def read_rows(folder: Path, sql: str) -> list[Any]:
    """What a SQLite store has in its database, read beside it."""
    uri = f"file:{folder / DATABASE_NAME}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
        return db.execute(sql).fetchall()


def row_counts(folder: Path) -> dict[str, int]:
    """How many rows each table of a SQLite store has."""
    tables = [name for (name,) in read_rows(folder, "SELECT name FROM sqlite_schema WHERE type = 'table'")]
    return {table: read_rows(folder, f"SELECT count(*) FROM {table}")[0][0] for table in tables}


def file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
