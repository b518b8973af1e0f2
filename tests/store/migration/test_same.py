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
from tests.support import postgres
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
        assert [await outcome(box, "more", number) for number in (3, 30)] == ["ticket_spent"] * 2
        assert await outcome(box, "sealed lately", 30) is False
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


COPIED = {
    "inbox": InboxRow._fields,
    **{table: ("inbox", *columns) for table, columns in PARTS.items()},
    "suspended": ("inbox",),
    "invite": ("code", "expires"),
    "seen": ("time",),
    "draining": ("one",),
    "secret_check": ("value",),
}
"""What both kinds have alike."""
OF_ITS_OWN = {
    "sqlite": {
        "message": {*("inbox", "change", "id", "slot", "size", "expires", "forget_at", "listed", "n")},
        "sheet": {"number", "inbox", "week", "fill", "ids", "used"},
        "text": {"slot", "body"},
    },
    "postgres": {
        "message": {*("inbox", "change", "id", "day", "size", "expires", "forget_at", "n")},
        "sheet": {"inbox", "week"},
        "ticket": {"inbox", "week", "ticket", "mark"},
        "text": {"inbox", "id", "day", "body"},
        "name": {"name", "inbox", "claimed"},  # of use while a name may be in two clusters
        "invite": {"code", "expires", "inbox"},  # a claim that is not done is repeated
        "seen": {"one", "time"},
    },
}
NOT_COPIED = {
    "sqlite": {"free_slot", "due", "migration", "recent_use"},
    "postgres": {
        *("schema_step", "day_check", "gone_text", "cluster", "shard", "away", "home", "migration", "numbering")
    },
}
"""Each database makes its own."""
COLUMNS_OF = {
    "sqlite": "SELECT m.name, p.name FROM sqlite_schema m, pragma_table_info(m.name) p WHERE m.type = 'table'",
    "postgres": "SELECT table_name::text, column_name::text FROM information_schema.columns"
    " WHERE table_schema = current_schema()",
}


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_no_column_of_a_schema_is_left_behind(tmp_path: Path, kind: str) -> None:
    """A new one must go into `store/whole_inbox.py`, or into this list with a reason."""
    new = place(tmp_path, "new", kind)
    async with new.opened(new=True):
        pass
    found: dict[str, set[str]] = {}
    for table, column in (read_rows if kind == "sqlite" else postgres.read_rows)(new.folder, COLUMNS_OF[kind]):
        found.setdefault(table, set()).add(column)
    known = {table: set(columns) for table, columns in COPIED.items()} | OF_ITS_OWN[kind]
    assert {table: columns for table, columns in found.items() if table not in NOT_COPIED[kind]} == known


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
