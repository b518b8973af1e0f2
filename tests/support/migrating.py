"""Databases of every kind as a migration sees them, and everything that anybody is told of one."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inbox_server.clock import UnixTime
from inbox_server.identity.layer import ONLY_ONE, layers_of
from inbox_server.store.contract import Page, Quota, Store
from inbox_server.store.migrating import Database, migrate
from inbox_server.store.postgres import migrating as postgres_migrating
from inbox_server.store.sqlite import migrating as sqlite_migrating
from inbox_server.store.whole_inbox import Tally
from tests.conftest import START
from tests.store.sqlite.test_upgrading import fill, logged, seen
from tests.store.test_sheets import give, outcome
from tests.store.test_subscriptions import kept, subscribe
from tests.support.postgres import cluster_of
from tests.support.stores import BOB, CAROL, CHECK_VALUE, QUOTA, STORES, Box, Kind, claimed_box

ID = b"this migration.."


@dataclass(frozen=True, slots=True)
class Place:
    """A database of a kind, in a folder of its own, and how servers and migrations open it."""

    name: str
    folder: Path

    @property
    def kind(self) -> Kind:
        return STORES[self.name]

    def opened(self, *, new: bool = False) -> contextlib.AbstractAsyncContextManager[Database]:
        layers = layers_of([b"a second secret"]) if "rotated" in self.name else ONLY_ONE
        if "postgres" not in self.name:
            return sqlite_migrating.open_for_migration(self.folder, check_value=CHECK_VALUE, layers=layers, new=new)
        return postgres_migrating.open_for_migration(
            cluster_of(self.folder),
            day_keys_file=self.folder / "day-keys",
            check_value=CHECK_VALUE,
            layers=layers,
            new=new,
            clock=lambda: START,
        )

    def store(self, quota: Quota = QUOTA) -> contextlib.AbstractAsyncContextManager[Store]:
        return self.kind.open(self.folder, quota=quota, changed=lambda _: None)

    def beside(self, name: str) -> "Place":
        """Another one of the same kind."""
        return place(self.folder.parent, name, self.name)


def place(folder: Path, name: str, kind: str = "sqlite") -> Place:
    (folder / name).mkdir(exist_ok=True)
    return Place(kind, folder / name)


def quiet(_what: str, _inboxes: int, _entries: int, _all: int) -> None:
    """Nobody looks on."""


async def move(source: Place, target: Place, id: bytes = ID) -> Tally:
    async with source.opened() as old, target.opened(new=True) as new:
        tally = await migrate(old, new, new_id=id, progress=quiet)
    assert tally
    return tally


async def told(box: Box) -> list[Any]:
    """Everything that owners, senders and the operator are told."""
    store = box.store
    return [
        [replace(each, end=0) if isinstance(each, Page) else each for each in await seen(box)],  # only for longer pages
        await logged(box, version=99),
        await store.subscriptions(BOB, "push"),
        await store.proven(b"carol.id, keyed."),
        await store.policy(CAROL, b"Alice, as Carols"),
        await store.totals(),
        await store.seen(),
        await store.operating.invites(UnixTime(0)),
        store.operating.draining,
        [await store.operating.look_up(inbox) for inbox in (BOB, CAROL, b"not even claimed")],
    ]


@contextlib.asynccontextmanager
async def full(place: Place) -> AsyncIterator[Box]:
    """A store with everything in it that there can be."""
    async with claimed_box(place.folder, kind=place.kind) as box:
        await fill(box)
        await box.claim(names=(b"bob.id, keyed...",), blocked=(b"Mallory, as Bobs",))
        await give(box, *range(50))
        await give(box, *range(5), weeks=1)
        assert await outcome(box, "sealed", 3) is True
        await give(box, *range(20, 70))
        await subscribe(box, kept(2))
        await box.store.drop_subscription(BOB, kept(1))
        operating = box.store.operating
        await operating.suspend(CAROL)
        await operating.suspend(b"not even claimed")
        await operating.set_quota(BOB, 700, None)
        await place.kind.add_invite(place.folder, b"a code, hashed..", expires=UnixTime(box.clock() + 9))
        await box.sweep()
        assert await outcome(box, "sealed lately", 30) is True
        await operating.drain(on=True)
        yield box
