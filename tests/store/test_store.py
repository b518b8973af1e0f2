"""The store's contract: delivering, reading and expiring. Every store passes these."""

import asyncio

import pytest

from inbox_server.clock import DAY_SECONDS, UnixTime, end_of_day
from inbox_server.errors import Refused
from inbox_server.store.contract import FORGOTTEN_AT_ONCE, TOMBSTONE_SECONDS, Delivered, Quota, Totals
from tests.store.conftest import Count
from tests.support.stores import BOB, CAROL, MAX_RETENTION, Box, id_of

NOBODY = b"nobody's inbox.."
MOST_READ = 300


async def test_a_delivery_is_listed_with_its_text_and_expiry(box: Box) -> None:
    delivered = await box.deliver("opaque", life=1000)
    (entry,) = await box.entries()
    assert (entry.id, entry.message_id, entry.expires) == (id_of("opaque"), "opaque", box.clock() + 1000)
    assert delivered == Delivered(new=True, expires=entry.expires)


async def test_delivering_twice_is_delivering_once(box: Box) -> None:
    first = await box.deliver("opaque")
    again = await box.deliver("opaque")
    assert (first.new, again.new) == (True, False)
    assert again.expires == first.expires
    assert await box.texts() == ["opaque"]


async def test_a_delivery_that_was_read_is_not_listed_again(box: Box) -> None:
    await box.deliver("opaque")
    await box.acknowledge("opaque")
    assert not (await box.deliver("opaque")).new
    assert await box.texts() == []


async def test_entries_are_listed_in_the_order_of_their_change_numbers(box: Box) -> None:
    texts = [f"entry {number}" for number in range(20)]
    for text in reversed(texts):
        await box.deliver(text)
    assert await box.texts() == texts[::-1]


async def test_listing_removes_nothing(box: Box) -> None:
    await box.deliver("opaque")
    assert [await box.texts() for _ in range(3)] == [["opaque"]] * 3


async def test_a_repeat_lengthens_the_life_of_an_unread_entry(box: Box) -> None:
    await box.deliver("opaque", life=100)
    assert (await box.deliver("opaque", life=500)).expires == box.clock() + 500
    box.clock.advance(499)
    assert await box.texts() == ["opaque"]
    box.clock.advance(1)
    assert await box.texts() == []


async def test_a_repeat_never_shortens_the_life_of_an_unread_entry(box: Box) -> None:
    await box.deliver("opaque", life=500)
    assert (await box.deliver("opaque", life=100)).expires == box.clock() + 500
    box.clock.advance(499)
    assert await box.texts() == ["opaque"]


async def test_a_longer_life_is_a_change_that_every_device_hears_of(box: Box) -> None:
    await box.deliver("first", life=100)
    await box.deliver("second", life=100)
    cursor = await box.cursor()
    await box.deliver("first", life=500)
    (entry,) = await box.entries(cursor)
    assert (entry.message_id, entry.expires) == ("first", box.clock() + 500)
    assert await box.texts() == ["second", "first"]


async def test_a_repeat_that_changes_nothing_is_no_change(box: Box) -> None:
    await box.deliver("opaque", life=500)
    cursor = await box.cursor()
    await box.deliver("opaque", life=500)
    await box.deliver("opaque", life=100)
    assert await box.cursor() == cursor


async def test_expiry_hides_an_entry_at_once_and_the_sweep_removes_it(box: Box, count: Count) -> None:
    await box.deliver("short", life=10)
    await box.deliver("long", life=1000)
    box.clock.advance(10)
    assert await box.texts() == ["long"]
    assert count()["message"] == 2
    await box.sweep()
    assert count()["message"] == 1
    assert await box.texts() == ["long"]


async def test_a_sweep_removes_more_than_one_helping(box: Box, count: Count) -> None:
    await asyncio.gather(*(box.deliver(f"entry {number}", life=10) for number in range(1100)))
    box.clock.advance(10)
    await box.sweep()
    assert count()["message"] == 0
    assert await box.counts() == (0, 0)


@pytest.mark.parametrize("inboxes", [1, 30])
async def test_what_expires_at_the_end_of_a_day_goes_from_every_inbox_and_nothing_else(
    box: Box, count: Count, inboxes: int
) -> None:
    boxes = [box, *(box.of(bytes([number]) * 16) for number in range(1, inboxes))]
    for each in boxes[1:]:
        await each.claim()
    tonight = end_of_day(UnixTime(box.clock() + DAY_SECONDS)) - box.clock()
    for each in boxes:
        lives = dict.fromkeys(range(450 // inboxes), tonight) | {"later": tonight + DAY_SECONDS, "an hour": 3600}
        await asyncio.gather(*(each.deliver(f"{name}", life) for name, life in lives.items()))
        await each.acknowledge("0")
        await each.deliver("1", life=tonight + DAY_SECONDS)
    box.clock.advance(tonight)
    await box.sweep()
    assert [await each.texts() for each in boxes] == [["later", "1"]] * inboxes
    assert count()["message"] == 2 * inboxes
    box.clock.advance(DAY_SECONDS)
    await box.sweep()
    assert count()["message"] == 0
    assert [await each.counts() for each in boxes] == [(0, 0)] * inboxes


async def test_expiry_leaves_no_tombstone(box: Box) -> None:
    await box.deliver("opaque", life=10)
    cursor = await box.cursor()
    box.clock.advance(10)
    await box.sweep()
    assert (await box.page(after=cursor)).read == ()
    assert (await box.deliver("opaque", life=10)).new
    assert await box.texts() == ["opaque"]


async def test_an_entry_that_expired_unread_can_be_delivered_again_before_the_sweep(box: Box) -> None:
    await box.deliver("opaque", life=10)
    box.clock.advance(10)
    assert (await box.deliver("opaque", life=10)).new
    assert await box.texts() == ["opaque"]
    assert await box.counts() == (1, len("opaque"))


async def test_a_tombstone_stays_until_the_entry_would_have_expired(box: Box, count: Count) -> None:
    life = 10 * TOMBSTONE_SECONDS
    await box.deliver("opaque", life=life)
    await box.acknowledge("opaque")
    box.clock.advance(life - 1)
    await box.sweep()
    assert count()["message"] == 1
    box.clock.advance(1)
    await box.sweep()
    assert count()["message"] == 0


async def test_a_tombstone_of_a_short_life_stays_for_an_hour(box: Box) -> None:
    await box.deliver("opaque", life=10)
    await box.acknowledge("opaque")
    box.clock.advance(TOMBSTONE_SECONDS - 1)
    await box.sweep()
    await box.deliver("opaque", life=10)
    assert await box.texts() == []


async def test_acknowledging_twice_is_acknowledging_once(box: Box) -> None:
    await box.deliver("opaque")
    await box.acknowledge("opaque", "opaque")
    cursor = await box.cursor()
    await box.acknowledge("opaque")
    assert await box.cursor() == cursor
    assert await box.counts() == (0, 0)


async def test_acknowledging_an_unknown_id_keeps_a_late_delivery_from_the_list(box: Box) -> None:
    cursor = await box.cursor()
    await box.acknowledge("late")
    assert (await box.page(after=cursor)).read == (id_of("late"),)
    assert (await box.deliver("late")).new
    assert not (await box.deliver("late")).new
    assert await box.texts() == []
    assert await box.counts() == (0, 0)


async def test_a_planted_tombstone_stays_for_the_servers_maximum_retention(box: Box) -> None:
    await box.acknowledge("late")
    box.clock.advance(MAX_RETENTION - 1)
    await box.sweep()
    await box.deliver("late", life=10)
    assert await box.texts() == []


async def test_a_planted_tombstone_goes_after_the_maximum_retention(box: Box) -> None:
    await box.acknowledge("late")
    box.clock.advance(MAX_RETENTION)
    await box.sweep()
    await box.deliver("late", life=10)
    assert await box.texts() == ["late"]


@pytest.mark.parametrize("quota", [Quota(1000, 1 << 20, MAX_RETENTION, MOST_READ)])
@pytest.mark.parametrize("delivered", [True, False], ids=["delivered here", "unknown"])
async def test_of_too_many_that_were_read_the_oldest_are_forgotten(box: Box, count: Count, delivered: bool) -> None:
    texts = [f"text {number}" for number in range(2 * MOST_READ)]
    await box.deliver("never read")
    if delivered:
        await asyncio.gather(*(box.deliver(text) for text in texts))
    await box.acknowledge(*texts[:MOST_READ])
    early = await box.cursor()
    await box.acknowledge(*texts[MOST_READ:-1])
    late = await box.cursor()
    await box.acknowledge(texts[-1])
    read = (await box.settings()).read
    assert MOST_READ - FORGOTTEN_AT_ONCE <= read <= MOST_READ
    assert await box.store.totals() == Totals(unread=1, read=read, inboxes=1, suspended=0)
    assert count()["message"] == read + 1
    with pytest.raises(Refused, match="cursor_gone"):
        await box.page(early)
    assert (await box.page(late)).read == (id_of(texts[-1]),)
    await box.deliver(texts[-read])  # remembered
    assert await box.texts() == ["never read"]
    assert (await box.deliver(texts[0])).new  # not remembered any more
    assert await box.texts() == ["never read", texts[0]]


async def test_one_acknowledgement_takes_known_and_unknown_ids(box: Box) -> None:
    for text in ("a", "b", "c"):
        await box.deliver(text)
    await box.acknowledge("a", "never seen", "c")
    assert await box.texts() == ["b"]
    assert await box.counts() == (1, 1)


async def test_the_same_entry_in_two_inboxes_is_two_entries(box: Box) -> None:
    carol = box.of(CAROL)
    await carol.claim()
    assert (await box.deliver("opaque")).new
    assert (await carol.deliver("opaque")).new
    await box.acknowledge("opaque")
    assert await box.texts() == []
    assert await carol.texts() == ["opaque"]
    assert await carol.counts() == (1, len("opaque"))


async def test_an_inbox_that_nobody_claimed_takes_nothing_and_shows_nothing(box: Box) -> None:
    nobody = box.of(NOBODY)
    with pytest.raises(Refused, match="not_accepted"):
        await nobody.deliver("opaque")
    with pytest.raises(Refused, match="no_inbox"):
        await nobody.page()
    with pytest.raises(Refused, match="no_inbox"):
        await nobody.acknowledge("opaque")
    assert await box.store.settings(NOBODY) is None
    assert await box.store.policy(NOBODY, b"anybody at all..") is None


async def test_a_delivery_to_an_inbox_that_was_deleted_is_not_accepted(box: Box) -> None:
    await box.store.forget(BOB, issued=box.clock(), request=b"a DELETE request")
    with pytest.raises(Refused, match="not_accepted"):
        await box.deliver("opaque")


async def test_a_store_that_works_is_ready(box: Box) -> None:
    await box.store.ping()
