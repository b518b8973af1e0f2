"""Zeros over texts that are gone, beside others who use the same rows or pages at that moment."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox_server.store.postgres.covering import cover
from inbox_server.store.postgres.vacuum import pack, take_out
from tests.store.postgres.conftest import Opened, beside, until_it_waits
from tests.store.postgres.test_erasing_of_texts import in_files, sealed
from tests.support.postgres import read_rows
from tests.support.stores import CAROL, Box

pytestmark = pytest.mark.postgres
FIRST = [f"first {number}" for number in range(300)]
"""More than the pages that stay free in front of those that are moved."""


@pytest.fixture
async def box(opened: Opened) -> AsyncIterator[Box]:
    async with opened() as box:
        await box.claim()
        yield box


async def fill_the_end(box: Box, folder: Path, texts: list[str]) -> tuple[int, list[bytes]]:
    """Let texts be in the last pages of their table, whose others are empty; returns the day, and pieces of them."""
    for text in FIRST:
        await box.deliver(text)
    for text in texts:
        await box.deliver(text)
    await box.acknowledge(*FIRST)
    await box.sweep()
    ((day,),) = read_rows(folder, "SELECT DISTINCT day FROM text")
    return day, sealed(folder)


async def test_texts_that_are_gone_are_covered_while_the_vacuum_command_moves_others(box: Box, tmp_path: Path) -> None:
    day, before = await fill_the_end(box, tmp_path, ["gone", "unread"])
    await box.acknowledge("gone")
    async with beside(tmp_path) as command, beside(tmp_path) as sweep:
        async with command.transaction():
            await pack(command, day)
            covering = asyncio.create_task(cover(sweep, day))
            await until_it_waits(covering, sweep, tmp_path)
        await covering
        for _ in range(2):
            await take_out(sweep, day)
    assert read_rows(tmp_path, "SELECT count(*) FROM text") == [(1,)]
    assert await in_files(tmp_path, before) == 1
    assert await box.texts() == ["unread"]


async def test_the_vacuum_command_leaves_zeros_where_they_are_needed(box: Box, tmp_path: Path) -> None:
    """A dump may see what was there before, and until it ends no vacuum lets the zeros come to lie over it."""
    texts = [f"late {number}" for number in range(40)]
    _, before = await fill_the_end(box, tmp_path, texts)
    async with beside(tmp_path) as dump, dump.transaction(isolation="repeatable_read"):
        await dump.execute("SELECT 1")
        await box.acknowledge(*texts[::2])
        await box.store.operating.vacuum()
    for _ in range(2):
        await box.store.operating.vacuum()
    assert sorted(await box.texts()) == sorted(texts[1::2])
    assert await in_files(tmp_path, before) == 20
    assert read_rows(tmp_path, "SELECT count(*) FROM text") == [(20,)]


async def test_a_text_that_comes_again_leaves_the_zeros_in_the_page_of_the_first(box: Box, tmp_path: Path) -> None:
    carol, dots = box.of(CAROL), "." * 1000
    await carol.claim()
    for number in range(2):
        await carol.deliver(f"{number} {dots}")
    await box.deliver(f"again {dots}")
    before = sealed(tmp_path)
    await box.store.operating.drop(box.inbox)
    await box.claim()
    async with beside(tmp_path) as dump, dump.transaction(isolation="repeatable_read"):
        await dump.execute("SELECT 1")
        await box.sweep()
        assert (await box.deliver(f"again {dots}")).new
        assert await box.texts() == [f"again {dots}"]
        await box.acknowledge(f"again {dots}")
    await box.store.operating.vacuum()
    assert len(await carol.texts()) == 2
    assert await in_files(tmp_path, before) == 2


async def test_those_that_were_delivered_beside_a_text_that_comes_again_leave_nothing(box: Box, tmp_path: Path) -> None:
    """Its row is still there, and what fails for that would leave copies of the others."""
    texts = [f"text {number}" for number in range(60)]
    await box.deliver("again")
    await box.store.operating.drop(box.inbox)
    await box.claim()
    kept = await asyncio.gather(*(box.deliver(text) for text in (*texts, "again")))
    assert all(each.new for each in kept)
    before = sealed(tmp_path)
    assert sorted(await box.texts()) == sorted([*texts, "again"])
    await box.deliver("unread")  # behind them, so that no page is cut off
    await box.acknowledge(*texts, "again")
    await box.sweep()
    assert await in_files(tmp_path, before) == 0


async def test_all_that_is_gone_is_covered_however_much_it_is(box: Box, tmp_path: Path) -> None:
    for text in FIRST:
        await box.deliver(text)
    await box.acknowledge(*FIRST)
    ((day,),) = read_rows(tmp_path, "SELECT DISTINCT day FROM text")
    async with beside(tmp_path) as db:
        await cover(db, day, at_once=50)
    assert read_rows(tmp_path, "SELECT DISTINCT covered FROM gone_text") == [(True,)]
