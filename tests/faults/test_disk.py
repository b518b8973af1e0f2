"""A disk that is full, or refuses to write: reading goes on, deliveries are refused, and it mends by itself."""

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inbox_server.clock import system_clock
from inbox_server.errors import Unavailable
from inbox_server.store.sqlite.database import Connection, open_connection
from inbox_server.store.sqlite.opening import DATABASE_NAME
from inbox_server.store.sqlite.reader import Reader
from inbox_server.store.sqlite.recent_uses import RecentUses
from inbox_server.store.sqlite.remembered import Remembered
from inbox_server.store.sqlite.slots import Slots
from inbox_server.store.sqlite.store import SqliteStore
from inbox_server.store.sqlite.writer import Writer
from tests.faults.disks import LOG_NAME, Disk, LimitedFiles, SmallDisk, small_disk
from tests.faults.probes import deploy_watched, listed, said_so_far, said_when_stopped, until
from tests.store.test_sheets import give, outcome
from tests.support.requests import Caller, at, check_problem, id_of, new_key
from tests.support.stores import QUOTA, Box, claimed_box

ROOM_BYTES = 300_000  # for about thirty deliveries
BATCH = 8
PAGE_BYTES = 4096
SETTLE_SECONDS = 0.5  # a change of settings may have the log copied once more; nothing outside tells when it has been


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "inbox") as disk:
        yield disk


@pytest.fixture(params=["limit", "small"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "limit":
        yield LimitedFiles(deploy_watched(tmp_path / "inbox"))
        return
    with small_disk(tmp_path / "inbox") as small:
        yield small


@dataclass(frozen=True, slots=True)
class Filled:
    """A server whose disk is full: what it took before it was, and what it refused."""

    process: asyncio.subprocess.Process
    owner: Caller
    sender: Caller
    taken: list[str]
    refused: list[str]


@contextlib.asynccontextmanager
async def _filled(disk: Disk, session: aiohttp.ClientSession) -> AsyncIterator[Filled]:
    place = disk.watched.place
    owner = Caller(session, place.url, new_key(), system_clock)
    async with place.running() as process:
        assert (await owner.claim({"accept": "anyone"})).status == 201
        filled = Filled(process, owner, at(owner), [], [])
        await _deliver(filled, 0)
        disk.leave(process, ROOM_BYTES)
        await _fill(filled)
        disk.leave(process, 0)
        yield filled


async def _fill(filled: Filled) -> None:
    """Deliver until everything is refused."""
    for number in itertools.count(100):
        if not await _deliver(filled, number):
            return
        assert number < 200, "it never filled"


async def _deliver(filled: Filled, number: int) -> int:
    """Some deliveries at once; how many were taken."""
    texts = [f"{number:04} {n:02} ".ljust(1000, "x") for n in range(BATCH)]
    answers = await asyncio.gather(*(filled.sender.deliver(text, recipient=filled.owner.key.address) for text in texts))
    for text, answer in zip(texts, answers, strict=True):
        if answer.status == 201:
            filled.taken.append(text)
        else:
            check_problem(answer, "storage_full")
            filled.refused.append(text)
    return sum(answer.status == 201 for answer in answers)


async def test_under_a_full_disk_reading_goes_on_and_every_answer_is_true(
    disk: Disk, session: aiohttp.ClientSession
) -> None:
    """What was refused is not there, and what was acknowledged is gone only if it was said to be."""
    async with _filled(disk, session) as filled:
        assert (await disk.watched.health(filled.owner)).status == 200
        assert sorted(await listed(filled.owner)) == sorted(filled.taken)
        assert (await filled.owner.settings()).json()["unread"] == len(filled.taken)
        answers = {text: await filled.owner.acknowledge(id_of(text)) for text in filled.taken[:5]}
        for answer in answers.values():
            if answer.status != 204:
                check_problem(answer, "storage_full")
        left = sorted(text for text in filled.taken if text not in answers or answers[text].status != 204)
        assert sorted(await listed(filled.owner)) == left
        filled.process.kill()
        await filled.process.wait()
        disk.free(filled.process)
        async with disk.watched.place.running():
            assert sorted(await listed(filled.owner)) == left
            assert (await filled.owner.acknowledge(*map(id_of, answers))).status == 204
            assert sorted(await listed(filled.owner)) == sorted(filled.taken[5:])


async def test_a_server_that_refuses_deliveries_is_not_ready(disk: Disk, session: aiohttp.ClientSession) -> None:
    """Nor does it tell the operator in between that writing works again."""
    async with _filled(disk, session) as filled:
        assert b"writing fails" in await said_so_far(filled.process)
        for _ in range(3):
            answer = await disk.watched.ready(filled.owner)
            assert answer.status in (503, 507)
            assert answer.json()["code"] == "storage_full"
            assert answer.headers["Retry-After"]
        assert not await _deliver(filled, 9000)
        assert await said_when_stopped(filled.process, kill=True) == []


async def test_room_for_a_page_does_not_make_it_ready(small: SmallDisk, session: aiohttp.ClientSession) -> None:
    async with _filled(small, session) as filled:
        for number in range(8):
            small.give(PAGE_BYTES)
            answer = await filled.sender.deliver(f"{number}", recipient=filled.owner.key.address)
            if answer.status == 507:
                assert (await small.watched.ready(filled.owner)).status in (503, 507)


async def test_a_disk_that_deliveries_filled_is_emptied_by_its_owners(
    small: SmallDisk, session: aiohttp.ClientSession
) -> None:
    """What they leave free is enough for acknowledging, which writes before it makes room."""
    owner = Caller(session, small.watched.place.url, new_key(), system_clock)
    async with small.watched.place.running() as process:
        assert (await owner.claim({"accept": "anyone"})).status == 201
        filled = Filled(process, owner, at(owner), [], [])
        await _deliver(filled, 0)
        small.leave(process, ROOM_BYTES)
        await _fill(filled)
        texts = list(filled.taken)
        for start in range(0, len(texts), 50):
            assert (await owner.acknowledge(*map(id_of, texts[start : start + 50]))).status == 204
        assert await listed(owner) == []
        assert (await owner.claim({"retention": 3600})).status == 200


async def test_when_there_is_room_again_it_takes_what_it_refused(disk: Disk, session: aiohttp.ClientSession) -> None:
    async with _filled(disk, session) as filled:
        disk.free(filled.process)

        async def is_ready() -> bool:
            return (await disk.watched.ready(filled.owner)).status == 200

        await until(is_ready, within_seconds=10)  # by itself: a proxy that asks for it sends no delivery before
        for text in filled.refused:  # 201, not 200: nothing of them was kept
            assert (await filled.sender.deliver(text, recipient=filled.owner.key.address)).status == 201
        everything = sorted(filled.taken + filled.refused)
        assert sorted(await listed(filled.owner)) == everything
        assert (await said_when_stopped(filled.process, kill=True))[-1] == "INFO writing works again"
        async with disk.watched.place.running():
            assert sorted(await listed(filled.owner)) == everything


async def test_it_stops_well_under_a_full_disk(disk: Disk, session: aiohttp.ClientSession) -> None:
    async with _filled(disk, session) as filled:
        said = await said_when_stopped(filled.process)
        assert set(said) <= {"ERROR writing fails", "INFO writing works again", "stopping"}
        assert filled.process.returncode == 0
        disk.free(filled.process)
        async with disk.watched.place.running():
            assert sorted(await listed(filled.owner)) == sorted(filled.taken)


async def test_killed_under_a_full_disk_it_starts_and_can_be_read(
    small: SmallDisk, session: aiohttp.ClientSession
) -> None:
    async with _filled(small, session) as filled:
        for seconds in range(3600, 3700):  # a change of settings is the smallest write: it takes the log's last pages
            if (await filled.owner.claim({"retention": seconds})).status != 200:
                break
        filled.process.kill()
        await filled.process.wait()
        async with small.watched.place.running() as process:
            assert sorted(await listed(filled.owner)) == sorted(filled.taken)
            assert not await _deliver(filled, 9000)
            small.free(process)
            assert await _deliver(filled, 9000) == BATCH


async def test_a_disk_that_only_the_log_filled_is_freed_by_itself(
    small: SmallDisk, session: aiohttp.ClientSession
) -> None:
    """The file has pages to spare, so there is room as soon as the write-ahead log is copied into it."""
    place = small.watched.place
    owner = Caller(session, place.url, new_key(), system_clock)
    async with place.running() as process:
        await owner.claim({"accept": "anyone"})
        filled = Filled(process, owner, at(owner), [], [])
        for number in range(16):
            assert await _deliver(filled, number) == BATCH
        assert (await owner.give_up()).status == 204  # which frees the pages of the entries, and their slots
        assert (await owner.claim({"accept": "anyone"})).status == 201

        async def log_is_copied() -> bool:
            return (place.data / LOG_NAME).stat().st_size == 0

        await until(log_is_copied, within_seconds=5)
        await asyncio.sleep(SETTLE_SECONDS)
        small.leave(process, ROOM_BYTES // 4)
        await _fill(filled)

        async def takes_one() -> bool:
            return (await filled.sender.deliver("one", recipient=owner.key.address)).status == 201

        await until(takes_one, within_seconds=5)


async def test_a_write_that_fails_in_a_group_is_refused_alone(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """The failure undoes the whole transaction, as a disk's does; the others of the group are done again."""
    watched = deploy_watched(tmp_path / "inbox")
    owner = Caller(session, watched.place.url, new_key(), system_clock)
    async with watched.place.running() as process:
        await owner.claim({"accept": "anyone"})
        with contextlib.closing(sqlite3.connect(watched.place.data / DATABASE_NAME)) as db:
            db.execute(
                "CREATE TRIGGER bad_block BEFORE INSERT ON message WHEN NEW.size = 13"
                " BEGIN SELECT RAISE(ROLLBACK, 'a bad block'); END"
            )
            texts = [f"delivery {number:02}" for number in range(20)]
            bad = "a bad deliver"
            answers = await asyncio.gather(
                *(at(owner).deliver(text, recipient=owner.key.address) for text in (*texts, bad))
            )
            assert [answer.status for answer in answers] == [201] * len(texts) + [507]
            check_problem(answers[-1], "storage_full")
            assert sorted(await listed(owner)) == texts
            db.execute("DROP TRIGGER bad_block")
            assert (await at(owner).deliver(bad, recipient=owner.key.address)).status == 201
        assert await said_when_stopped(process) == ["ERROR writing fails", "INFO writing works again", "stopping"]


class BadCommits(sqlite3.Connection):
    """Commits fail, and their transactions are undone, while `failing`: as when fsync meets a bad disk."""

    failing = False

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        if sql == "COMMIT" and self.failing:
            super().execute("ROLLBACK")
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, parameters)


@contextlib.asynccontextmanager
async def on_a_bad_disk(folder: Path) -> AsyncIterator[tuple[Box, BadCommits]]:
    async with claimed_box(folder) as box:
        pass
    path = folder / DATABASE_NAME
    bad = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=BadCommits)
    connection, remembered = Connection(lambda: bad, iter_chunk_size=64), Remembered()
    slots, uses = Slots(), RecentUses()
    async with (
        connection,
        open_connection(path, read_only=True) as second,
        Reader(second) as reader,
        Writer(connection, remembered.changing, rolled_back=(slots.forget, uses.forget)) as writer,
    ):
        box.store = SqliteStore(reader, writer, remembered, slots, uses, QUOTA)
        yield box, bad


async def test_a_commit_that_fails_refuses_its_whole_group(tmp_path: Path) -> None:
    async with on_a_bad_disk(tmp_path) as (box, bad):
        texts = [f"delivery {number}" for number in range(20)]
        bad.failing = True
        outcomes = await asyncio.gather(*(box.deliver(text) for text in texts), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Unavailable] * len(texts)
        assert {outcome.code for outcome in outcomes if isinstance(outcome, Unavailable)} == {"storage_full"}
        assert await box.texts() == []
        bad.failing = False
        assert all(delivered.new for delivered in await asyncio.gather(*map(box.deliver, texts)))
        assert await box.texts() == texts


async def test_a_commit_that_fails_uses_no_ticket(tmp_path: Path) -> None:
    async with on_a_bad_disk(tmp_path) as (box, bad):
        tickets = range(20)
        await give(box, *tickets)
        assert await outcome(box, "before", 0) is True
        bad.failing = True
        lost = await asyncio.gather(*(outcome(box, f"lost {each}", each) for each in tickets))
        assert lost == ["storage_full"] * len(tickets)
        bad.failing = False
        again = await asyncio.gather(*(outcome(box, f"another {each}", each) for each in tickets))
        assert again == ["ticket_spent"] + [True] * 19
        assert await outcome(box, "before", 0) is False
