"""Which slot a text gets: a page of the file for each inbox, never one that is taken, and no more than are needed."""

import asyncio
import random
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from inbox_server.errors import Unavailable
from inbox_server.store.sqlite.opening import DATABASE_NAME
from inbox_server.store.sqlite.slots import PAGE_SLOTS, Slots, blank_slot
from tests.support.stores import Box, read_rows, row_counts

FILE_PAGE_BYTES = 4096
INBOXES = [bytes([number]) * 16 for number in range(1, 9)]


def fill(db: sqlite3.Connection, slots: Slots, inbox: bytes) -> int:
    slot = slots.take(db, inbox)
    slots.fill(db, [(slot, bytes(32), "opaque")])
    return slot


def pages(slots: list[int]) -> list[int]:
    return [(slot - 1) // PAGE_SLOTS for slot in slots]


def is_consistent(db: sqlite3.Connection, taken: set[int]) -> bool:
    """Every slot is free or filled, and none is both."""
    free = {slot for (slot,) in db.execute("SELECT slot FROM free_slot")}
    every = {slot for (slot,) in db.execute("SELECT slot FROM text")}
    filled = {slot for (slot,) in db.execute("SELECT slot FROM text WHERE body <> zeroblob(1083)")}
    return free | taken == every and not free & taken and filled == taken


async def test_the_texts_of_an_inbox_share_the_pages_of_the_file(box: Box, tmp_path: Path) -> None:
    boxes = [box.of(inbox) for inbox in INBOXES]
    for each in boxes:
        await each.claim()
    for number in range(9):
        await asyncio.gather(*(each.deliver(f"<{each.inbox[0]}|{number}>") for each in boxes))
    async with asyncio.timeout(10):
        await box.acknowledge()  # lets the writer empty the log into the file
        while box.store.load().remnants:  # noqa: ASYNC110 — the store tells nobody when it is done
            await asyncio.sleep(0.02)
    file = (tmp_path / DATABASE_NAME).read_bytes()
    found = [file[at : at + FILE_PAGE_BYTES] for at in range(0, len(file), FILE_PAGE_BYTES)]
    for inbox in INBOXES:
        mark = b"<%d|" % inbox[0]
        assert [page.count(mark) for page in found if mark in page] == [PAGE_SLOTS] * 3


def test_the_texts_of_an_inbox_fill_its_page_in_order(db: sqlite3.Connection) -> None:
    slots = Slots()
    filled: dict[bytes, list[int]] = {inbox: [] for inbox in INBOXES}
    for _ in range(PAGE_SLOTS):
        for inbox in INBOXES:
            filled[inbox].append(fill(db, slots, inbox))
    for first, *others in filled.values():
        assert first % PAGE_SLOTS == 1
        assert others == [first + 1, first + 2]


def test_no_slot_is_given_twice_whatever_is_blanked_rolled_back_or_put_back(db: sqlite3.Connection) -> None:
    dice = random.Random(1)
    slots, taken = Slots(most_open=5, randbelow=dice.randrange), set[int]()
    for _ in range(400):
        db.execute("BEGIN")
        before = set(taken)
        for _ in range(dice.randrange(12)):
            inbox = dice.choice(INBOXES)
            match dice.randrange(4):
                case 0 if taken:
                    slot = dice.choice(sorted(taken))
                    blank_slot(db, slot)
                    taken.remove(slot)
                case 1:
                    slots.put_back(inbox, slots.take(db, inbox))
                case _:
                    slot = fill(db, slots, inbox)
                    assert slot not in taken
                    taken.add(slot)
        if dice.randrange(5) == 0:
            db.execute("ROLLBACK")
            slots.forget()
            taken = before
        else:
            db.execute("COMMIT")
        assert is_consistent(db, taken)


def test_of_slots_that_are_taken_together_each_is_another_one(db: sqlite3.Connection) -> None:
    slots = Slots(most_open=2)
    together = [slots.take(db, INBOXES[number % len(INBOXES)]) for number in range(200)]
    assert len(set(together)) == 200
    slots.fill(db, [(slot, bytes(32), "opaque") for slot in together])
    assert is_consistent(db, set(together))


def test_a_slot_that_is_not_free_is_never_filled(db: sqlite3.Connection) -> None:
    slots = Slots()
    slot = fill(db, slots, INBOXES[0])
    with pytest.raises(sqlite3.IntegrityError):
        slots.fill(db, [(slot, bytes(32), "opaque")])


@pytest.mark.parametrize("most_open", [2, 100])
def test_as_many_texts_as_were_read_need_no_more_slots(db: sqlite3.Connection, most_open: int) -> None:
    dice = random.Random(2)
    db.execute("BEGIN")
    slots, taken = Slots(most_open=most_open), list[int]()
    for number in range(5000):
        if len(taken) == 300:
            blank_slot(db, taken.pop(dice.randrange(300)))
        taken.append(fill(db, slots, INBOXES[number % len(INBOXES)]))
    (count,) = db.execute("SELECT count(*) FROM text").fetchone()
    assert count <= 300 + 3 * 132


def test_the_page_of_an_inbox_may_be_any_of_many(db: sqlite3.Connection) -> None:
    drawn = Counter[int]()
    for _ in range(200):
        db.execute("BEGIN")
        drawn.update(pages([Slots().take(db, INBOXES[0])]))
        db.execute("ROLLBACK")
    assert len(drawn) >= 20
    assert max(drawn.values()) <= 40


async def test_a_group_that_fails_leaves_every_slot_free(box: Box, tmp_path: Path) -> None:
    await box.deliver("one")
    before = row_counts(tmp_path)
    path, aside = tmp_path / DATABASE_NAME, tmp_path / "aside"
    path.rename(aside)
    outcomes = await asyncio.gather(*(box.deliver(f"{number}") for number in range(50)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    aside.rename(path)
    assert row_counts(tmp_path) == before
    await asyncio.gather(*(box.deliver(f"{number}") for number in range(50)))
    assert read_rows(tmp_path, "SELECT count(DISTINCT slot) FROM message") == [(51,)]
