"""Databases of every kind as a migration sees them, and everything that anybody is told of one."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inbox_server.clock import UnixTime
from inbox_server.identity.layer import ONLY_ONE, Layers
from inbox_server.store.migrating import Database, migrate
from inbox_server.store.sqlite.migrating import open_for_migration
from inbox_server.store.whole_inbox import Tally
from tests.conftest import HandClock
from tests.store.sqlite.test_upgrading import fill, logged, seen
from tests.store.test_sheets import give, outcome
from tests.store.test_subscriptions import kept, subscribe
from tests.support.stores import (
    BOB,
    CAROL,
    CHECK_VALUE,
    QUOTA,
    STORES,
    Box,
    Kind,
    claimed_box,
)

ID = b"this migration.."

NOW = HandClock()()


@dataclass(frozen=True, slots=True)
class Place:
    """A database of a kind, in a folder of its own, and how a migration opens it."""

    kind: Kind
    folder: Path
    layers: Layers = ONLY_ONE

    def opened(self, *, new: bool = False) -> contextlib.AbstractAsyncContextManager[Database]:
        return open_for_migration(self.folder, check_value=CHECK_VALUE, layers=self.layers, new=new)

    def store(self) -> Any:
        return self.kind.open(self.folder, quota=QUOTA, changed=lambda _: None)


def place(folder: Path, name: str) -> Place:
    return Place(STORES["sqlite"], folder / name)


def quiet(_what: str, _inboxes: int, _entries: int, _all: int) -> None:
    """Nobody looks on."""


async def move(source: Place, target: Place, id: bytes = ID) -> Tally:
    async with source.opened() as old, target.opened(new=True) as new:
        return await migrate(old, new, new_id=id, progress=quiet)


async def told(box: Box) -> list[Any]:
    """Everything that owners, senders and the operator are told."""
    store = box.store
    return [
        await seen(box),
        await logged(box, version=99),
        await box.store.subscriptions(BOB, "push"),
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
        await operating.drain(on=True)
        yield box
