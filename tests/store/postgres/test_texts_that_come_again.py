"""A text that comes again while the row is still there that it had before, or the zeros that took its place."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.store.postgres.conftest import Opened, beside
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
