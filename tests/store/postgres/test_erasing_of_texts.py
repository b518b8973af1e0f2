"""Texts that are gone for their owner are soon out of the table's file too, although they are sealed there."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from inbox_server.store.postgres.covering import cover, uncover
from inbox_server.store.postgres.primary import Connection
from inbox_server.store.postgres.settled import others_ended
from inbox_server.store.postgres.vacuum import pack, take_out
from tests.store.postgres.conftest import Opened, beside
from tests.support.postgres import read_rows, server
from tests.support.postgres_server import OWNER
from tests.support.stores import Box

pytestmark = pytest.mark.postgres

TEXTS = [f"text {number} {'.' * (number * 97 % 1000)}" for number in range(200)]


@pytest.fixture
async def box(opened: Opened) -> AsyncIterator[Box]:
    async with opened() as box:
        await box.claim()
        yield box


def sealed(folder: Path) -> list[bytes]:
    """Pieces of the unread texts."""
    return [body[40:80] for (body,) in read_rows(folder, "SELECT body FROM text JOIN message USING (inbox, id, day)")]


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
    assert read_rows(tmp_path, "SELECT count(*) FROM gone_text") == [(0,)]
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
        (pages,) = read_rows(tmp_path, "SELECT count(DISTINCT (ctid::text::point)[0]) FROM text")
        assert pages > (0,)
        assert read_rows(tmp_path, "SELECT count(*) FROM gone_text WHERE covered") == [pages]
        assert read_rows(tmp_path, "SELECT count(*) FROM text") == [pages]
    await dump.close()
    await box.store.operating.vacuum()
    assert await in_files(tmp_path, before) == 0


@pytest.mark.parametrize("seed", range(3))
async def test_texts_of_all_lengths_that_come_and_go_leave_nothing(box: Box, tmp_path: Path, seed: int) -> None:
    """Rows of many sizes share pages, and whatever of them goes first, the rest and the zeros cover it."""
    chance = random.Random(seed)
    unread, gone = set[str](), set[bytes]()
    for step in range(40):
        new = [f"{seed} {step} {number} {'.' * chance.randrange(1000)}" for number in range(chance.randrange(30))]
        later = chance.randrange(len(new) + 1)
        await asyncio.gather(*(box.deliver(text, life=chance.choice([5000, 200_000])) for text in new[later:]))
        unread |= set(new[later:])
        before = set(sealed(tmp_path))
        read = chance.sample(sorted(unread), chance.randrange(len(unread) + 1))
        unread -= set(read)
        await box.acknowledge(*read)
        gone |= before - set(sealed(tmp_path))
        vacuum = box.store.operating.vacuum() if step % 7 == 6 else vacuum_again(box, tmp_path)
        await asyncio.gather(vacuum, *(box.deliver(text) for text in new[:later]))
        unread |= set(new[:later])
    assert len(gone) > 200
    assert read_rows(tmp_path, "SELECT count(*) FROM gone_text") == [(0,)]
    assert await in_files(tmp_path, sorted(gone)) == 0
    assert set(await box.texts()) == unread


async def vacuum_again(box: Box, folder: Path) -> None:
    """The sweep's vacuum, also when the last one was less than a minute ago."""
    admin = await asyncpg.connect(server().admin_url.removesuffix("postgres") + OWNER, password=server().password)
    for (table,) in read_rows(folder, "SELECT inhrelid FROM pg_inherits WHERE inhparent = 'text'::regclass"):
        await admin.execute(f"SELECT pg_stat_reset_single_table_counters({table})")
    await admin.close()
    await box.sweep()


@contextlib.asynccontextmanager
async def zeros_that_a_dump_sees(db: Connection, folder: Path, day: int) -> AsyncIterator[None]:
    """What is gone is covered, and the zeros are dropped too; but a dump may see them yet, and no vacuum takes them."""
    await cover(db, day)
    ended = await others_ended(db, 20)
    await db.execute(f"VACUUM text_{day}")
    async with beside(folder) as dump, dump.transaction(isolation="repeatable_read"):
        await dump.execute("SELECT 1")
        assert await uncover(db, day, ended)
        yield


async def test_a_text_waits_for_its_zeros_while_those_of_another_one_are_still_in_its_page(
    box: Box, tmp_path: Path
) -> None:
    for text in ("first", "second", "unread"):
        await box.deliver(text)
    before = sealed(tmp_path)
    ((day,),) = read_rows(tmp_path, "SELECT DISTINCT day FROM text")
    await box.acknowledge("first")
    async with beside(tmp_path) as db:
        async with zeros_that_a_dump_sees(db, tmp_path, day):
            await box.acknowledge("second")
            await take_out(db, day)
            assert read_rows(tmp_path, "SELECT covered FROM gone_text") == [(False,)]
        await take_out(db, day)  # makes room
        await take_out(db, day)
    assert await in_files(tmp_path, before) == 1
    assert await box.texts() == ["unread"]


async def test_a_text_that_was_moved_leaves_nothing_beside_one_that_somebody_held(box: Box, tmp_path: Path) -> None:
    """Its page stays in the file then, for the other one."""
    other = box.of(b"another inbox...")
    await other.claim()
    first = [f"first {number}" for number in range(300)]
    for text in first:
        await box.deliver(text)
    await other.deliver("held")
    await box.deliver("moved")
    before = sealed(tmp_path)
    ((day,),) = read_rows(tmp_path, "SELECT DISTINCT day FROM text")
    await box.acknowledge(*first)
    async with beside(tmp_path) as db, beside(tmp_path) as somebody:
        await take_out(db, day)
        where = "SELECT (ctid::text::point)[0] FROM text ORDER BY 1"
        assert len(set(read_rows(tmp_path, where))) == 1
        async with somebody.transaction():
            await somebody.execute("SELECT FROM inbox WHERE inbox = $1 FOR UPDATE", other.inbox)
            await pack(db, day)
        assert read_rows(tmp_path, where)[0] == (0,)
        await take_out(db, day)
        assert (await box.texts(), await other.texts()) == (["moved"], ["held"])
        await box.acknowledge("moved")
        await take_out(db, day)
    assert await in_files(tmp_path, before) == 1
    assert await other.texts() == ["held"]


async def test_a_text_that_comes_again_leaves_nothing_where_it_was(box: Box, tmp_path: Path) -> None:
    """Its page has no room for another version of its row: a dump may see zeros there that are gone."""
    again, other = "comes again".ljust(300), box.of(b"another inbox...")
    await other.claim()
    await other.deliver("read")
    for number in range(3):
        await other.deliver(f"{number} unread".ljust(940))
    await box.deliver(again)
    assert len(set(read_rows(tmp_path, "SELECT (ctid::text::point)[0] FROM text"))) == 1
    before = sealed(tmp_path)
    ((day,),) = read_rows(tmp_path, "SELECT DISTINCT day FROM text")
    await other.acknowledge("read")
    async with beside(tmp_path) as db:
        async with zeros_that_a_dump_sees(db, tmp_path, day):
            await box.store.operating.drop(box.inbox)
            await box.claim()
            await box.deliver(again)
        await take_out(db, day)
        await box.acknowledge(again)
        await take_out(db, day)
        await take_out(db, day)
    assert await in_files(tmp_path, before) == 3
    assert len(await other.texts()) == 3
