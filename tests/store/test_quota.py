"""The store's contract: counts that are right at once, and a full inbox."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from inbox_server.errors import Refused
from inbox_server.store.contract import TOMBSTONE_SECONDS, Quota
from tests.store.conftest import Count
from tests.support.stores import BOB, MAX_RETENTION, Box

Act = Callable[[Box], Awaitable[object]]


@pytest.fixture
def quota() -> Quota:
    """Three entries or 2,000 bytes fill an inbox."""
    return Quota(3, 2000, MAX_RETENTION, 1000)


async def _fill(box: Box, life: int = 1000) -> None:
    for text in ("a", "b", "c"):
        await box.deliver(text, life)


async def _is_full(box: Box, text: str = "one too many") -> bool:
    try:
        await box.deliver(text)
    except Refused as refusal:
        if refusal.code != "inbox_full":
            raise
        return True
    return False


async def _expire(box: Box) -> None:
    box.clock.advance(1000)
    await box.sweep()


# Each begins with one unread entry, "first", of 5 bytes that lives for 1,000 s.
OPERATIONS: dict[str, tuple[Act, tuple[int, int]]] = {
    "delivery": (lambda box: box.deliver("second"), (2, 11)),
    "repeat": (lambda box: box.deliver("first"), (1, 5)),
    "longer repeat": (lambda box: box.deliver("first", 5000), (1, 5)),
    "acknowledgement": (lambda box: box.acknowledge("first"), (0, 0)),
    "acknowledgement of the unknown": (lambda box: box.acknowledge("unknown"), (1, 5)),
    "acknowledgement of both": (lambda box: box.acknowledge("unknown", "first", "first"), (0, 0)),
    "listing": (lambda box: box.page(), (1, 5)),
    "settings": (lambda box: box.claim(accept="nobody"), (1, 5)),
    "sweep before it expires": (lambda box: box.sweep(), (1, 5)),
    "sweep after it expired": (_expire, (0, 0)),
}


@pytest.mark.parametrize(("act", "counts"), OPERATIONS.values(), ids=OPERATIONS.keys())
async def test_the_counts_are_right_right_after(box: Box, act: Act, counts: tuple[int, int]) -> None:
    await box.deliver("first", 1000)
    await act(box)
    assert await box.counts() == counts


async def test_a_repeat_of_what_was_read_counts_nothing(box: Box) -> None:
    await box.deliver("first")
    await box.acknowledge("first")
    await box.deliver("first")
    assert await box.counts() == (0, 0)


async def test_an_inbox_full_of_entries_refuses_and_tells_its_owner(box: Box, count: Count) -> None:
    await _fill(box)
    assert not (await box.settings()).refused
    with pytest.raises(Refused, match="inbox_full") as caught:
        await box.deliver("one too many")
    assert caught.value.retry_after
    assert (await box.settings()).refused
    assert await box.texts() == ["a", "b", "c"]  # nothing is evicted
    assert count()["message"] == 3


async def test_an_inbox_full_of_bytes_refuses_and_tells_its_owner(box: Box) -> None:
    await box.deliver("x" * 1000)
    await box.deliver("y" * 1000)
    assert await _is_full(box, "z")
    assert (await box.settings()).refused
    assert await box.counts() == (2, 2000)


async def test_what_fits_is_taken_though_more_was_refused(box: Box) -> None:
    await box.deliver("x" * 1000)
    await box.deliver("y" * 999)
    assert await _is_full(box, "zz")
    assert not await _is_full(box, "z")


async def test_an_acknowledgement_makes_room_and_ends_the_notice(box: Box) -> None:
    await _fill(box)
    assert await _is_full(box)
    await box.acknowledge("b")
    assert not (await box.settings()).refused
    assert not await _is_full(box)
    assert await box.texts() == ["a", "c", "one too many"]


async def test_acknowledging_the_unknown_makes_no_room_and_keeps_the_notice(box: Box) -> None:
    await _fill(box)
    assert await _is_full(box)
    await box.acknowledge("unknown")
    assert (await box.settings()).refused
    assert await _is_full(box)


async def test_expired_entries_make_room_before_any_sweep(box: Box) -> None:
    await _fill(box, life=10)
    assert await _is_full(box)
    box.clock.advance(10)
    assert not await _is_full(box)
    assert await box.texts() == ["one too many"]
    assert await box.counts() == (1, len("one too many"))
    assert not (await box.settings()).refused


async def test_a_sweep_makes_room_and_ends_the_notice(box: Box) -> None:
    await _fill(box, life=10)
    assert await _is_full(box)
    box.clock.advance(10)
    await box.sweep()
    assert not (await box.settings()).refused


async def test_a_repeat_to_a_full_inbox_is_taken(box: Box) -> None:
    await _fill(box)
    assert not (await box.deliver("b")).new
    assert (await box.deliver("b", 5000)).expires == box.clock() + 5000
    assert not (await box.settings()).refused


async def test_tombstones_take_no_room(box: Box) -> None:
    for round_number in range(3):
        texts = [f"{round_number} {number}" for number in range(3)]
        for text in texts:
            await box.deliver(text)
        await box.acknowledge(*texts)
    assert not await _is_full(box)


@pytest.mark.parametrize("quota", [Quota(10_000, 1024, MAX_RETENTION, 1000)])
async def test_as_many_small_expired_entries_as_there_may_be_make_room_for_a_large_one(box: Box) -> None:
    pairs = [chr(33 + number // 64) + chr(33 + number % 64) for number in range(512)]
    await asyncio.gather(*(box.deliver(pair, 10) for pair in pairs))
    assert await box.counts() == (512, 1024)
    box.clock.advance(10)
    await box.deliver("x" * 1024)


@pytest.mark.parametrize("quota", [Quota(600, 1 << 20, MAX_RETENTION, 1000)])
async def test_expired_entries_make_room_past_expired_tombstones(box: Box) -> None:
    texts = [f"entry {number}" for number in range(600)]
    await asyncio.gather(*(box.deliver(text, 10) for text in texts))
    await box.acknowledge(*texts)
    box.clock.advance(TOMBSTONE_SECONDS - 10)
    await asyncio.gather(*(box.deliver("new " + text, 10) for text in texts))
    box.clock.advance(10)
    await box.deliver("one more")
    assert await box.texts() == ["one more"]


async def test_concurrent_deliveries_never_fill_an_inbox_too_far(box: Box) -> None:
    full = await asyncio.gather(*(_is_full(box, f"entry {number}") for number in range(20)))
    assert full.count(False) == 3
    assert (await box.counts())[0] == 3


async def test_a_full_inbox_leaves_others_alone(box: Box) -> None:
    await _fill(box)
    assert await _is_full(box)
    carol = box.of(b"Carol's inbox...")
    await carol.claim()
    assert not await _is_full(carol)
    assert not (await carol.settings()).refused


async def test_deleting_a_full_inbox_makes_a_new_one_empty(box: Box) -> None:
    await _fill(box)
    assert await _is_full(box)
    await box.store.forget(BOB, issued=box.clock(), request=b"a DELETE request")
    await box.claim()
    assert await box.counts() == (0, 0)
    assert not (await box.settings()).refused
