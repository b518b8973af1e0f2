"""Processes that want the same rows take them in the same order, so that none waits for one that waits for it."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import asyncpg
import pytest

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.store.postgres.acknowledging import Acknowledgement, acknowledge
from inbox_server.store.postgres.day_keys import DayKeys
from inbox_server.store.postgres.delivering import Delivering, Delivery
from inbox_server.store.postgres.primary import Connection
from inbox_server.store.postgres.sealing import Sealing
from tests.store.postgres.conftest import Opened, beside, until_it_waits
from tests.support.postgres import read_rows
from tests.support.stores import QUOTA, Box

pytestmark = pytest.mark.postgres

ROUNDS = 40
NAMES = [bytes([number]) * 16 for number in range(8)]
INBOXES = [bytes([100 + number]) * 16 for number in range(6)]


COPY = (
    "INSERT INTO inbox (inbox, app, generation, change, horizon, retention, accept, settings_at, settings_request,"
    " log_n, log_head, base_n, base_head) SELECT $1, app, generation, change, horizon, retention, accept, settings_at,"
    " settings_request, log_n, log_head, base_n, base_head FROM inbox WHERE inbox = $2"
)


def deadlocks(folder: Path) -> int:
    """How many PostgreSQL has ended. Each is repeated, and nobody hears of it; but it took a second."""
    ((count,),) = read_rows(folder, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(count)


async def take_names(box: Box, choose: random.Random) -> None:
    """Be an owner who takes names from others, and now and then gives up the inbox."""
    for number in range(ROUNDS):
        await box.claim(names=tuple(choose.sample(NAMES, 5)), issued=UnixTime(box.clock() + number))
        if number % 8 == 7:
            issued = UnixTime(box.clock() + number)
            await box.store.forget(box.inbox, issued=issued, request=b"a DELETE request")


async def deliver_everywhere(box: Box, choose: random.Random) -> None:
    """Deliver to all in one group, in any order, and let some be read."""
    for number in range(ROUNDS):
        boxes = [box.of(inbox) for inbox in choose.sample(INBOXES, len(INBOXES))]
        for outcome in await asyncio.gather(
            *(each.deliver(f"text {number}", life=number) for each in boxes), return_exceptions=True
        ):
            assert isinstance(outcome, Refused) or not isinstance(outcome, BaseException)
        await asyncio.gather(*(each.acknowledge(f"text {number}") for each in boxes), return_exceptions=True)


async def sweep_always(box: Box) -> None:
    for ahead in range(ROUNDS):
        await box.store.sweep(UnixTime(box.clock() + ahead))


async def test_no_two_processes_wait_for_each_other(opened: Opened, tmp_path: Path) -> None:
    async with opened() as one, opened() as other:
        before = deadlocks(tmp_path)
        work = [take_names(one.of(inbox), random.Random(inbox)) for inbox in INBOXES[:3]]
        work += [take_names(other.of(inbox), random.Random(inbox)) for inbox in INBOXES[3:]]
        work += [deliver_everywhere(box, random.Random(number)) for number, box in enumerate((one, other, one, other))]
        await asyncio.gather(*work, sweep_always(one), sweep_always(other))
    assert deadlocks(tmp_path) == before


async def deliver_to(db: Connection, box: Box, folder: Path, inboxes: Sequence[bytes]) -> object:
    expires = UnixTime(box.clock() + 1000)
    asked = [Delivery(inbox, b"an id" * 6, 4, b"body", expires, box.clock()) for inbox in inboxes]
    return await Delivering(Sealing(DayKeys(folder / "day-keys")), QUOTA).together(db, asked)


async def acknowledge_in(db: Connection, box: Box, _: Path, inboxes: Sequence[bytes]) -> object:
    return await acknowledge(db, [Acknowledgement(inbox, (b"an id" * 6,), box.clock()) for inbox in inboxes], QUOTA)


@pytest.mark.parametrize("write", [deliver_to, acknowledge_in])
async def test_an_inbox_that_was_claimed_after_the_others_were_locked_is_not_written_without_a_lock(
    opened: Opened, tmp_path: Path, write: Callable[[Connection, Box, Path, Sequence[bytes]], Awaitable[object]]
) -> None:
    """Also where another one of the group is there and its shard is away."""
    away, held, new = (bytes([shard]) * 16 for shard in (1, 2, 3))
    async with opened() as box, beside(tmp_path) as db, beside(tmp_path) as other, beside(tmp_path) as third:
        for inbox in (away, held):
            await box.of(inbox).claim()
        await other.execute("INSERT INTO away (shard) VALUES ($1)", away[0])
        async with other.transaction():
            await other.execute("SELECT FROM inbox WHERE inbox = $1 FOR UPDATE", held)
            group = asyncio.ensure_future(write(db, box, tmp_path, (away, held, new)))
            await until_it_waits(group, db, tmp_path)
            await third.execute(COPY, new, held)
            await third.execute("BEGIN")
            await third.execute("SELECT FROM inbox WHERE inbox = $1 FOR UPDATE", new)
        with pytest.raises(asyncpg.SerializationError):
            await group
        await third.execute("ROLLBACK")


async def test_what_was_asked_for_before_is_over_when_a_drain_is_answered(opened: Opened, tmp_path: Path) -> None:
    async with opened() as box, beside(tmp_path) as other:
        await box.claim()
        async with other.transaction():
            await other.execute("UPDATE inbox SET unread = 1")  # as a delivery of another process, not yet committed
            draining = asyncio.create_task(box.store.operating.drain(on=True))
            while not read_rows(tmp_path, "SELECT FROM draining"):  # noqa: ASYNC110 — the database tells nobody
                await asyncio.sleep(0)
            for _ in range(5):
                await box.counts()
            assert not draining.done()
        assert await draining
        assert (await box.counts())[0] == 1
