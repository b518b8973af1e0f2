"""What PostgreSQL adds to migrations: timelines, servers elsewhere, lost connections, texts older than the day keys."""

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from inbox_server.clock import DAY_SECONDS
from inbox_server.store.contract import BadDatabase
from inbox_server.store.migrating import migrate
from inbox_server.store.sqlite.opening import DATABASE_NAME
from tests.support.migrating import ID, Place, full, move, place, told
from tests.support.postgres import read_rows, schema_of
from tests.support.stores import BOB, CAROL, Box, claimed_box

pytestmark = pytest.mark.postgres


@pytest.fixture
def source(tmp_path: Path) -> Place:
    return place(tmp_path, "first")


@pytest.fixture
def target(tmp_path: Path) -> Place:
    return place(tmp_path, "second", "postgres")


async def ends(bob: Box) -> list[int]:
    return [(await box.cursor()).change for box in (bob, bob.of(CAROL))]


async def test_inboxes_from_a_cluster_with_more_failovers_go_on_above_all_of_its_numbers(
    source: Place, target: Place
) -> None:
    """So that no number comes twice after a failover here that loses commits: the timeline counts from there on."""
    async with claimed_box(source.folder) as box:
        await box.of(CAROL).claim()
        first = await ends(box)
    ahead = (7 << 41) - (first[0] >> 41 << 41)
    with contextlib.closing(sqlite3.connect(source.folder / DATABASE_NAME)) as db, db:
        db.execute("UPDATE inbox SET change = change + ? WHERE inbox = ?", (ahead, BOB))
    await move(source, target)
    async with target.store() as store:
        box = replace(box, store=store)
        assert await ends(box) == [first[0] + ahead, first[1]]
        for each in (box, box.of(CAROL)):
            await each.deliver("one")
        assert await ends(box) == [first[0] + ahead + 1, first[1] % (1 << 41) + (7 << 41) + 1]
    assert read_rows(target.folder, "SELECT timeline(), top_bits() >> 41") == [(0, 7)]


async def test_a_database_on_which_a_server_runs_is_neither_source_nor_target(source: Place, target: Place) -> None:
    async with full(source):
        pass
    async with target.store():
        with pytest.raises(BadDatabase, match="is in use by a server or a command"):
            await move(source, target)
    async with source.store():  # and it has no mark
        pass
    await move(source, target)
    third = target.beside("third")
    async with third.store():  # in another schema of the same database
        await move(target, target.beside("fourth"))


async def test_a_lost_connection_is_told_and_the_same_command_goes_on(source: Place, target: Place) -> None:
    async with full(source) as box:
        expected = await told(box)

    def cut(what: str, _inboxes: int, _entries: int, _all: int) -> None:
        if what == "copied":
            name = f"inbox-server {schema_of(target.folder)}"
            cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'"
            assert read_rows(target.folder, cut) == [(True,)]

    with pytest.raises(BadDatabase, match=r"PostgreSQL at .* failed: .*Run the same command again"):
        async with source.opened() as old, target.opened(new=True) as new:
            await migrate(old, new, new_id=ID, progress=cut)
    await move(source, target)
    async with target.store() as store:
        assert await told(replace(box, store=store)) == expected


async def test_what_expired_before_the_day_keys_begin_is_moved_too(source: Place, target: Place) -> None:
    """It may be prolonged yet, when servers were down."""
    async with claimed_box(source.folder) as box:
        box.clock.advance(-5 * DAY_SECONDS)
        await box.deliver("old", life=DAY_SECONDS)
        await box.deliver("new", life=30 * DAY_SECONDS)
    tally = await move(source, target)
    assert (tally.counts["unread"], tally.counts["damaged"]) == (2, 0)
    async with target.store() as store:
        box = replace(box, store=store)
        assert await box.texts() == ["old", "new"]
        box.clock.advance(5 * DAY_SECONDS)
        await box.sweep()
        assert await box.texts() == ["new"]
        assert await box.counts() == (1, 3)


async def test_one_of_several_clusters_is_moved_only_when_it_has_all_shards(source: Place, target: Place) -> None:
    async with full(source):
        pass
    async with target.store():
        pass
    read_rows(target.folder, "INSERT INTO shard (number, cluster) VALUES (0, 'one') RETURNING number")
    with pytest.raises(BadDatabase, match="one of several clusters"):
        await move(source, target)
    read_rows(target.folder, "INSERT INTO cluster (one, id) VALUES (1, 'one') RETURNING one")  # all shards are here now
    await move(source, target)
