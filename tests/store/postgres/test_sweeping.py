"""Sweeping beside other processes: nothing is left behind, nobody waits, and what is over cannot be opened again."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from inbox_server.clock import DAY_SECONDS, UnixTime, end_of_day
from inbox_server.store.postgres.day_keys import DayKeys
from inbox_server.store.postgres.links import Links
from inbox_server.store.postgres.log import move_bases
from inbox_server.store.postgres.sealing import Sealing
from inbox_server.store.postgres.text_days import drop_days, ensure_days
from tests.conftest import HandClock
from tests.store.postgres.conftest import Opened, beside
from tests.support.postgres import cluster_of, read_rows
from tests.support.stores import CAROL, MAX_RETENTION, id_of

pytestmark = pytest.mark.postgres

_LEAVING = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'text'::regclass AND inhdetachpending"


def messages(folder: Path) -> int:
    ((count,),) = read_rows(folder, "SELECT count(*) FROM message")
    return int(count)


def days(folder: Path) -> list[int]:
    """The days that have a table, attached or not."""
    rows = read_rows(
        folder,
        "SELECT relname FROM pg_class WHERE relname ~ '^text_[0-9]+$' AND relkind = 'r'"
        " AND relnamespace = current_schema()::regnamespace ORDER BY 1",
    )
    return [int(name.removeprefix("text_")) for (name,) in rows]


async def test_two_processes_sweep_at_the_same_time(opened: Opened, tmp_path: Path, clock: HandClock) -> None:
    async with opened() as one, opened() as other:
        boxes = [one.of(bytes([number]) * 16) for number in range(12)]
        for box in boxes:
            await box.claim()
            await asyncio.gather(*(box.deliver(f"text {number}") for number in range(50)))
            await box.acknowledge(*(f"text {number}" for number in range(10)))
        clock.advance(5000)
        await asyncio.gather(one.sweep(), other.sweep(), one.sweep(), other.sweep())
        assert messages(tmp_path) == 0
        for box in boxes:
            settings = await box.settings()
            assert (settings.unread, settings.unread_bytes, settings.read) == (0, 0, 0)


async def test_logs_of_many_inboxes_are_shortened_by_as_many_statements_as_that_of_one(
    opened: Opened, tmp_path: Path, clock: HandClock
) -> None:
    """Each is a way to the database and back."""
    async with opened() as box, beside(tmp_path) as db:
        boxes = [box.of(bytes([number]) * 16) for number in range(12)]
        for each in boxes:
            await each.claim()
            await each.deliver("a text", life=end_of_day(UnixTime(clock() + DAY_SECONDS)) - clock())
        clock.advance(MAX_RETENTION + 2 * DAY_SECONDS)
        counts = list[int]()
        for some in (boxes[:1], boxes[1:2], boxes[2:]):  # with the first, the connection learns types
            asked = list[str]()
            async with db.transaction():
                with db.query_logger(lambda record, asked=asked: asked.append(record.query)):
                    assert await move_bases(db, [each.inbox for each in some], most=10, now=clock()) == len(some)
            counts.append(len(asked))
        assert counts[2] == counts[1] > 0
        for each in boxes:
            page = await each.log()
            assert (page.base, page.entries) == (page.head, ())


async def test_a_sweep_passes_by_an_inbox_that_is_held_and_comes_back_to_it(
    opened: Opened, tmp_path: Path, clock: HandClock
) -> None:
    async with opened() as box, beside(tmp_path) as somebody:
        for inbox in (box, box.of(CAROL)):
            await inbox.claim()
            await inbox.deliver("a text")
        clock.advance(5000)
        async with somebody.transaction():
            await somebody.execute("SELECT FROM inbox WHERE inbox = $1 FOR UPDATE", CAROL)
            sweeping = asyncio.create_task(box.sweep())
            while messages(tmp_path) == 2:  # noqa: ASYNC110 — the database tells nobody
                await asyncio.sleep(0)
            assert await box.counts() == (0, 0)
            assert await box.of(CAROL).counts() == (1, 6)
        await sweeping
        assert messages(tmp_path) == 0


async def test_a_day_that_is_over_takes_its_texts_and_its_key_along(
    opened: Opened, tmp_path: Path, clock: HandClock
) -> None:
    async with opened() as box:
        await box.claim()
        today = clock() // DAY_SECONDS
        for day in range(4):
            await box.deliver(f"day {day}", life=(today + day + 1) * DAY_SECONDS - 1 - clock())
        assert set(days(tmp_path)) >= {today, today + 1, today + 2, today + 3}
        clock.advance(2 * DAY_SECONDS)
        await box.sweep()
        assert min(days(tmp_path)) == today + 2
        assert DayKeys(tmp_path / "day-keys").day == today + 2
        assert await box.texts() == ["day 2", "day 3"]
    async with opened() as box:
        assert await box.texts() == ["day 2", "day 3"]


async def test_a_day_with_something_unread_keeps_its_key_and_its_table(
    opened: Opened, tmp_path: Path, clock: HandClock
) -> None:
    """A sweep may not have come so far, or an outage's entries are about to be kept for some days more."""
    links = Links(cluster_of(tmp_path), 1, "testing")
    async with opened() as box, contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(links.close)
        await box.claim()
        await box.deliver("unread", life=1000)
        today = clock() // DAY_SECONDS
        clock.advance(5 * DAY_SECONDS)
        sealing = Sealing(DayKeys(tmp_path / "day-keys"))
        await drop_days(links, links, sealing, clock())
        assert sealing.keys.day == today
        assert today in days(tmp_path)
        await box.sweep()
        await drop_days(links, links, sealing, clock())
        assert sealing.keys.day == today + 5
        assert today not in days(tmp_path)


async def test_nobody_waits_for_a_day_that_cannot_be_dropped_yet(
    opened: Opened, tmp_path: Path, clock: HandClock
) -> None:
    """Somebody's long transaction is in the way, such as a dump's."""
    async with opened() as box, beside(tmp_path) as dump:
        await box.claim()
        await box.deliver("today")
        today = clock() // DAY_SECONDS
        clock.advance(2 * DAY_SECONDS)
        async with dump.transaction(isolation="repeatable_read"):
            await dump.execute("SELECT count(*) FROM text")
            for turn in range(2):
                await box.sweep()
                assert today in days(tmp_path)
                # Detached for whoever comes now: a plain DETACH would be done, or not begun.
                assert read_rows(tmp_path, _LEAVING) == [(f"text_{today}",)]
                await box.deliver("meanwhile")
                async with beside(tmp_path) as other:
                    await ensure_days(other, {today + 50 + turn})
            assert await box.texts() == ["meanwhile"]
        await box.sweep()
        assert today not in days(tmp_path)
        assert await box.texts() == ["meanwhile"]


async def test_a_table_of_a_day_that_a_failover_has_lost_is_made_again(opened: Opened, tmp_path: Path) -> None:
    """With asynchronous replication, the new primary may not have it."""
    async with opened() as box, beside(tmp_path) as primary:
        await box.claim()
        await box.deliver("before")
        await box.acknowledge("before")
        await primary.execute(f"DROP TABLE text_{max(days(tmp_path))}")
        kept = await asyncio.gather(*(box.deliver(text) for text in ("one", "two", "three")))
        assert all(each.new for each in kept)
        assert sorted(await box.texts()) == ["one", "three", "two"]


async def test_all_that_lapsed_in_an_outage_is_sealed_anew_and_logged(opened: Opened, clock: HandClock) -> None:
    """More than one transaction's worth, in an order that stays."""
    texts = [f"text {number}" for number in range(120)]
    async with opened() as box:
        await box.claim()
        for text in texts:
            await box.deliver(text, life=(clock() // DAY_SECONDS + 2) * DAY_SECONDS - 1 - clock())
        began = clock()
    clock.advance(10 * DAY_SECONDS)
    async with opened() as box:
        await box.store.prolong(began, clock())
        await box.sweep()
        assert await box.texts() == texts
        assert await box.logged() == [id_of(text) for text in texts] * 2
    async with opened() as box:
        assert await box.texts() == texts
