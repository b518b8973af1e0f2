"""Subscriptions in SQLite's files: that they leave them, are in copies, and came by an upgrade."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from inbox_server.store.sqlite.backup import back_up, restore
from inbox_server.store.sqlite.database import open_connection, upgrade
from inbox_server.store.sqlite.opening import DATABASE_NAME, open_store
from tests.store.test_subscriptions import kept, seen, subscribe, unsubscribe
from tests.support.old_databases import write_old_database
from tests.support.patience import PATIENCE_SECONDS
from tests.support.stores import BOB, CHECK_VALUE, QUOTA, Box, claimed_box, read_rows

SOON_SECONDS = 1.0


async def _drop(box: Box) -> None:
    await box.store.drop_subscription(box.inbox, kept(1))


async def _unsubscribe(box: Box) -> None:
    await unsubscribe(box, None)


async def _replace(box: Box) -> None:
    await subscribe(box, kept(1, edition=1))


async def _give_up(box: Box) -> None:
    assert await box.store.forget(box.inbox, issued=box.clock(), request=b"a DELETE request")


@pytest.mark.parametrize("act", [_drop, _unsubscribe, _replace, _give_up])
async def test_what_was_dropped_leaves_the_files_soon(box: Box, tmp_path: Path, act: Any) -> None:
    await subscribe(box, kept(1))
    assert _is_in_files(tmp_path, kept(1).sealed[:200])
    async with asyncio.timeout(PATIENCE_SECONDS):
        await _nothing_to_erase(box)
    await act(box)
    assert box.store.load().remnants  # for its own sake, and not along with something else
    done = time.monotonic()
    while _is_in_files(tmp_path, kept(1).sealed[:20]):
        assert time.monotonic() - done <= SOON_SECONDS
        await asyncio.sleep(0.02)
    if act is _give_up:
        assert read_rows(tmp_path, "SELECT count(*) FROM subscription") == [(0,)]


async def _nothing_to_erase(box: Box) -> None:
    while True:
        if not box.store.load().remnants:
            return
        await asyncio.sleep(0.02)


def _is_in_files(folder: Path, mark: bytes) -> bool:
    return any(mark in path.read_bytes() for path in folder.glob(f"{DATABASE_NAME}*"))


@pytest.mark.parametrize("settings_only", [True, False])
async def test_copies_carry_subscriptions_and_restoring_brings_them_back(
    box: Box, tmp_path: Path, settings_only: bool
) -> None:
    await subscribe(box, kept(1))
    await subscribe(box, kept(2))
    await box.store.drop_subscription(BOB, kept(2))
    back_up(tmp_path, tmp_path / "copy", check_value=CHECK_VALUE, settings_only=settings_only)
    fresh = tmp_path / "fresh"
    restore(fresh, tmp_path / "copy", check_value=CHECK_VALUE, random_bytes=lambda count: b"r" * count, now=box.clock())
    async with open_store(tmp_path / "fresh", check_value=CHECK_VALUE, quota=QUOTA) as store:
        assert await seen(Box(store, box.clock)) == ([kept(1)], 1, ("push_gone",))


async def test_a_file_from_before_push_is_upgraded_with_everything_in_it(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_NAME
    async with claimed_box(tmp_path / "today") as box:
        await box.deliver("from before")
        cursor = await box.cursor()
    write_old_database(path, 1, tmp_path / "today" / DATABASE_NAME)
    async with open_store(tmp_path, check_value=CHECK_VALUE, quota=QUOTA) as box.store:
        assert await box.texts() == ["from before"]
        assert await box.cursor() == cursor
        assert await seen(box) == ([], 0, ())
        await subscribe(box, kept(1))
        assert (await seen(box))[1] == 1
    assert path.with_name(f"{DATABASE_NAME}.before-step-2").exists()


async def test_push_subscriptions_from_before_other_channels_are_kept(tmp_path: Path) -> None:
    async with claimed_box(tmp_path / "today") as box:
        await subscribe(box, kept(1))
        await subscribe(box, kept(2))
        await box.store.drop_subscription(BOB, kept(2))
    write_old_database(tmp_path / DATABASE_NAME, 3, tmp_path / "today" / DATABASE_NAME)
    async with open_store(tmp_path, check_value=CHECK_VALUE, quota=QUOTA) as box.store:
        assert await seen(box) == ([kept(1)], 1, ("push_gone",))
        await subscribe(box, kept(2))
        assert await seen(box) == ([kept(1), kept(2)], 2, ())


async def test_the_step_runs_once(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_NAME
    async with open_connection(path) as connection:
        await upgrade(connection, path)
        await connection.run(lambda db: db.execute("INSERT INTO subscription VALUES (x'00', 'push', x'01', x'02')"))
        await upgrade(connection, path)
        assert await connection.run(lambda db: db.execute("SELECT count(*) FROM subscription").fetchone()) == (1,)
