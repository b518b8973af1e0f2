"""A repeat is answered the same whether the entry is unread or read, so that no sender can find out by repeating."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inbox_server.errors import Refused
from inbox_server.store.contract import Delivered, Quota
from tests.support.stores import MAX_RETENTION, Box, Kind, claimed_box

Step = tuple[int, int]
"""Seconds to wait, then the life in seconds that a delivery asks for."""

LONG = 100_000
SEQUENCES: dict[str, Sequence[Step]] = {
    "at once": [(0, LONG), (0, LONG)],
    "longer": [(0, 100), (50, LONG), (60, 100)],
    "shorter": [(0, LONG), (50, 100), (200, 100)],
    "after a short life": [(0, 10), (10, 10), (5, 10)],
    "just before a short life is over": [(0, 10), (9, 10)],
    "after a short life that was lengthened": [(0, 10), (5, 30), (10, 10), (25, 10)],
    "after an hour": [(0, LONG), (3601, LONG), (3601, 10)],
    "short after long": [(0, 10), (3601, LONG), (3601, 10), (LONG, 10)],
}


async def _answers(box: Box, steps: Sequence[Step], *, sweeping: bool) -> dict[int | None, list[Delivered]]:
    """The answers to these deliveries, by the one before which the entry is read: in an inbox each, at the same time.

    None is never; 0 is before the first, which plants a tombstone.
    """
    boxes = {when: box.of(f"read before{when!s:>5}".encode()) for when in [None, *range(len(steps))]}
    for each in boxes.values():
        await each.claim()
    answers: dict[int | None, list[Delivered]] = {when: [] for when in boxes}
    for number, (wait, life) in enumerate(steps):
        if number in boxes:
            await boxes[number].acknowledge("opaque")
        box.clock.advance(wait)
        if sweeping:
            await box.sweep()
        for when, each in boxes.items():
            answers[when].append(await each.deliver("opaque", life))
    return answers


@pytest.mark.parametrize("sweeping", [False, True], ids=["unswept", "swept"])
@pytest.mark.parametrize("steps", SEQUENCES.values(), ids=SEQUENCES.keys())
async def test_a_repeat_is_answered_the_same_whether_the_entry_is_unread_or_read(
    box: Box, steps: Sequence[Step], sweeping: bool
) -> None:
    answers = await _answers(box, steps, sweeping=sweeping)
    assert all(each == answers[None] for each in answers.values())


@given(
    steps=st.lists(st.tuples(st.integers(0, 5000), st.integers(10, 10_000)), min_size=2, max_size=5),
    sweeping=st.booleans(),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_sequence_of_repeats_tells_whether_the_entry_was_read(kind: Kind, steps: list[Step], sweeping: bool) -> None:
    async def answer() -> dict[int | None, list[Delivered]]:
        with tempfile.TemporaryDirectory() as folder:
            async with claimed_box(Path(folder), kind=kind) as box:
                return await _answers(box, steps, sweeping=sweeping)

    answers = asyncio.run(answer())
    assert all(each == answers[None] for each in answers.values())


@pytest.mark.parametrize("quota", [Quota(1, 1 << 20, MAX_RETENTION, 1000)])
@pytest.mark.parametrize("reading", [False, True], ids=["unread", "read"])
async def test_a_repeat_to_a_full_inbox_is_answered_while_the_entry_lives(box: Box, reading: bool) -> None:
    first = await box.deliver("opaque", LONG)
    if reading:
        await box.acknowledge("opaque")
        await box.deliver("another", LONG)
    again = await box.deliver("opaque", LONG)
    assert (again.new, again.expires) == (False, first.expires)


@pytest.mark.parametrize("quota", [Quota(2, 1 << 20, MAX_RETENTION, 1000)])
@pytest.mark.parametrize("reading", [False, True], ids=["unread", "read"])
async def test_a_full_inbox_refuses_what_expired_whether_it_was_read_or_not(box: Box, reading: bool) -> None:
    await box.deliver("opaque", 10)
    if reading:
        await box.acknowledge("opaque")
    box.clock.advance(10)
    await box.sweep()
    for text in ("another", "a third"):
        await box.deliver(text, LONG)
    with pytest.raises(Refused, match="inbox_full"):
        await box.deliver("opaque", 10)


async def test_a_read_entry_is_not_brought_back_by_any_repeat(box: Box) -> None:
    for number, (wait, life) in enumerate([(0, 10), (20, 10), (20, 5000), (3000, LONG), (3000, 10)]):
        if number == 1:
            await box.acknowledge("opaque")
        box.clock.advance(wait)
        await box.sweep()
        await box.deliver("opaque", life)
        assert await box.texts() == (["opaque"] if number == 0 else [])
