"""The store's contract: the newest time that was seen, and what lapsed while no server ran."""

from inbox_server.clock import DAY_SECONDS, UnixTime, end_of_day
from inbox_server.store.contract import PROLONGED_SECONDS
from tests.support.stores import Box

SEEN_SECONDS = 600  # by so much at most a store may round what it has seen


async def test_no_time_was_seen_before_the_first_sweep(box: Box) -> None:
    assert await box.store.seen() is None


async def test_the_newest_time_that_was_swept_by_is_seen_to_some_minutes(box: Box) -> None:
    for _ in range(3):
        box.clock.advance(DAY_SECONDS + 1)
        await box.sweep()
        seen = await box.store.seen()
        assert seen is not None
        assert 0 <= box.clock() - seen < SEEN_SECONDS


async def test_what_lapsed_unread_in_an_outage_lives_some_days_more_and_every_device_hears_of_it(box: Box) -> None:
    began = box.clock()
    await box.deliver("a day", life=end_of_day(UnixTime(began + DAY_SECONDS)) - began)
    await box.deliver("an hour", life=3600)
    await box.deliver("was read", life=end_of_day(UnixTime(began + DAY_SECONDS)) - began)
    await box.acknowledge("was read")
    cursor = await box.cursor()
    box.clock.advance(10 * DAY_SECONDS)
    await box.store.prolong(began, box.clock())
    (entry,) = await box.entries(cursor)
    assert (entry.message_id, entry.expires) == ("a day", end_of_day(UnixTime(box.clock() + PROLONGED_SECONDS)))
    await box.sweep()
    assert await box.texts() == ["a day"]
    assert await box.counts() == (1, len("a day"))


async def test_what_lapsed_before_the_outage_stays_gone(box: Box) -> None:
    await box.deliver("a day", life=end_of_day(UnixTime(box.clock() + DAY_SECONDS)) - box.clock())
    box.clock.advance(5 * DAY_SECONDS)
    began = box.clock()
    box.clock.advance(5 * DAY_SECONDS)
    await box.store.prolong(began, box.clock())
    assert await box.texts() == []
