"""The store's contract: the change feed and its cursors."""

import asyncio
import dataclasses
from collections.abc import Awaitable

import pytest

from inbox_server.errors import Refused
from inbox_server.store.contract import TOMBSTONE_SECONDS, Cursor, Page
from tests.support.stores import ADMISSION, BOB, Box, id_of, texts_of


async def _walk(box: Box, after: Cursor | None, limit: int) -> list[Page]:
    """Every page from `after` to the end; that `more` is right is checked on the way."""
    pages = [await box.page(after, limit)]
    while pages[-1].more:
        pages.append(await box.page(pages[-1].cursor, limit))
        assert pages[-1].messages or pages[-1].read, "`more` promised a page that is empty"
    return pages


async def test_a_list_without_a_cursor_has_no_tombstones(box: Box) -> None:
    for text in ("read", "unread"):
        await box.deliver(text)
    await box.acknowledge("read", "never seen")
    page = await box.page()
    assert (texts_of(page), page.read) == (["unread"], ())


async def test_a_cursor_gives_what_changed_since(box: Box) -> None:
    for text in ("a", "b", "c"):
        await box.deliver(text)
    cursor = await box.cursor()
    await box.acknowledge("b")
    await box.deliver("d")
    page = await box.page(cursor)
    assert (texts_of(page), page.read, page.more) == (["d"], (id_of("b"),), False)


async def test_the_cursor_of_a_list_is_past_everything_that_has_happened(box: Box) -> None:
    await box.deliver("unread")
    await box.deliver("read")
    await box.acknowledge("read")
    cursor = await box.cursor()
    assert await box.page(cursor) == Page((), (), cursor, more=False)


async def test_an_entry_that_came_and_was_read_since_is_only_read(box: Box) -> None:
    cursor = await box.cursor()
    await box.deliver("opaque")
    await box.acknowledge("opaque")
    page = await box.page(cursor)
    assert (texts_of(page), page.read) == ([], (id_of("opaque"),))


async def test_a_cursor_at_the_end_gives_an_empty_page_and_itself(box: Box) -> None:
    await box.deliver("opaque")
    cursor = await box.cursor()
    assert await box.page(cursor) == Page((), (), cursor, more=False)


async def test_the_cursor_of_an_empty_inbox_sees_the_first_delivery(box: Box) -> None:
    cursor = await box.cursor()
    await box.deliver("opaque")
    assert texts_of(await box.page(cursor)) == ["opaque"]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 10, 11, 1000])
async def test_pages_of_any_size_have_everything_once_and_in_order(box: Box, limit: int) -> None:
    texts = [f"entry {number}" for number in range(10)]
    for text in texts:
        await box.deliver(text)
    pages = await _walk(box, None, limit)
    assert [text for page in pages for text in texts_of(page)] == texts
    assert len(pages) == -(-len(texts) // limit)
    assert pages[-1].cursor == await box.cursor()


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_of_changes_have_everything_once_and_in_order(box: Box, limit: int) -> None:
    cursor = await box.cursor()
    for number in range(6):
        await box.deliver(f"entry {number}")
    await box.acknowledge("entry 1", "entry 4")
    await box.deliver("entry 6")
    pages = await _walk(box, cursor, limit)
    assert [text for page in pages for text in texts_of(page)] == [f"entry {number}" for number in (0, 2, 3, 5, 6)]
    assert [id for page in pages for id in page.read] == [id_of("entry 1"), id_of("entry 4")]


async def test_a_page_that_is_just_full_promises_no_more(box: Box) -> None:
    for text in ("a", "b"):
        await box.deliver(text)
    assert not (await box.page(limit=2)).more


async def test_expired_entries_are_not_more(box: Box) -> None:
    await box.deliver("long", life=1000)
    await box.deliver("short", life=10)
    box.clock.advance(10)
    assert not (await box.page(limit=1)).more


async def test_acknowledging_page_by_page_reads_everything(box: Box) -> None:
    texts = [f"entry {number}" for number in range(10)]
    for text in texts:
        await box.deliver(text)
    seen, page = [], await box.page(limit=3)
    while page.messages:
        seen += texts_of(page)
        await box.acknowledge(*texts_of(page))
        page = await box.page(page.cursor, limit=3)
    assert seen == texts


async def test_what_comes_between_two_pages_is_on_a_later_one(box: Box) -> None:
    for text in ("a", "b", "c"):
        await box.deliver(text)
    page = await box.page(limit=2)
    await box.acknowledge("c")
    await box.deliver("d")
    rest = await box.page(page.cursor)
    assert (texts_of(rest), rest.read) == (["d"], (id_of("c"),))


async def test_a_list_in_pages_goes_on_after_an_old_tombstone_was_swept(box: Box) -> None:
    texts = [f"entry {number}" for number in range(5)]
    for text in texts:
        await box.deliver(text, life=100 * TOMBSTONE_SECONDS)
    await box.deliver("short", life=10)
    await box.acknowledge("short")
    box.clock.advance(TOMBSTONE_SECONDS)
    await box.sweep()
    assert [text for page in await _walk(box, None, 2) for text in texts_of(page)] == texts


async def test_a_cursor_ahead_of_the_inbox_is_gone(box: Box) -> None:
    await box.deliver("opaque")
    cursor = await box.cursor()
    ahead = dataclasses.replace(cursor, change=cursor.change + 1)
    with pytest.raises(Refused, match="cursor_gone"):
        await box.page(ahead)


async def test_a_cursor_of_the_largest_number_is_gone(box: Box) -> None:
    huge = dataclasses.replace(await box.cursor(), change=(1 << 63) - 1)
    with pytest.raises(Refused, match="cursor_gone"):
        await box.page(huge)


async def test_a_cursor_of_another_generation_is_gone(box: Box) -> None:
    foreign = dataclasses.replace(await box.cursor(), generation=b"second..")
    with pytest.raises(Refused, match="cursor_gone"):
        await box.page(foreign)


async def test_a_cursor_from_before_the_inbox_was_claimed_anew_is_gone(box: Box) -> None:
    await box.deliver("opaque")
    cursor = await box.cursor()
    await box.store.forget(BOB, issued=box.clock(), request=b"a DELETE request")
    await box.claim(admission=dataclasses.replace(ADMISSION, generation=b"second.."))
    await box.deliver("opaque")
    with pytest.raises(Refused, match="cursor_gone"):
        await box.page(cursor)


async def test_a_cursor_that_missed_a_swept_tombstone_is_gone(box: Box) -> None:
    await box.deliver("opaque", life=10)
    before = await box.cursor()
    await box.acknowledge("opaque")
    after = await box.cursor()
    box.clock.advance(TOMBSTONE_SECONDS)
    assert (await box.page(before)).read == (id_of("opaque"),)
    await box.sweep()
    with pytest.raises(Refused, match="cursor_gone"):
        await box.page(before)
    assert await box.page(after) == Page((), (), after, more=False)


async def test_a_cursor_that_missed_an_expired_entry_is_good(box: Box) -> None:
    before = await box.cursor()
    await box.deliver("short", life=10)
    await box.deliver("long", life=1000)
    box.clock.advance(10)
    await box.sweep()
    assert texts_of(await box.page(before)) == ["long"]


async def test_readers_who_ask_at_once_get_their_own_pages(box: Box) -> None:
    others = [box.of(b"inbox number %3d" % number) for number in range(30)]
    asking = list[Awaitable[Page]]()
    for other in others:
        await other.claim()
        cursor = await other.cursor()
        await other.deliver(f"for {other.inbox!r}")
        asking += [other.page(), other.page(cursor, 1)]
    asking.insert(7, box.of(b"nobody's inbox..").page())
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(refused := found.pop(7), Refused)
    assert refused.code == "no_inbox"
    pages = [page for page in found if isinstance(page, Page)]
    assert [texts_of(page) for page in pages] == [[f"for {other.inbox!r}"] for other in others for _ in range(2)]


async def test_an_expired_entry_is_not_in_the_feed(box: Box) -> None:
    cursor = await box.cursor()
    await box.deliver("short", life=10)
    box.clock.advance(10)
    page = await box.page(cursor)
    assert (page.messages, page.read) == ((), ())
    assert page.cursor != cursor  # it is past the entry


async def test_change_numbers_start_where_the_claim_says(box: Box) -> None:
    assert await box.cursor() == Cursor(ADMISSION.generation, ADMISSION.first_change, ADMISSION.first_change)
    await box.deliver("opaque")
    assert (await box.cursor()).change == ADMISSION.first_change + 1
