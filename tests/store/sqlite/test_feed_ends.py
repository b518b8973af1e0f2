"""What is remembered of an inbox never hides a change: not one that came before, meanwhile or after."""

import asyncio
import contextlib
from dataclasses import replace

import pytest

from inbox_server.store.contract import Cursor
from inbox_server.store.sqlite.feed_ends import FeedEnd
from inbox_server.store.sqlite.known import Known
from tests.support.stores import ADMISSION, Box

END = FeedEnd(Cursor(b"12345678", 10, 10), empty=True)
KEYS = [bytes([number]) * 16 for number in range(3)]


def _read(feed_ends: Known[FeedEnd], inbox: bytes = KEYS[0]) -> None:
    with feed_ends.reading(inbox) as reading:
        reading.value = END


def _change(feed_ends: Known[FeedEnd]) -> None:
    with feed_ends.changing({KEYS[0]}):
        pass


def test_what_was_read_is_known_until_it_changes() -> None:
    feed_ends = Known[FeedEnd](10)
    _read(feed_ends)
    assert feed_ends.get(KEYS[0]) == END
    _change(feed_ends)
    assert feed_ends.get(KEYS[0]) is None


def test_while_an_inbox_changes_nothing_is_known_of_it() -> None:
    """Another reader may have seen the change already, before the writer knows that it is done."""
    feed_ends = Known[FeedEnd](10)
    _read(feed_ends)
    with feed_ends.changing({KEYS[0]}):
        assert feed_ends.get(KEYS[0]) is None
        _read(feed_ends)
        assert feed_ends.get(KEYS[0]) is None
        _read(feed_ends, KEYS[1])
        assert feed_ends.get(KEYS[1]) == END
    assert feed_ends.get(KEYS[0]) is None


def test_a_reading_that_begins_during_a_change_leaves_nothing_known() -> None:
    feed_ends = Known[FeedEnd](10)
    with contextlib.ExitStack() as stack:
        with feed_ends.changing({KEYS[0]}):
            reading = stack.enter_context(feed_ends.reading(KEYS[0]))
        reading.value = END
    assert feed_ends.get(KEYS[0]) is None


def test_a_change_during_a_reading_leaves_nothing_known() -> None:
    feed_ends = Known[FeedEnd](10)
    with feed_ends.reading(KEYS[0]) as reading:
        _change(feed_ends)
        reading.value = END
    assert feed_ends.get(KEYS[0]) is None


def test_a_reading_that_began_before_a_change_does_not_outlive_one_that_began_after() -> None:
    feed_ends, fresh = Known[FeedEnd](10), FeedEnd(Cursor(b"12345678", 11, 11), empty=False)
    with feed_ends.reading(KEYS[0]) as old:
        _change(feed_ends)
        with feed_ends.reading(KEYS[0]) as new:
            new.value = fresh
        old.value = END
    assert feed_ends.get(KEYS[0]) == fresh


def test_of_an_inbox_that_is_read_without_a_pause_something_is_known() -> None:
    feed_ends = Known[FeedEnd](10)
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        one = first.enter_context(feed_ends.reading(KEYS[0]))
        second.enter_context(feed_ends.reading(KEYS[0]))
        one.value = END
        first.close()
        assert feed_ends.get(KEYS[0]) == END


def test_a_change_ends_all_readings_that_overlap() -> None:
    feed_ends = Known[FeedEnd](10)
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        one, other = (stack.enter_context(feed_ends.reading(KEYS[0])) for stack in (first, second))
        one.value = other.value = END
        _change(feed_ends)
        first.close()
        second.close()
        assert feed_ends.get(KEYS[0]) is None


def test_a_reading_that_fails_leaves_nothing_known() -> None:
    feed_ends = Known[FeedEnd](10)
    with pytest.raises(LookupError), feed_ends.reading(KEYS[0]):
        raise LookupError
    assert feed_ends.get(KEYS[0]) is None


def test_the_longest_unused_is_forgotten_first() -> None:
    feed_ends = Known[FeedEnd](2)
    for inbox in (KEYS[0], KEYS[1]):
        _read(feed_ends, inbox)
    feed_ends.get(KEYS[0])
    _read(feed_ends, KEYS[2])
    assert [feed_ends.get(inbox) is not None for inbox in KEYS] == [True, False, True]
    assert len(feed_ends) == 2


@pytest.mark.parametrize(
    ("after", "empty"),
    [
        (None, True),
        (Cursor(b"12345678", 10, 10), True),
        (Cursor(b"12345678", 10, 3), True),
        (Cursor(b"12345678", 9, 9), False),
        (Cursor(b"12345678", 11, 11), False),  # ahead: the database refuses it
        (Cursor(b"12345678", 10, 12), False),
        (Cursor(b"87654321", 10, 10), False),  # of another generation: the same
    ],
)
def test_only_who_has_seen_everything_is_told_that_there_is_nothing(after: Cursor | None, empty: bool) -> None:
    page = END.page_after(after)
    assert (page is not None) == empty
    if page:
        assert (page.messages, page.read, page.cursor, page.more) == ((), (), END.end, False)


async def test_a_change_that_nobody_waited_for_is_seen(box: Box) -> None:
    cursor = await box.cursor()
    delivering = asyncio.create_task(box.deliver("one"))
    await asyncio.sleep(0)  # it has been handed over
    delivering.cancel()
    await asyncio.wait([delivering])
    await box.deliver("two")
    assert [entry.message_id for entry in await box.entries(cursor)] == ["one", "two"]


async def test_the_end_is_equal_while_nothing_changes_and_never_again_after(box: Box) -> None:
    assert box.store.end(box.inbox) is None
    first = await box.page()
    assert box.store.end(box.inbox) == first.cursor
    empty = await box.page(first.cursor)
    assert empty.cursor == box.store.end(box.inbox) == first.cursor
    await box.deliver("one")
    assert box.store.end(box.inbox) is None
    await box.page(first.cursor)
    ends = {first.cursor, box.store.end(box.inbox)}
    await box.acknowledge("one")
    await box.page()
    ends.add(box.store.end(box.inbox))
    await box.store.forget(box.inbox, issued=box.clock(), request=b"a later request.")
    await box.claim(admission=replace(ADMISSION, generation=b"another."))
    await box.page()
    ends.add(box.store.end(box.inbox))
    assert None not in ends
    assert len(ends) == 4
