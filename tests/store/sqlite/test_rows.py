"""What a read entry and a deleted inbox leave in SQLite's tables, and how far a deletion gets that is broken off."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from inbox_server.clock import end_of_day
from inbox_server.errors import Refused
from inbox_server.store.sqlite.expiry import BATCH_ROWS
from inbox_server.store.sqlite.opening import DATABASE_NAME, open_store
from tests.conftest import HandClock
from tests.support.stores import BOB, CAROL, CHECK_VALUE, QUOTA, Box, id_of, read_rows, row_counts

OTHER_REQUEST = b"another request."


async def test_a_tombstone_has_no_text(box: Box, tmp_path: Path) -> None:
    await box.deliver("opaque")
    await box.acknowledge("opaque")
    assert read_rows(tmp_path, "SELECT id, slot FROM message") == [(id_of("opaque"), None)]


async def test_giving_up_leaves_only_free_slots(box: Box, tmp_path: Path) -> None:
    before = row_counts(tmp_path)
    carol = box.of(CAROL)
    await carol.claim()
    await carol.deliver("unread")
    assert row_counts(tmp_path) == before | {"inbox": 2, "message": 1, "free_slot": 65}
    await box.store.forget(CAROL, issued=box.clock(), request=OTHER_REQUEST)
    assert row_counts(tmp_path) == before


async def test_of_an_inbox_that_is_half_given_up_no_cursor_is_good(tmp_path: Path) -> None:
    """Whoever asked is gone after the first batch, as when the server stops. Devices must not keep the lost half."""
    giving_up: list[asyncio.Task[bool]] = []

    def break_off(works: int, seconds: float) -> None:
        for task in giving_up:
            task.cancel()

    async with open_store(tmp_path, check_value=CHECK_VALUE, quota=QUOTA, committed=break_off) as store:
        box = Box(store, HandClock())
        await box.claim()
        await asyncio.gather(*(box.deliver(f"entry {number}") for number in range(BATCH_ROWS + 1)))
        half_way, end = (await box.page(limit=1)).cursor, await box.cursor()
        giving_up.append(asyncio.create_task(box.store.forget(BOB, issued=box.clock(), request=OTHER_REQUEST)))
        await asyncio.wait(giving_up)
        assert giving_up.pop().cancelled()
        assert len(await box.texts()) == 1
        for cursor in (half_way, end):
            with pytest.raises(Refused, match="cursor_gone"):
                await box.page(cursor)
        assert await box.store.forget(BOB, issued=box.clock(), request=OTHER_REQUEST)
        assert await store.settings(BOB) is None


async def test_days_of_an_inbox_go_with_it_and_one_that_is_left_over_ends_with_the_day(
    box: Box, tmp_path: Path
) -> None:
    carol = box.of(CAROL)
    await carol.claim()
    tonight = end_of_day(box.clock()) - box.clock()
    await carol.deliver("until tonight", life=tonight)
    assert read_rows(tmp_path, "SELECT inbox, at FROM due") == [(CAROL, end_of_day(box.clock()))]
    await box.store.forget(CAROL, issued=box.clock(), request=OTHER_REQUEST)
    assert row_counts(tmp_path)["due"] == 0
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)) as db:
        db.execute("INSERT INTO due (inbox, at) VALUES (?, ?)", (CAROL, end_of_day(box.clock())))
    box.clock.advance(tonight)
    await box.sweep()
    assert row_counts(tmp_path)["due"] == 0
