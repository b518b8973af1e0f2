"""The store's contract: what was read before never hides a change."""

import pytest

from inbox_server.errors import Refused
from inbox_server.store.contract import Cursor
from tests.support.stores import CAROL, Box


async def test_every_kind_of_change_is_seen_by_the_next_reading(box: Box) -> None:
    async def known() -> Cursor:
        assert await box.page(await box.cursor()) == await box.page(await box.cursor())
        return await box.cursor()

    cursor = await known()
    await box.deliver("one", life=50)
    assert [entry.message_id for entry in await box.entries(cursor)] == ["one"]
    cursor = await known()
    await box.deliver("one", life=100)  # a longer life is a change
    assert [entry.expires for entry in await box.entries(cursor)] == [box.clock() + 100]
    cursor = await known()
    await box.acknowledge("one")
    assert len((await box.page(cursor)).read) == 1
    cursor = await known()
    await box.store.forget(box.inbox, issued=box.clock(), request=b"a DELETE request")
    with pytest.raises(Refused, match="no_inbox"):
        await box.page(cursor)
    with pytest.raises(Refused, match="no_inbox"):
        await box.page()


async def test_what_expired_is_not_listed_though_nothing_changed(box: Box) -> None:
    await box.deliver("one", life=50)
    assert await box.texts() == ["one"]
    box.clock.advance(50)
    assert await box.texts() == []


async def test_what_expired_by_a_clock_that_was_ahead_is_listed_when_it_is_set_back(box: Box) -> None:
    await box.deliver("one", life=50)
    box.clock.advance(86_400)
    for _ in range(3):
        assert await box.texts() == []
    box.clock.advance(-86_400)
    assert await box.texts() == ["one"]


async def test_what_the_end_was_read_with_does_not_tell_that_nothing_is_unread(box: Box) -> None:
    await box.deliver("one")
    cursor = await box.cursor()
    for _ in range(3):
        assert (await box.page(cursor)).messages == ()
        assert await box.texts() == ["one"]


async def test_a_change_in_one_inbox_is_none_in_another(box: Box) -> None:
    carol = box.of(CAROL)
    await carol.claim()
    mine, hers = await box.cursor(), await carol.cursor()
    await carol.deliver("for Carol")
    assert (await box.page(mine)).messages == ()
    assert len((await carol.page(hers)).messages) == 1
