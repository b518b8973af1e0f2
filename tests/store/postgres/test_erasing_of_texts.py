"""Texts that are gone for their owner are soon out of the table's file too, although they are sealed there."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from tests.store.postgres.conftest import Opened
from tests.support.postgres import read_rows, server
from tests.support.stores import Box

pytestmark = pytest.mark.postgres

TEXTS = [f"text {number}" for number in range(200)]


@pytest.fixture
async def box(opened: Opened) -> AsyncIterator[Box]:
    async with opened() as box:
        await box.claim()
        yield box


def sealed(folder: Path) -> list[bytes]:
    """Pieces of the texts that the tables have; of zeros none."""
    return [body[40:80] for (body,) in read_rows(folder, "SELECT body FROM text") if any(body)]


async def in_files(folder: Path, pieces: list[bytes]) -> int:
    """How many of these pieces are in the files of the tables of texts."""
    admin = await asyncpg.connect(server().admin_url, password=server().password)
    await admin.execute("CHECKPOINT")
    await admin.close()
    paths = read_rows(
        folder, "SELECT pg_relation_filepath(inhrelid) FROM pg_inherits WHERE inhparent = 'text'::regclass"
    )
    files = [(Path(server().data) / path).read_bytes() for (path,) in paths]
    return sum(any(piece in file for file in files) for piece in pieces)


async def read_all(box: Box) -> None:
    await box.acknowledge(*TEXTS)


async def read_every_third(box: Box) -> None:
    await box.acknowledge(*TEXTS[::3])


async def let_half_expire(box: Box) -> None:
    box.clock.advance(1500)
    await box.sweep()


async def drop_the_inbox(box: Box) -> None:
    await box.store.operating.drop(box.inbox)


@pytest.mark.parametrize("go", [read_all, read_every_third, let_half_expire, drop_the_inbox])
async def test_what_is_gone_is_out_of_the_file_after_the_next_vacuum(
    box: Box, tmp_path: Path, go: Callable[[Box], Awaitable[None]]
) -> None:
    for number, text in enumerate(TEXTS):
        await box.deliver(text, life=1000 + 1000 * (number % 2))
    before = sealed(tmp_path)
    assert await in_files(tmp_path, before) == len(TEXTS)
    await go(box)
    left = sealed(tmp_path)
    assert len(left) < len(TEXTS)
    await box.sweep()
    assert await in_files(tmp_path, before) == len(left)
    assert read_rows(tmp_path, "SELECT count(*) FROM text") == [(len(left),)]
    assert read_rows(tmp_path, "SELECT count(*) FROM blank_text") == [(0,)]
    await box.store.operating.vacuum()
    assert await in_files(tmp_path, before) == len(left)


async def test_a_row_of_zeros_stays_while_a_reader_may_need_what_was_there_before(box: Box, tmp_path: Path) -> None:
    """If it went first, the vacuum that comes after the reader would not write over the text."""
    for text in TEXTS:
        await box.deliver(text, life=2000)
    before = sealed(tmp_path)
    dump = await asyncpg.connect(server().admin_url.replace("/postgres", "/inbox"), password=server().password)
    async with dump.transaction(isolation="repeatable_read"):
        await dump.execute("SELECT 1")
        await box.acknowledge(*TEXTS)
        await box.sweep()
        assert read_rows(tmp_path, "SELECT count(*) FROM blank_text") == [(len(TEXTS),)]
        assert read_rows(tmp_path, "SELECT count(*) FROM text") == [(len(TEXTS),)]
    await dump.close()
    await box.store.operating.vacuum()
    assert await in_files(tmp_path, before) == 0
