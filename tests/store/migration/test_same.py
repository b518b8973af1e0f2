"""Migrations: whatever happened in a store, and however often it is copied, its readers notice nothing."""

import asyncio
import contextlib
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from inbox_server.clock import DAY_SECONDS
from inbox_server.store.contract import WEEK_SECONDS, BadDatabase
from inbox_server.store.whole_inbox import PARTS, InboxRow
from tests.store.sqlite.test_upgrading import logged
from tests.store.test_model import QUOTA as SMALL
from tests.store.test_model import Devices, Model
from tests.store.test_sheets import outcome
from tests.support.migrating import Place, full, move, place, told
from tests.support.stores import (
    claimed_box,
    read_rows,
)


async def test_everybody_is_told_the_same_after_a_migration_there_and_back(pair: tuple[Place, Place]) -> None:
    places = [*pair, pair[0].beside("third")]
    async with full(places[0]) as box:
        expected = await told(box)
    tallies = [await move(*pair) for pair in pairwise(places)]
    assert tallies[0].digest() == tallies[1].digest()
    assert all(tallies[0].counts[each] > 0 for each in (*PARTS, "inboxes", "unread", "read", "tickets", "suspended"))
    assert tallies[0].counts["damaged"] == 0
    async with places[2].store() as store:
        box = replace(box, store=store)
        assert await told(box) == expected
        await store.operating.drain(on=False)
        assert [await outcome(box, "sealed", number) for number in (3, 25, 70)] == [False, False, "not_accepted"]
        assert await outcome(box, "more", 3) == "ticket_spent"
        box.clock.advance(200 * DAY_SECONDS)
        await box.sweep()
        assert await store.totals() == replace(await store.totals(), unread=0, read=0)
        assert await logged(box, version=99) == [[], []]
    assert places[2].kind.count(places[2].folder)["logged"] == 0


class MovingDevices(Devices):
    """Senders, and devices that go on with their cursors wherever the store is now: at these kinds in turn."""

    kinds: tuple[str, ...]

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.opened = contextlib.AsyncExitStack()
        self.place = place(Path(self.opened.enter_context(tempfile.TemporaryDirectory())), "0")
        self.used = contextlib.AsyncExitStack()
        self.box = self.run(self.used.enter_async_context(claimed_box(self.place.folder, quota=SMALL)))
        self.model = Model(self.box.clock())
        self.cursors = [self.run(self.box.cursor())]
        self.week, self.tickets = self.model.now // WEEK_SECONDS, {}

    def teardown(self) -> None:
        self.run(self.used.aclose())
        super().teardown()

    @rule()
    def migrate(self) -> None:
        self.run(self._migrate())

    async def _migrate(self) -> None:
        await self.used.aclose()
        old = self.place
        number = int(old.folder.name) + 1
        self.place = place(old.folder.parent, str(number), self.kinds[number % len(self.kinds)])
        await move(old, self.place)
        opening = self.place.kind.open(self.place.folder, quota=SMALL, changed=lambda _: None)
        self.box = replace(self.box, store=await self.used.enter_async_context(opening))


@pytest.mark.parametrize(
    "kinds", [("sqlite",), pytest.param(("sqlite", "postgres", "postgres"), marks=pytest.mark.postgres)]
)
@pytest.mark.timeout(240)
def test_a_store_keeps_its_promises_from_place_to_place(kinds: tuple[str, ...]) -> None:
    class DevicesOfKinds(MovingDevices):
        pass

    DevicesOfKinds.kinds = kinds
    run_state_machine_as_test(
        DevicesOfKinds,
        settings=settings(
            max_examples=5, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )


async def test_no_column_of_a_schema_is_left_behind(tmp_path: Path) -> None:
    async with place(tmp_path, "new").opened(new=True):
        pass
    for table, columns in {"inbox": InboxRow._fields[1:], **PARTS}.items():
        found = read_rows(tmp_path / "new", f"SELECT name FROM pragma_table_info('{table}')")
        assert {name for (name,) in found} == {"inbox", *columns}


@pytest.mark.parametrize(
    ("kind", "other", "plain"),
    [
        ("rotated", "rotated", "sqlite"),
        pytest.param("rotated", "postgres-rotated", "postgres", marks=pytest.mark.postgres),
        pytest.param("postgres-rotated", "rotated", "sqlite", marks=pytest.mark.postgres),
    ],
)
async def test_what_is_under_a_later_secret_stays_under_it(tmp_path: Path, kind: str, other: str, plain: str) -> None:
    first, second = place(tmp_path, "first", kind), place(tmp_path, "second", other)
    async with full(first) as box:
        expected = await told(box)
    await move(first, second)
    async with second.store() as store:
        assert await told(replace(box, store=store)) == expected
    with pytest.raises(BadDatabase, match="The secret is not the one"):
        await move(place(tmp_path, "second", plain), first.beside("third"))
