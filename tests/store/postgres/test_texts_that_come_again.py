"""A text that comes again while the row is still there that it had before, or the zeros that took its place."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox_server.store.postgres.covering import cover
from tests.store.postgres.conftest import Opened, beside, until_it_waits
from tests.support.postgres import read_rows
from tests.support.stores import Box

pytestmark = pytest.mark.postgres
OTHERS = [f"other {number}" for number in range(20)]


@pytest.fixture
async def box(opened: Opened) -> AsyncIterator[Box]:
    """Its inbox was dropped, with a text, and claimed again."""
    async with opened() as box:
        await box.claim()
        await box.deliver("again")
        await box.store.operating.drop(box.inbox)
        await box.claim()
        yield box


async def deliver_all(box: Box) -> None:
    """In one group, where the first of two alike is new."""
    kept = await asyncio.gather(*(box.deliver(text) for text in (*OTHERS[:10], "again", *OTHERS[10:], "again")))
    assert [one.new for one in kept] == [True] * 21 + [False]


async def is_kept(box: Box) -> None:
    assert sorted(await box.texts()) == sorted([*OTHERS, "again"])
    await box.store.operating.vacuum()
    assert sorted(await box.texts()) == sorted([*OTHERS, "again"])
    await box.acknowledge("again")
    await box.store.operating.vacuum()
    assert sorted(await box.texts()) == sorted(OTHERS)


async def test_it_is_new_while_its_row_is_there(box: Box, tmp_path: Path) -> None:
    assert read_rows(tmp_path, "SELECT covered FROM gone_text JOIN text USING (inbox, id, day)") == [(False,)]
    await deliver_all(box)
    await is_kept(box)


async def test_it_is_new_while_zeros_have_taken_its_place(box: Box, tmp_path: Path) -> None:
    async with beside(tmp_path) as dump, dump.transaction(isolation="repeatable_read"):
        await dump.execute("SELECT 1")
        await box.sweep()
        assert read_rows(tmp_path, "SELECT covered FROM gone_text JOIN text USING (inbox, id, day)") == [(True,)]
        await deliver_all(box)
        await is_kept(box)
    await is_kept_after(box)


async def is_kept_after(box: Box) -> None:
    await box.store.operating.vacuum()
    assert sorted(await box.texts()) == sorted(OTHERS)


async def test_it_is_not_covered_while_it_comes(box: Box, tmp_path: Path) -> None:
    """Between its text and its entry in the same statement, nothing else says yet that it is in use."""
    ((day,),) = read_rows(tmp_path, "SELECT day FROM text")
    async with beside(tmp_path) as holding, beside(tmp_path) as covering:
        async with holding.transaction():
            await holding.execute("LOCK TABLE message IN SHARE MODE")
            delivering = asyncio.create_task(box.deliver("again"))
            waits = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'message'::regclass"
            while not read_rows(tmp_path, waits):  # noqa: ASYNC110 — the database tells nobody
                await asyncio.sleep(0)
            cover_it = asyncio.create_task(cover(covering, day))
            await until_it_waits(cover_it, covering, tmp_path)
        await asyncio.gather(delivering, cover_it)
    assert await box.texts() == ["again"]
