"""Gone means gone: what was acknowledged, expired or given up leaves the files soon after the answer."""

import asyncio
import contextlib
import random
import re
import shutil
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from inbox_server.store.contract import TOMBSTONE_SECONDS
from inbox_server.store.sqlite.opening import DATABASE_NAME, open_store
from tests.support.stores import CAROL, CHECK_VALUE, QUOTA, Box, id_of, read_rows

SOON_SECONDS = 1.0
POLL_SECONDS = 0.02
MARK = re.compile(rb"<mark ([0-9]{5})>")
SIZES = (1, 2, 12, 60, 60, 74)  # up to 888 characters; a padded encrypted ID has 816


def _marked(number: int, dice: random.Random) -> str:
    """A text of which every piece of any size shows whose it is."""
    return f"<mark {number:05}>" * dice.choice(SIZES)


def _marks_in(folder: Path) -> set[int]:
    return {
        int(number)
        for path in folder.iterdir()
        if path.name.startswith(DATABASE_NAME)
        for number in MARK.findall(path.read_bytes())
    }


async def _marks_left(folder: Path, keeping: set[int], since: float) -> set[int]:
    """Which marks stand in the files although they should have gone a second after `since` at the latest."""
    while True:
        left = _marks_in(folder) - keeping
        if not left or time.monotonic() - since > SOON_SECONDS:
            return left
        await asyncio.sleep(POLL_SECONDS)


async def test_a_mark_that_is_kept_is_found(box: Box, tmp_path: Path) -> None:
    await box.deliver(_marked(7, random.Random(1)))
    assert _marks_in(tmp_path) == {7}


@pytest.mark.parametrize(("seed", "at_a_time"), [(1, 400), (2, 1), (3, 25)])
async def test_acknowledged_text_is_gone_from_the_files_soon_after_the_answer(
    box: Box, tmp_path: Path, seed: int, at_a_time: int
) -> None:
    dice = random.Random(seed)
    texts = {number: _marked(number, dice) for number in range(400)}
    await asyncio.gather(*(box.deliver(text) for text in texts.values()))
    keeping = set(dice.sample(range(400), 60))
    going = [number for number in texts if number not in keeping]
    dice.shuffle(going)
    for start in range(0, len(going), at_a_time):
        await box.acknowledge(*(texts[number] for number in going[start : start + at_a_time]))
    answered = time.monotonic()
    assert await _marks_left(tmp_path, keeping, answered) == set()
    assert _marks_in(tmp_path) == keeping


@pytest.mark.parametrize("seed", [0, 1, 3])
async def test_acknowledged_text_is_gone_while_other_inboxes_come_and_go(box: Box, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    boxes = [box.of(dice.randbytes(16)) for _ in range(20)]
    for each in boxes:
        await each.claim()
    waiting: dict[int, tuple[Box, str]] = {}
    for start in range(0, 600, 60):
        new = {number: (dice.choice(boxes), _marked(number, dice)) for number in range(start, start + 60)}
        await asyncio.gather(*(each.deliver(text) for each, text in new.values()))
        waiting |= new
        for number in dice.sample(sorted(waiting), len(waiting) * 2 // 3):
            each, text = waiting.pop(number)
            await each.acknowledge(text)
    assert await _marks_left(tmp_path, set(waiting), time.monotonic()) == set()


async def _give_up(box: Box) -> None:
    await box.store.forget(box.inbox, issued=box.clock(), request=b"a DELETE request")


async def _expire(box: Box) -> None:
    box.clock.advance(1000)
    await box.sweep()


async def _expire_read(box: Box) -> None:
    await box.acknowledge(*(text for text in await box.texts()))
    box.clock.advance(TOMBSTONE_SECONDS)
    await box.sweep()


@pytest.mark.parametrize("act", [_give_up, _expire, _expire_read])
async def test_what_goes_in_another_way_is_gone_as_soon(
    box: Box, tmp_path: Path, act: Callable[[Box], Awaitable[None]]
) -> None:
    dice = random.Random(4)
    carol = box.of(CAROL)
    await carol.claim(names=(b"carol.id, keyed.",), contacts=(b"Alice, as Carol's",))
    await asyncio.gather(*(box.deliver(_marked(number, dice), 100_000) for number in range(0, 300, 2)))
    await asyncio.gather(*(carol.deliver(_marked(number, dice)) for number in range(1, 300, 2)))
    await act(carol)
    assert await _marks_left(tmp_path, set(range(0, 300, 2)), time.monotonic()) == set()


async def test_nothing_of_an_inbox_that_was_given_up_is_left(box: Box, tmp_path: Path) -> None:
    carol = box.of(CAROL)
    traces = (CAROL, b"carol.id, keyed.", b"Alice, as Carol's", id_of("opaque"))
    await carol.claim(names=(traces[1],), contacts=(traces[2],))
    await carol.deliver("opaque")
    await _give_up(carol)
    answered = time.monotonic()
    while left := [trace for trace in traces if any(trace in content for content in _contents(tmp_path))]:
        assert time.monotonic() - answered <= SOON_SECONDS, left
        await asyncio.sleep(POLL_SECONDS)


async def test_the_place_of_a_text_does_not_tell_when_it_came_beside_those_of_others(box: Box, tmp_path: Path) -> None:
    carol = box.of(CAROL)
    await carol.claim()
    for number in range(40):
        await (box, carol)[number % 2].deliver(f"{number}")
    places = [place for (place,) in read_rows(tmp_path, "SELECT slot FROM message ORDER BY change, inbox DESC")]
    assert len(places) == 40
    assert places != sorted(places)


def _contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.glob(f"{DATABASE_NAME}*")]


async def test_what_a_crash_left_in_the_write_ahead_log_is_gone_soon_after_the_start(box: Box, tmp_path: Path) -> None:
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    texts = [_marked(number, random.Random(number)) for number in range(50)]
    await asyncio.gather(*(box.deliver(text) for text in texts))
    await box.acknowledge(*texts)
    for suffix in ("", "-wal"):  # as a machine that lost its power leaves them: the log is not copied back yet
        shutil.copy(tmp_path / f"{DATABASE_NAME}{suffix}", crashed)
    assert _marks_in(crashed)
    async with open_store(crashed, check_value=CHECK_VALUE, quota=QUOTA):
        assert await _marks_left(crashed, set(), time.monotonic()) == set()


async def test_acknowledged_text_goes_when_a_reader_that_was_in_the_way_is_through(box: Box, tmp_path: Path) -> None:
    text = _marked(1, random.Random(1))
    await box.deliver(text)
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM message").fetchone()
        await box.acknowledge(text)
        await asyncio.sleep(POLL_SECONDS)
        reader.execute("COMMIT")
    assert await _marks_left(tmp_path, set(), time.monotonic()) == set()
