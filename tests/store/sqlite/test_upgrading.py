"""A database of an earlier version, with all kinds of rows: the upgrade loses nothing, and leaves nothing behind."""

import asyncio
import itertools
import re
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inbox_server.store.contract import ReadyEntries
from inbox_server.store.sqlite.database import schema_steps
from inbox_server.store.sqlite.opening import DATABASE_NAME, open_store
from tests.store.test_subscriptions import kept, subscribe
from tests.support.old_databases import write_old_database
from tests.support.stores import BOB, CAROL, CHECK_VALUE, QUOTA, Box, claimed_box, entries_of, read_rows

DAYS = 86_400
LOG = 7  # the step from which on there is a log
SOON_SECONDS = 1.0
MARK = re.compile(rb"<[0-9]{4}>")
TEXTS = [f"<{number:04}>" * (1 + number % 30) for number in range(300)] + ["x", "y" * 1024, "z" * 1023]
JSON_TEXTS = ['{"iv":"%s"}' % ("a" * length) for length in (1, 400, 994)]  # as clients make them
# Of these, Carol gets the second and the last: they have too much to escape for a ready page.
TEXTS += [JSON_TEXTS[0], '"' * 1024, *JSON_TEXTS[1:], "zz", '\\"\\\\' * 60]


class Counted:
    """Bytes that are a number, the next one each time."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __call__(self, size: int) -> bytes:
        return next(self._numbers).to_bytes(size, "big")


async def fill(box: Box) -> None:
    """Entries of two inboxes, some read, some soon expired, one prolonged; an unknown id, lists, a subscription."""
    carol = box.of(CAROL)
    await carol.claim(contacts=(b"Alice, as Carols",), names=(b"carol.id, keyed.",), accept="contacts")
    day_ends = 30 * DAYS - 1 - box.clock() % DAYS
    for number, text in enumerate(TEXTS):
        await (carol if number % 4 == 0 else box).deliver(text, life=50 if number % 7 == 0 else day_ends)
    await box.acknowledge(*TEXTS[1:60:2])
    await carol.acknowledge(*TEXTS[60:120:4], "never seen here")
    await box.deliver(TEXTS[65], life=day_ends + 10 * DAYS)
    await subscribe(box, kept(1))


async def seen(box: Box) -> list[Any]:
    """Everything that two owners are told, whole and after a place in the middle."""
    told: list[Any] = []
    for each in (box, box.of(CAROL)):
        told.append(await each.settings())
        for after in (None, (await each.page(limit=40)).cursor, await each.cursor()):
            page = await each.page(after)
            told.append(replace(page, messages=entries_of(page)))
    return told


async def logged(box: Box, version: int) -> list[list[bytes]]:
    """What is in both logs after an upgrade from that version: what was in its own, or what is unread for days."""
    if version >= LOG:
        return [await each.logged() for each in (box, box.of(CAROL))]
    unread = [entries_of(await each.page()) for each in (box, box.of(CAROL))]
    return [[entry.id for entry in entries if entry.expires % DAYS == DAYS - 1] for entries in unread]


@pytest.mark.parametrize("version", range(3, len(schema_steps())))
async def test_an_upgraded_database_says_and_forgets_what_the_old_one_did(tmp_path: Path, version: int) -> None:
    async with claimed_box(tmp_path / "today") as today:
        await fill(today)
        expected, log = await seen(today), await logged(today, version)
        write_old_database(tmp_path / DATABASE_NAME, version, tmp_path / "today" / DATABASE_NAME)
        today.clock.advance(50)
        await today.sweep()
        swept = await seen(today)
    async with open_store(tmp_path, check_value=CHECK_VALUE, quota=QUOTA, random_bytes=Counted()) as store:
        box = replace(today, store=store)
        box.clock.advance(-50)
        assert await seen(box) == expected
        assert [await each.logged() for each in (box, box.of(CAROL))] == log
        if version < LOG:
            bases = [(await each.log()).base for each in (box, box.of(CAROL))]
            assert sorted((base.n, base.head[-1]) for base in bases) == [(1, 2), (3, 4)]
        assert isinstance((await box.page()).messages, ReadyEntries)
        box.clock.advance(50)
        await box.sweep()
        assert await seen(box) == swept
        box.clock.advance(60 * DAYS)
        await box.sweep()
        assert [(await each.settings()).unread for each in (box, box.of(CAROL))] == [0, 0]
        assert [(await each.settings()).read for each in (box, box.of(CAROL))] == [0, 1]  # kept as long as one may live
        box.clock.advance(31 * DAYS)
        await box.sweep()
        assert [await each.logged() for each in (box, box.of(CAROL))] == [[], []]
    assert (tmp_path / f"{DATABASE_NAME}.before-step-{version + 1}").exists()
    assert read_rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]


async def test_after_the_upgrade_a_text_is_in_its_slot_only_and_gone_soon_after_it_was_read(tmp_path: Path) -> None:
    async with claimed_box(tmp_path / "today") as today:
        await fill(today)
        write_old_database(tmp_path / DATABASE_NAME, 3, tmp_path / "today" / DATABASE_NAME)
    async with open_store(tmp_path, check_value=CHECK_VALUE, quota=QUOTA) as store:
        box = replace(today, store=store)
        listed = {each.inbox: [text for text in await each.texts() if text[0] == "<"] for each in (box, box.of(CAROL))}
        await box.acknowledge(*listed[BOB])
        read = time.monotonic()
        expected = Counter({text[:6].encode(): len(text) // 6 for text in listed[CAROL]})
        while (counts := _counts(tmp_path)) != expected:
            assert time.monotonic() - read <= SOON_SECONDS, counts
            await asyncio.sleep(0.02)


def _counts(folder: Path) -> Counter[bytes]:
    """How often each mark is in the database's files; not in the copy that the upgrade made."""
    files = [(folder / f"{DATABASE_NAME}{end}").read_bytes() for end in ("", "-wal")]
    return Counter(mark for file in files for mark in MARK.findall(file))
