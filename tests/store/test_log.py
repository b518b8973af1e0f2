"""The log of an inbox: what is logged, for how long, and that its base and its head fit together all the time."""

import asyncio

import pytest

from inbox_server.clock import DAY_SECONDS, UnixTime, end_of_day
from inbox_server.errors import Refused
from inbox_server.inbox_log import LogEntry, fold
from inbox_server.store.contract import FORGOTTEN_AT_ONCE, PROLONGED_SECONDS, Quota
from tests.store.conftest import Count
from tests.support.stores import ADMISSION, CAROL, MAX_RETENTION, Box, id_of

KEPT = 10


def until_end_of_day(box: Box, days: int = 1) -> int:
    """The life of what expires at the end of a day, so many days from today."""
    return end_of_day(UnixTime(box.clock() + days * DAY_SECONDS)) - box.clock()


async def deliver(box: Box, *texts: str, days: int = 1) -> None:
    for text in texts:
        await box.deliver(text, life=until_end_of_day(box, days))


def ids(*texts: str) -> list[bytes]:
    return [id_of(text) for text in texts]


async def test_a_log_begins_where_the_claim_says_and_is_empty(box: Box) -> None:
    page = await box.log()
    assert page.base == page.head == ADMISSION.first_log
    assert (page.entries, page.more, page.restored) == ((), False, None)


async def test_what_lives_until_the_end_of_a_later_day_is_logged_and_nothing_shorter(box: Box) -> None:
    await deliver(box, "tomorrow", "in a month", days=1)
    await box.deliver("a moment", life=10)
    await box.deliver("this evening", life=until_end_of_day(box, 0))
    await box.deliver("a second before tomorrow ends", life=until_end_of_day(box) - 1)
    await deliver(box, "also tomorrow")
    assert await box.logged() == ids("tomorrow", "in a month", "also tomorrow")
    assert [entry.n for entry in (await box.log()).entries] == [7001, 7002, 7003]


async def test_entries_that_arrive_together_in_several_inboxes_are_logged_in_the_order_of_each(box: Box) -> None:
    carol = box.of(CAROL)
    await carol.claim()
    texts = [f"entry {number}" for number in range(60)]
    await asyncio.gather(*(deliver(carol if number % 3 == 0 else box, text) for number, text in enumerate(texts)))
    assert await carol.logged() == ids(*texts[::3])
    assert await box.logged() == ids(*(text for number, text in enumerate(texts) if number % 3))


async def test_repeats_that_arrive_among_new_entries_leave_no_gap(box: Box) -> None:
    carol = box.of(CAROL)
    await carol.claim()
    await deliver(box, "old", "older")
    arriving = ("first", "old", "second", "second", "older", "third", "old", "fourth")
    await asyncio.gather(*(deliver(each, text) for text in arriving for each in (box, carol)))
    assert await box.logged() == ids("old", "older", "first", "second", "third", "fourth")
    assert await carol.logged() == ids("first", "old", "second", "older", "third", "fourth")
    await deliver(box, "fifth")
    assert (await box.logged())[-1] == id_of("fifth")


async def test_repeats_and_acknowledgements_are_not_logged_and_a_longer_life_is(box: Box) -> None:
    await deliver(box, "first", "second")
    await deliver(box, "first")
    await box.acknowledge("first")
    await deliver(box, "first", "second")
    assert await box.logged() == ids("first", "second")
    await deliver(box, "first", "second", days=2)
    await deliver(box, "first", "second", days=1)
    assert await box.logged() == ids("first", "second", "first", "second")


async def test_a_life_that_becomes_long_is_logged_then(box: Box) -> None:
    await box.deliver("short at first", life=until_end_of_day(box, 0))
    await box.deliver("short, and read", life=100)
    await box.acknowledge("short, and read")
    assert await box.logged() == []
    await deliver(box, "short at first", "short, and read")
    assert await box.logged() == ids("short at first", "short, and read")


async def test_what_was_acknowledged_before_it_was_delivered_is_logged_when_it_is_delivered(box: Box) -> None:
    """The sender is told that it is there until then, as by a receipt."""
    await box.acknowledge("read elsewhere")
    assert await box.logged() == []
    await deliver(box, "read elsewhere")
    await deliver(box, "read elsewhere")
    assert await box.logged() == ids("read elsewhere")


async def test_what_is_new_again_is_logged_again(box: Box) -> None:
    await deliver(box, "unread", "read")
    await box.acknowledge("read")
    box.clock.advance(until_end_of_day(box) + 1)
    await deliver(box, "unread", "read")
    assert await box.logged() == ids("unread", "read", "unread", "read")


@pytest.mark.parametrize("quota", [Quota(entries=1, bytes=1000, max_retention=MAX_RETENTION, tombstones=10)])
async def test_what_is_refused_is_not_logged(box: Box) -> None:
    await deliver(box, "first")
    with pytest.raises(Refused, match="inbox_full"):
        await deliver(box, "second")
    assert await box.logged() == ids("first")


async def test_pages_of_a_log_follow_on_and_each_has_its_base_and_its_head(box: Box) -> None:
    texts = [f"entry {number}" for number in range(7)]
    await deliver(box, *texts)
    assert await box.logged(limit=3) == await box.logged(limit=7) == ids(*texts)
    for after, limit, expected, more in (
        (0, 3, [7001, 7002, 7003], True),
        (7002, 3, [7003, 7004, 7005], True),
        (7004, 3, [7005, 7006, 7007], False),
        (7006, 3, [7007], False),
        (7007, 3, [], False),
        (9999, 3, [], False),
    ):
        page = await box.log(after, limit)
        assert ([entry.n for entry in page.entries], page.more) == (expected, more)
        assert (page.base, page.head.n) == (ADMISSION.first_log, 7007)


async def test_an_inbox_that_is_not_there_has_no_log(box: Box) -> None:
    with pytest.raises(Refused, match="no_inbox"):
        await box.of(CAROL).log()


async def test_an_entry_stays_in_the_log_when_it_is_gone_and_until_the_longest_retention_is_over(
    box: Box, count: Count
) -> None:
    await deliver(box, "read", "unread")
    await box.acknowledge("read")
    box.clock.advance(until_end_of_day(box, 2))
    await box.sweep()
    assert (await box.texts(), count()["message"]) == ([], 0)
    await deliver(box, "later")
    before = await box.log()
    box.clock.advance(until_end_of_day(box, MAX_RETENTION // DAY_SECONDS - 2) - 1)
    await box.sweep()
    assert await box.log() == before
    box.clock.advance(1)
    await box.sweep()
    after = await box.log()
    assert after.base == fold(before.base, before.entries[:2])
    assert (after.entries, after.head) == (before.entries[2:], before.head)
    box.clock.advance(2 * DAY_SECONDS)
    await box.sweep()
    assert (await box.log()).base == before.head
    assert count()["logged"] == 0


async def test_an_entry_that_may_go_waits_for_those_before_it_and_then_all_go(box: Box, count: Count) -> None:
    """As when the operator has shortened the longest retention meanwhile."""
    await deliver(box, "for long")
    box.store.limit(Quota(1000, 1 << 20, max_retention=DAY_SECONDS, tombstones=1000))
    await deliver(box, "for a day", "for another day")
    box.clock.advance(until_end_of_day(box, 3))
    await box.sweep()
    assert await box.logged() == ids("for long", "for a day", "for another day")
    box.clock.advance(MAX_RETENTION)
    await box.sweep()
    assert (await box.logged(), count()["logged"]) == ([], 0)


async def test_many_entries_go_in_several_commits_and_the_base_is_right_after_each(box: Box) -> None:
    texts = [f"entry {number}" for number in range(2 * FORGOTTEN_AT_ONCE + 50)]
    await asyncio.gather(*(deliver(box, text) for text in texts))
    head = (await box.log()).head
    box.clock.advance(until_end_of_day(box, MAX_RETENTION // DAY_SECONDS))
    await box.sweep()
    page = await box.log()
    assert page.base == page.head == head


@pytest.mark.parametrize("quota", [Quota(2000, 1 << 20, MAX_RETENTION, 10, log=KEPT)])
async def test_a_log_that_is_too_long_loses_its_oldest_and_so_many_stay(box: Box) -> None:
    texts = [f"entry {number}" for number in range(KEPT + FORGOTTEN_AT_ONCE + 5)]
    await deliver(box, *texts[: KEPT + FORGOTTEN_AT_ONCE])
    assert await box.logged() == ids(*texts[:-5])
    await deliver(box, *texts[-5:])
    assert await box.logged() == ids(*texts[-KEPT - 4 :])
    await asyncio.gather(*(deliver(box, f"more {number}") for number in range(600)))
    assert KEPT <= len(await box.logged()) <= KEPT + FORGOTTEN_AT_ONCE
    assert len(await box.texts()) == len(texts) + 600  # what is unread is still listed


@pytest.mark.parametrize("quota", [Quota(1000, 1 << 20, MAX_RETENTION, tombstones=1)])
async def test_entries_whose_repeats_are_not_recognised_any_more_stay_in_the_log(box: Box, count: Count) -> None:
    await deliver(box, "first", "second", "third")
    await box.acknowledge("first", "second", "third")
    assert count()["message"] == 0
    assert await box.logged() == ids("first", "second", "third")
    await deliver(box, "second")
    assert await box.logged() == ids("first", "second", "third", "second")


async def test_what_is_prolonged_after_an_outage_is_logged_anew(box: Box) -> None:
    await deliver(box, "read", "unread", days=1)
    await box.deliver("short", life=10)
    await box.acknowledge("read")
    before = box.clock()
    box.clock.advance(2 * DAY_SECONDS)
    await box.store.prolong(before, box.clock())
    assert await box.texts() == ["unread"]
    assert await box.logged() == ids("read", "unread", "unread")
    box.clock.advance(PROLONGED_SECONDS)
    await box.sweep()
    assert await box.texts() == ["unread"]
    assert await box.logged() == ids("read", "unread", "unread")


async def test_a_log_goes_with_its_inbox_and_a_new_claim_begins_another(box: Box, count: Count) -> None:
    await asyncio.gather(*(deliver(box, f"entry {number}") for number in range(FORGOTTEN_AT_ONCE + 30)))
    await box.acknowledge(*(f"entry {number}" for number in range(FORGOTTEN_AT_ONCE)))
    assert await box.store.forget(box.inbox, issued=box.clock(), request=b"a request of PUT")
    assert count()["logged"] == 0
    assert await box.claim()
    page = await box.log()
    assert page.base == page.head == ADMISSION.first_log
    await deliver(box, "entry 0")
    assert (await box.log()).entries == (LogEntry(ADMISSION.first_log.n + 1, id_of("entry 0")),)


async def test_what_is_in_the_log_is_what_the_protocol_promises_after_any_answer(box: Box) -> None:
    """Whoever is told of a life until the end of a later day finds the id in the log until that day is over."""
    promised: dict[bytes, UnixTime] = {}
    for day in range(12):
        for text, life in (("a", 1), ("b", 2 + day % 3), ("c", 0), (f"on day {day}", 3), (f"on day {day // 2}", day)):
            expires = (await box.deliver(text, life=until_end_of_day(box, life) or 1)).expires
            if expires // DAY_SECONDS > box.clock() // DAY_SECONDS:
                promised[id_of(text)] = max(expires, promised.get(id_of(text), expires))
        await box.acknowledge("b", f"on day {day - 1}", f"on day {day + 1}")
        box.clock.advance(DAY_SECONDS)
        await box.sweep()
        logged = await box.logged()
        assert {id for id, expires in promised.items() if expires > box.clock()} <= set(logged)
        assert {entry.id for entry in await box.entries() if entry.expires > box.clock() + DAY_SECONDS} <= set(logged)
