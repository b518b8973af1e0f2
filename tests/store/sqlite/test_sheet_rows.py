"""What sheets leave in SQLite's files: nothing, soon after their week, their inbox or a ticket's place is gone."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.store.contract import WEEK_SECONDS, SettingsChange, Sheet, Ticket, weeks_of
from inbox_server.store.sqlite.backup import back_up, restore
from inbox_server.store.sqlite.opening import DATABASE_NAME, open_store
from inbox_server.store.sqlite.recent_uses import UNUSED
from tests.support.stores import APP_HASH, CHECK_VALUE, QUOTA, Box, id_of, read_rows

SOON_SECONDS = 1.0
INBOXES, TICKETS, USED = 12, 1024, 40


def hash_of(inbox: bytes, week: int, number: int) -> bytes:
    """Whose first bytes show what it is."""
    return b"<id%d>" % week + id_of(f"{inbox.hex()} {week} {number}")[:8]


def mark_of(hash: bytes) -> bytes:
    """What says that a ticket was used."""
    return b"<us" + hash[3:]


async def give(box: Box, *, weeks: int = 0, dice: random.Random | None = None) -> list[bytes]:
    """The hashes of a sheet; with dice, other ones than before."""
    week = weeks_of(box.clock())[0] + weeks
    salt = dice.randrange(1 << 30) if dice else 0
    hashes = [hash_of(box.inbox, week, salt + number) for number in range(TICKETS)]
    change = SettingsChange(app=APP_HASH, issued=box.clock(), request=b"a request: sheet")
    await box.store.keep_sheet(box.inbox, change, Sheet(week, tuple(hashes)), now=box.clock())
    return hashes


async def use(box: Box, hash: bytes, text: str = "") -> bytes:
    """Deliver with a ticket; what it left."""
    mark = id_of(text)[:16] if text else mark_of(hash)
    text, expires = text or f"text for {hash.hex()}", UnixTime(box.clock() + 1000)
    ticket = Ticket(hash, mark, weeks_of(box.clock()))
    assert await box.store.ticket_policy(box.inbox, ticket)
    await box.store.deliver(box.inbox, id_of(text), text, expires=expires, now=box.clock(), ticket=ticket)
    return ticket.mark


def count(folder: Path, trace: bytes) -> int:
    return sum(path.read_bytes().count(trace) for path in folder.glob(f"{DATABASE_NAME}*"))


async def gone_soon(folder: Path, *traces: bytes) -> None:
    since = time.monotonic()
    while left := {trace: count(folder, trace) for trace in traces if count(folder, trace)}:
        assert time.monotonic() - since <= SOON_SECONDS, left
        await asyncio.sleep(0.02)


async def end_the_week(boxes: list[Box]) -> None:
    box = boxes[0]
    box.clock.advance(WEEK_SECONDS)
    await box.sweep()


async def after_ten_minutes(box: Box) -> None:
    """What was used lately is written into the sheets by now."""
    box.clock.advance(600)
    await box.sweep()


async def leave(boxes: list[Box]) -> None:
    for box in boxes:
        await box.store.forget(box.inbox, issued=box.clock(), request=b"a DELETE request")


@pytest.mark.parametrize("act", [end_the_week, leave])
async def test_what_was_used_for_what_is_gone_from_the_files_with_the_sheet(
    box: Box, tmp_path: Path, act: Callable[[list[Box]], Awaitable[None]]
) -> None:
    dice = random.Random(5)
    boxes = [box.of(dice.randbytes(16)) for _ in range(INBOXES)]
    hashes: dict[bytes, list[bytes]] = {}
    for each in boxes:
        await each.claim()
        hashes[each.inbox] = await give(each)
    for each in boxes:  # the next weeks' come between them
        await give(each, weeks=1)
    pairs = [(each, hash) for each in boxes for hash in dice.sample(hashes[each.inbox], USED)]
    dice.shuffle(pairs)
    await asyncio.gather(*(use(each, hash) for each, hash in pairs))
    week = weeks_of(box.clock())[0]
    used, ids = b"<us%d>" % week, b"<id%d>" % week
    assert count(tmp_path, used) > 0.9 * len(pairs)  # the control; some lie on two pages
    assert count(tmp_path, ids) > 0.9 * INBOXES * TICKETS
    await act(boxes)
    await gone_soon(tmp_path, used, ids)
    assert count(tmp_path, b"<id%d>" % (week + 1)) > 0 or act is leave


async def test_ids_of_a_sheet_that_was_replaced_are_gone_from_the_files(box: Box, tmp_path: Path) -> None:
    dice, before = random.Random(6), set[bytes]()
    for _ in range(8):
        before = set(await give(box, dice=dice)) | before
    now = await give(box, dice=dice)
    some = dice.sample(sorted(before - set(now)), 50)
    await gone_soon(tmp_path, *some)
    assert count(tmp_path, now[0]) == 1  # the control


async def test_a_row_is_as_long_whatever_was_used_of_it(box: Box, tmp_path: Path) -> None:
    hashes = await give(box)
    lengths = (
        "SELECT number, length(fill), length(ids), length(used) FROM sheet"
        " UNION ALL SELECT page, length(body), NULL, NULL FROM recent_use"
    )
    before = read_rows(tmp_path, lengths)
    marks = {await use(box, hash) for hash in hashes[:7]}
    assert read_rows(tmp_path, lengths) == before
    await after_ten_minutes(box)
    assert read_rows(tmp_path, lengths) == before
    assert read_rows(tmp_path, "SELECT 1 FROM recent_use WHERE body <> zeroblob(length(body))") == []
    [(used,)] = read_rows(tmp_path, "SELECT used FROM sheet")
    cells = [used[at : at + 16] for at in range(0, len(used), 16)]
    assert (len(cells), cells.count(UNUSED), set(cells) - {UNUSED}) == (TICKETS, TICKETS - 7, marks)


async def test_a_copy_of_the_settings_has_the_sheets_and_not_what_was_used(box: Box, tmp_path: Path) -> None:
    hashes = await give(box)
    mark = await use(box, hashes[0])
    for settings_only in (True, False):
        target = tmp_path / f"copy {settings_only}"
        back_up(tmp_path, target, check_value=CHECK_VALUE, settings_only=settings_only)
        assert (mark in target.read_bytes()) != settings_only
        assert hashes[1] in target.read_bytes()


async def test_a_restored_server_takes_a_ticket_again_that_was_used_after_the_copy(box: Box, tmp_path: Path) -> None:
    """As docs/protocol.md says; what was used before stays used."""
    hashes = await give(box)
    await use(box, hashes[0])
    back_up(tmp_path, tmp_path / "copy", check_value=CHECK_VALUE, settings_only=False)
    await use(box, hashes[1])
    folder = tmp_path / "restored"
    restore(
        folder, tmp_path / "copy", check_value=CHECK_VALUE, random_bytes=random.Random(7).randbytes, now=box.clock()
    )
    async with open_store(folder, check_value=CHECK_VALUE, quota=QUOTA) as store:
        assert [count(folder, mark_of(hash)) for hash in hashes[:2]] == [1, 0]
        restored = Box(store, box.clock, box.inbox)
        with pytest.raises(Refused, match="ticket_spent"):
            await use(restored, hashes[0], "another text")
        assert await use(restored, hashes[1]) == mark_of(hashes[1])
        assert len(await restored.texts()) == 2
