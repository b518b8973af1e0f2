"""The one writer: groups that commit together, works that fail alone, callers that leave, and closing."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from inbox_server.errors import Refused, Unavailable
from inbox_server.store.sqlite.database import Connection, open_connection
from inbox_server.store.sqlite.jobs import Job
from inbox_server.store.sqlite.writer import Writer
from tests.support.stores import claimed_box, file_names

NAME = "notes.sqlite3"


@dataclass(frozen=True, slots=True)
class Notes:
    """A table of notes behind a writer. `statements` are those that its connection ran."""

    path: Path
    connection: Connection
    writer: Writer
    statements: list[str]

    async def add(self, text: str) -> None:
        await self.writer.write(_adding(text))

    def kept(self) -> list[str]:
        """What another connection sees, in the order of writing."""
        with contextlib.closing(sqlite3.connect(self.path)) as db:
            return [text for (text,) in db.execute("SELECT text FROM note ORDER BY number")]

    def transactions(self) -> int:
        return self.statements.count("BEGIN IMMEDIATE")


def _adding(text: str) -> Callable[[sqlite3.Connection], Any]:
    return lambda db: db.execute("INSERT INTO note (text) VALUES (?)", (text,))


@contextlib.asynccontextmanager
async def _opened(folder: Path) -> AsyncIterator[Notes]:
    path, statements = folder / NAME, list[str]()
    async with open_connection(path) as connection:
        await connection.run(
            lambda db: db.execute("CREATE TABLE note (number INTEGER PRIMARY KEY, text TEXT UNIQUE) STRICT")
        )
        await connection.run(lambda db: db.set_trace_callback(statements.append))
        async with Writer(connection, lambda _: contextlib.nullcontext()) as writer:
            yield Notes(path, connection, writer, statements)


@pytest.fixture
async def notes(tmp_path: Path) -> AsyncIterator[Notes]:
    async with _opened(tmp_path) as notes:
        yield notes


def _refuse(_: sqlite3.Connection) -> None:
    raise Refused("not_accepted", "The delivery is not accepted.")


def _write_then_refuse(db: sqlite3.Connection) -> None:
    _adding("half a work")(db)
    _refuse(db)


def _write_then_break_a_rule(db: sqlite3.Connection) -> None:
    _adding("half a work")(db)
    _adding("half a work")(db)


def _write_then_fail(db: sqlite3.Connection) -> None:
    _adding("half a work")(db)
    raise LookupError("a bug")


async def test_an_answered_write_is_seen_by_everybody(notes: Notes) -> None:
    await notes.add("first")
    assert notes.kept() == ["first"]


async def test_a_write_answers_what_its_work_returned(notes: Notes) -> None:
    assert await notes.writer.write(lambda db: db.execute("SELECT 1 + 1").fetchone()) == (2,)


async def test_works_that_wait_together_are_one_transaction_in_their_order(notes: Notes) -> None:
    texts = [f"note {number}" for number in range(100)]
    await asyncio.gather(*(notes.add(text) for text in texts))
    assert notes.kept() == texts
    assert notes.transactions() == 1


async def test_more_works_than_a_group_has_are_all_done(notes: Notes) -> None:
    texts = [f"note {number}" for number in range(1200)]
    await asyncio.gather(*(notes.add(text) for text in texts))
    assert notes.kept() == texts
    assert 1 < notes.transactions() < 10


@pytest.mark.parametrize(
    ("bad", "failure"),
    [
        (_write_then_refuse, Refused),
        (_write_then_break_a_rule, Unavailable),
        (_write_then_fail, LookupError),
    ],
)
async def test_one_bad_work_in_a_group_does_not_take_the_others_with_it(
    notes: Notes, bad: Callable[[sqlite3.Connection], None], failure: type[Exception]
) -> None:
    before, outcome, after = await asyncio.gather(
        notes.add("before"), notes.writer.write(bad), notes.add("after"), return_exceptions=True
    )
    assert (before, after) == (None, None)
    assert isinstance(outcome, failure)
    assert notes.kept() == ["before", "after"]


async def test_several_bad_works_fail_each_for_itself(notes: Notes) -> None:
    works = [_write_then_fail, _adding("a"), _write_then_refuse, _refuse, _adding("b"), _write_then_break_a_rule]
    outcomes = await asyncio.gather(*(notes.writer.write(work) for work in works), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if isinstance(outcome, Exception)] == [
        LookupError,
        Refused,
        Refused,
        Unavailable,
    ]
    assert notes.kept() == ["a", "b"]


async def test_a_refusal_before_writing_does_not_roll_back_the_group(notes: Notes) -> None:
    outcomes = await asyncio.gather(
        notes.add("before"), notes.writer.write(_refuse), notes.add("after"), return_exceptions=True
    )
    assert isinstance(outcomes[1], Refused)
    assert notes.kept() == ["before", "after"]
    assert notes.transactions() == 1
    assert "ROLLBACK" not in notes.statements


async def test_the_work_of_a_caller_who_left_is_still_done(notes: Notes) -> None:
    leaving, staying = asyncio.create_task(notes.add("leaving")), asyncio.create_task(notes.add("staying"))
    await asyncio.sleep(0)
    leaving.cancel()
    await staying
    assert leaving.cancelled()
    assert notes.kept() == ["leaving", "staying"]


async def test_a_caller_who_leaves_while_the_group_is_written_harms_nobody(notes: Notes) -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(db: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(begun.set)
        _adding("leaving")(db)

    leaving, staying = asyncio.create_task(notes.writer.write(slow)), asyncio.create_task(notes.add("staying"))
    await begun.wait()
    leaving.cancel()
    await staying
    assert notes.kept() == ["leaving", "staying"]


async def test_closing_finishes_what_waits(tmp_path: Path) -> None:
    texts = [f"note {number}" for number in range(700)]
    async with _opened(tmp_path) as notes:
        waiting = [asyncio.create_task(notes.add(text)) for text in texts]
        await asyncio.sleep(0)
    assert all(task.done() and task.exception() is None for task in waiting)
    assert notes.kept() == texts


async def test_a_writer_that_closed_takes_nothing_more(tmp_path: Path) -> None:
    async with _opened(tmp_path) as notes:
        pass
    with pytest.raises(Unavailable, match="stopping") as caught:
        await notes.add("late")
    assert caught.value.retry_after


async def test_closing_leaves_no_write_ahead_log(tmp_path: Path) -> None:
    async with _opened(tmp_path) as notes:
        await notes.add("first")
    assert file_names(tmp_path) == [NAME]


async def test_a_full_disk_refuses_and_the_writer_goes_on(notes: Notes) -> None:
    (pages,) = await notes.connection.run(lambda db: db.execute("PRAGMA page_count").fetchone())
    await notes.connection.run(lambda db: db.execute(f"PRAGMA max_page_count={pages + 2}").fetchone())
    small, large, other = await asyncio.gather(
        notes.add("small"), notes.add("x" * 100_000), notes.add("other"), return_exceptions=True
    )
    assert (small, other) == (None, None)
    assert isinstance(large, Unavailable)
    assert large.code == "storage_full"
    assert large.retry_after
    await notes.connection.run(lambda db: db.execute("PRAGMA max_page_count=10000").fetchone())
    await notes.add("x" * 100_000)
    assert notes.kept() == ["small", "other", "x" * 100_000]


async def test_a_write_waits_for_another_process_that_writes(notes: Notes) -> None:
    with contextlib.closing(sqlite3.connect(notes.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO note (text) VALUES ('invite')")
        waiting = asyncio.create_task(notes.add("delivery"))
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
        other.execute("COMMIT")
        await waiting
    assert notes.kept() == ["invite", "delivery"]


async def test_somebody_who_reads_the_file_does_not_hold_up_deliveries(tmp_path: Path) -> None:
    async with claimed_box(tmp_path) as box:
        await box.deliver("read")
        with contextlib.closing(sqlite3.connect(tmp_path / "inbox.sqlite3", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM message").fetchone()
            await box.acknowledge("read")
            async with asyncio.timeout(2):  # the acknowledged bytes are still to be erased, and cannot be yet
                for number in range(50):
                    await box.deliver(f"entry {number}")
                    await asyncio.sleep(0.01)


async def test_concurrent_deliveries_of_the_same_end_in_one_entry_each(tmp_path: Path) -> None:
    async with claimed_box(tmp_path) as box:
        texts = [f"entry {number}" for number in range(20)]
        delivered = await asyncio.gather(*(box.deliver(text) for _ in range(10) for text in texts))
        assert sum(each.new for each in delivered) == len(texts)
        assert await box.texts() == texts
        assert await box.counts() == (len(texts), sum(map(len, texts)))


async def test_deliveries_and_acknowledgements_at_once_leave_nothing_twice(tmp_path: Path) -> None:
    async with claimed_box(tmp_path) as box:
        texts = [f"entry {number}" for number in range(50)]
        await asyncio.gather(
            *(box.deliver(text) for text in texts),
            *(box.acknowledge(text) for text in texts[::2]),
            *(box.deliver(text) for text in texts),
        )
        assert await box.texts() == texts[1::2]
        assert (await box.counts())[0] == 25


async def test_inboxes_are_changing_from_before_the_transaction_until_before_the_answers(tmp_path: Path) -> None:
    happened: list[str] = []

    @contextlib.contextmanager
    def changing(jobs: Sequence[Job]) -> Iterator[None]:
        happened.append(f"changing {[job.inbox for job in jobs]}")
        yield
        happened.append("changed")

    async with open_connection(tmp_path / NAME) as connection:
        await connection.run(lambda db: db.set_trace_callback(happened.append))
        async with Writer(connection, changing) as writer:
            happened.clear()
            await writer.write(lambda db: happened.append("work"), inbox=b"Bob's")
            happened.append("answered")
    told = [what for what in happened if not what.startswith("PRAGMA")]
    assert told == ['changing [b"Bob\'s"]', "BEGIN IMMEDIATE", "work", "COMMIT", "changed", "answered"]
