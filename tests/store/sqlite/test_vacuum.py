"""Giving room back: what is unread stays readable, what was read leaves no trace, and nobody is in the way."""

import asyncio
import contextlib
import random
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from inbox_server.store.sqlite.expiry import give_back
from inbox_server.store.sqlite.opening import DATABASE_NAME, open_store
from inbox_server.store.sqlite.slots import PAGE_SLOTS, SPARE_SLOTS
from tests.store.sqlite.test_erasing import _marked, _marks_in, _marks_left
from tests.store.sqlite.test_slots import is_consistent
from tests.support.stores import CHECK_VALUE, QUOTA, Box, claimed_box, read_rows


def slots_of(folder: Path) -> tuple[int, int]:
    ((last, rows),) = read_rows(folder, "SELECT max(slot), count(*) FROM text")
    return last, rows


async def flooded(box: Box, dice: random.Random, folder: Path) -> dict[int, tuple[Box, str]]:
    """Some inboxes whose texts were nearly all read; what is left lies all over the file."""
    boxes = [box.of(dice.randbytes(16)) for _ in range(5)]
    for each in boxes:
        await each.claim()
    waiting = {number: (dice.choice(boxes), _marked(number, dice)) for number in range(3000)}
    await asyncio.gather(*(each.deliver(text) for each, text in waiting.values()))
    read = [waiting.pop(number) for number in dice.sample(sorted(waiting), 2900)]
    for each in boxes:
        await each.acknowledge(*(text for other, text in read if other is each))
    assert slots_of(folder)[0] >= 3000
    return waiting


@pytest.mark.parametrize("seed", [1, 2])
async def test_what_is_unread_moves_and_leaves_no_trace_where_it_was(box: Box, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    waiting = await flooded(box, dice, tmp_path)
    size = (tmp_path / DATABASE_NAME).stat().st_size
    assert await box.store.operating.vacuum() > size // 2
    end = -(-(100 + SPARE_SLOTS) // PAGE_SLOTS) * PAGE_SLOTS
    assert slots_of(tmp_path) == (end, end)
    for each in {each.inbox: each for each, _ in waiting.values()}.values():
        expected = [text for other, text in waiting.values() if other is each]
        assert await each.texts() == expected
    assert await _marks_left(tmp_path, set(waiting), time.monotonic()) == set()
    assert _marks_in(tmp_path) == set(waiting)
    async with asyncio.timeout(10):
        while box.store.load().remnants:  # noqa: ASYNC110 — the store tells nobody when the log is in the file
            await asyncio.sleep(0.02)
    assert (tmp_path / DATABASE_NAME).stat().st_size < size // 2
    for each in {each.inbox: each for each, _ in waiting.values()}.values():
        await each.acknowledge(*await each.texts())
    assert await _marks_left(tmp_path, set(), time.monotonic()) == set()
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as db:
        assert is_consistent(db, set())
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_deliveries_and_acknowledgements_go_on_meanwhile(box: Box, tmp_path: Path) -> None:
    dice = random.Random(4)
    waiting = await flooded(box, dice, tmp_path)
    vacuuming = asyncio.create_task(box.store.operating.vacuum())
    number = 10_000
    while not vacuuming.done():
        each, text = waiting.pop(dice.choice(sorted(waiting)))
        waiting[number] = each, _marked(number, dice)
        await asyncio.gather(each.acknowledge(text), each.deliver(waiting[number][1]))
        number += 1
    assert number > 10_005
    assert vacuuming.result() > 0
    for each in {each.inbox: each for each, _ in waiting.values()}.values():
        expected = [text for other, text in waiting.values() if other is each]
        assert sorted(await each.texts()) == sorted(expected)
    assert await _marks_left(tmp_path, set(waiting), time.monotonic()) == set()
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as db:
        taken = {slot for (slot,) in db.execute("SELECT slot FROM message WHERE slot IS NOT NULL")}
        assert len(taken) == len(waiting)
        assert is_consistent(db, taken)


@pytest.mark.parametrize("act", ["vacuum", "drop"])
async def test_what_is_killed_half_way_is_done_by_doing_it_again(tmp_path: Path, act: str) -> None:
    folders: list[Path] = []
    async with claimed_box(tmp_path / "data") as box:
        waiting = await flooded(box, random.Random(5), tmp_path / "data")
        whose, _ = next(iter(waiting.values()))
        operating = box.store.operating
        doing = asyncio.create_task(operating.vacuum() if act == "vacuum" else operating.drop(whose.inbox))
        with contextlib.closing(sqlite3.connect(tmp_path / "data" / DATABASE_NAME)) as beside:
            seen = 0
            while not doing.done():
                await asyncio.sleep(0)
                (version,) = beside.execute("PRAGMA data_version").fetchone()
                if version != seen and len(folders) < 4:  # what is committed now
                    folders.append(tmp_path / f"{len(folders)}")
                    folders[-1].mkdir()
                    with contextlib.closing(sqlite3.connect(folders[-1] / DATABASE_NAME)) as copy:
                        beside.backup(copy)
                seen = version
    assert len(folders) == 4
    for folder in folders:
        async with open_store(folder, check_value=CHECK_VALUE, quota=QUOTA) as store:
            await (store.operating.vacuum() if act == "vacuum" else store.operating.drop(whose.inbox))
            for each in {each.inbox: each for each, _ in waiting.values()}.values():
                expected = [text for other, text in waiting.values() if other is each]
                if act == "vacuum" or each.inbox != whose.inbox:
                    assert await replace(each, store=store).texts() == expected
            assert (await store.operating.look_up(whose.inbox)).exists == (act == "vacuum")
        with contextlib.closing(sqlite3.connect(folder / DATABASE_NAME)) as db:
            taken = {slot for (slot,) in db.execute("SELECT slot FROM message WHERE slot IS NOT NULL")}
            assert is_consistent(db, taken)
        if act == "vacuum":
            end = -(-(100 + SPARE_SLOTS) // PAGE_SLOTS) * PAGE_SLOTS
            assert slots_of(folder) == (end, end)


async def test_as_many_pages_are_given_back_as_were_asked_for(box: Box, tmp_path: Path) -> None:
    assert await box.texts() == []
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)) as db:
        db.execute("CREATE TABLE large (body BLOB)")
        db.execute("INSERT INTO large VALUES (zeroblob(100 * 4096))")
        db.execute("DROP TABLE large")

        def pages() -> tuple[int, int]:
            return db.execute("PRAGMA page_count").fetchone()[0], db.execute("PRAGMA freelist_count").fetchone()[0]

        before, free = pages()
        assert give_back(db, 7)
        assert pages() == (before - 7, free - 7)
        assert not give_back(db, 1000)
        assert pages()[1] == 0
