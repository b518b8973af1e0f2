"""Deliveries that wait together: they end as if each had come alone, and a special one costs the others nothing."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.store.contract import Delivered, Quota
from inbox_server.store.sqlite.database import open_connection
from inbox_server.store.sqlite.opening import DATABASE_NAME
from inbox_server.store.sqlite.reader import Reader
from inbox_server.store.sqlite.recent_uses import RecentUses
from inbox_server.store.sqlite.remembered import Remembered
from inbox_server.store.sqlite.slots import Slots
from inbox_server.store.sqlite.store import SqliteStore
from inbox_server.store.sqlite.writer import Writer
from tests.support.stores import BOB, CAROL, QUOTA, Box, claimed_box, read_rows

FEW = 3
NOBODYS = b"nobody's inbox.."


@dataclass(frozen=True, slots=True)
class Watched:
    """A store, and the statements that it wrote with since the last look."""

    box: Box
    statements: list[str]

    def looked(self) -> list[str]:
        statements, self.statements[:] = list(self.statements), []
        return statements


@contextlib.asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[Watched]:
    async with claimed_box(folder) as box:
        await box.of(CAROL).claim()
    path, remembered, statements = folder / DATABASE_NAME, Remembered(), list[str]()
    slots, uses = Slots(), RecentUses()
    async with (
        open_connection(path) as connection,
        open_connection(path, read_only=True) as second,
        Reader(second) as reader,
        Writer(connection, remembered.changing, rolled_back=(slots.forget, uses.forget)) as writer,
    ):
        await connection.run(lambda db: db.set_trace_callback(statements.append))
        box.store = SqliteStore(reader, writer, remembered, slots, uses, QUOTA)
        yield Watched(box, statements)


async def together(box: Box, *texts: str, life: int = 1000) -> list[Delivered | str]:
    """What each delivery is answered, or why it is refused."""
    outcomes = await asyncio.gather(*(box.deliver(text, life) for text in texts), return_exceptions=True)
    return [outcome.code if isinstance(outcome, Refused) else outcome for outcome in outcomes]  # type: ignore[misc]


async def is_consistent(box: Box, folder: Path) -> bool:
    """The counts are those of the rows, and every slot is either free or one row's."""
    wrong = (
        "SELECT inbox FROM inbox WHERE (unread, unread_bytes) IS NOT (SELECT count(slot), coalesce(sum(size), 0)"
        " FROM message WHERE message.inbox = inbox.inbox)",
        "SELECT slot FROM message WHERE slot IS NOT NULL GROUP BY slot HAVING count(*) > 1",
        "SELECT slot FROM message WHERE slot IN (SELECT slot FROM free_slot)",
        "SELECT slot FROM text WHERE slot NOT IN (SELECT slot FROM message WHERE slot IS NOT NULL UNION ALL"
        " SELECT slot FROM free_slot)",
        "SELECT inbox FROM inbox WHERE change < (SELECT max(change) FROM message WHERE message.inbox = inbox.inbox)",
    )
    return all(read_rows(folder, sql) == [] for sql in wrong)


async def test_deliveries_that_wait_together_are_a_few_kinds_of_statements_in_one_transaction(tmp_path: Path) -> None:
    async with watched(tmp_path) as store:
        await store.box.deliver("first")
        store.looked()
        texts = [f"{number}, opaque" for number in range(60)]
        await together(store.box, *texts)
        statements = store.looked()
        assert [statement for statement in statements if statement in ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")] == [
            "BEGIN IMMEDIATE",
            "COMMIT",
        ]
        assert sum(statement.startswith("UPDATE inbox") for statement in statements) == 1
        assert not any("RETURNING" in statement for statement in statements)
        assert await store.box.texts() == ["first", *texts]
        assert await is_consistent(store.box, tmp_path)


async def test_a_repeat_costs_only_itself_and_never_a_rollback(tmp_path: Path) -> None:
    async with watched(tmp_path) as store:
        box = store.box
        await together(box, "unread", "read", "expired", life=10)
        await box.acknowledge("read")
        await box.deliver("unread")
        box.clock.advance(10)
        store.looked()
        outcomes = await together(box, "a", "unread", "b", "read", "c", "expired", "d", "d", "e", life=100)
        new = Delivered(new=True, expires=UnixTime(box.clock() + 100))
        old = Delivered(new=False, expires=UnixTime(box.clock() + 990))
        assert outcomes[:7] == [new, old, new, new, new, new, new]
        assert outcomes[7:] == [Delivered(new=False, expires=new.expires), new]
        assert "ROLLBACK" not in store.looked()
        assert sorted(await box.texts()) == ["a", "b", "c", "d", "e", "expired", "unread"]
        assert await is_consistent(box, tmp_path)


async def test_a_full_inbox_and_one_that_is_not_there_cost_the_others_nothing(tmp_path: Path) -> None:
    async with watched(tmp_path) as store:
        box, carol, nobody = store.box, store.box.of(CAROL), store.box.of(NOBODYS)
        box.store.limit(Quota(entries=FEW, bytes=1000, max_retention=1000, tombstones=10))
        await together(box, "old", life=1)
        box.clock.advance(1)
        store.looked()
        mixed = (box, carol, nobody)
        waiting = [each.deliver(f"{number}") for number in range(FEW + 1) for each in mixed]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        codes = [outcome.code if isinstance(outcome, Refused) else "" for outcome in outcomes]
        # The expired entry of the first made room for the third; there was never any for the fourth.
        assert codes == ["", "", "not_accepted"] * FEW + ["inbox_full", "inbox_full", "not_accepted"]
        assert "ROLLBACK" not in store.looked()
        for each in (box, carol):
            assert sorted(await each.texts()) == ["0", "1", "2"]
            assert (await each.settings()).refused
        assert await is_consistent(box, tmp_path)


async def test_change_numbers_are_in_the_order_of_arrival_and_none_is_given_for_a_repeat_at_the_end(
    tmp_path: Path,
) -> None:
    async with watched(tmp_path) as store:
        texts = [f"{number}" for number in range(20)]
        await together(store.box, *texts, "7")
        assert await store.box.texts() == texts
        assert (await store.box.cursor()).change == 1000 + 20
        changes = read_rows(tmp_path, "SELECT change FROM message ORDER BY change")
        assert changes == [(change,) for change in range(1001, 1021)]


@pytest.mark.parametrize("seed", range(3))
async def test_groups_of_any_mixture_end_as_one_after_another(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    async with watched(tmp_path / "together") as first, watched(tmp_path / "alone") as second:
        for _ in range(25):
            asked = [
                (dice.choice((BOB, CAROL)), str(dice.randrange(60)), dice.choice((10, 1000, 40_000)))
                for _ in range(dice.randrange(1, 25))
            ]
            asked = list({(inbox, text): (inbox, text, life) for inbox, text, life in asked}.values())
            grouped = await asyncio.gather(*(first.box.of(inbox).deliver(text, life) for inbox, text, life in asked))
            assert grouped == [await second.box.of(inbox).deliver(text, life) for inbox, text, life in asked]
            read = [(inbox, text) for inbox, text, _ in asked if dice.randrange(4) == 0]
            for store in (first, second):
                for inbox, text in read:
                    await store.box.of(inbox).acknowledge(text)
                store.box.clock.advance(5)
        for inbox in (BOB, CAROL):
            assert sorted(await first.box.of(inbox).texts()) == sorted(await second.box.of(inbox).texts())
            assert await first.box.of(inbox).settings() == await second.box.of(inbox).settings()
        assert await is_consistent(first.box, tmp_path / "together")
        assert "ROLLBACK" not in first.looked()
