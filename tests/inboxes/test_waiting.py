"""Held answers: `GET /v1/messages?wait=` is answered when something changes, and not later than it says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inbox_server.clock import UnixTime
from inbox_server.inboxes.follow import Following
from inbox_server.inboxes.wakeups import MAX_WAITING_READERS, Wakeups
from inbox_server.protocol.feed_json import MAX_WAIT_SECONDS, Asked
from inbox_server.protocol.tokens import CLOCK_SKEW_SECONDS
from inbox_server.server import WAKEUPS
from inbox_server.store.contract import Cursor, Page, Unread
from inbox_server.world.local_world import World
from tests.support.live import Live, live_server
from tests.support.requests import Answer, at, check_problem, id_of

INBOX = b"i" * 16


@pytest.fixture
async def live(world: World, tmp_path: Path) -> AsyncIterator[Live]:
    async with live_server(world, tmp_path / "live") as live:
        yield live


@contextlib.asynccontextmanager
async def held(live: Live, **query: Any) -> AsyncIterator[asyncio.Task[Answer]]:
    """A request that is waiting already."""
    request = asyncio.create_task(live.owner.unread(wait=MAX_WAIT_SECONDS, **query))
    await live.waiting(1)
    yield request
    if not request.done():
        request.cancel()
        await asyncio.wait([request])


async def test_a_held_answer_comes_with_a_delivery(live: Live) -> None:
    async with held(live) as request:
        await live.deliver("opaque")
        assert [entry["message_id"] for entry in (await request).json()["messages"]] == ["opaque"]
    assert len(live.app[WAKEUPS]) == 0


async def test_a_held_answer_comes_with_what_another_device_read(live: Live) -> None:
    await live.deliver("opaque")
    cursor = (await live.owner.unread()).json()["cursor"]
    async with held(live, after=cursor) as request:
        await live.owner.acknowledge(id_of("opaque"))
        document = (await request).json()
        assert (document["messages"], document["read"]) == ([], [id_of("opaque")])


async def test_what_is_there_is_answered_at_once(live: Live) -> None:
    await live.deliver("opaque")
    assert len((await live.owner.unread(wait=MAX_WAIT_SECONDS)).json()["messages"]) == 1


async def test_another_inbox_s_delivery_does_not_end_the_waiting(live: Live) -> None:
    other = Live(at(live.owner), live.app)
    await other.owner.claim({"accept": "anyone"})
    async with held(live) as request:
        await other.deliver("for somebody else")
        await live.deliver("for me")
        assert [entry["message_id"] for entry in (await request).json()["messages"]] == ["for me"]


async def test_nothing_is_answered_when_the_seconds_are_over_and_the_next_one_waits_again(live: Live) -> None:
    cursor = (await live.owner.unread()).json()["cursor"]
    token = live.owner.owner_token("read")
    path = f"/v1/messages?after={cursor}&wait=1"
    answer = await live.owner.send("GET", path, token=token)
    assert (answer.status, answer.json()["messages"], answer.json()["read"]) == (200, [], [])
    again = asyncio.create_task(live.owner.send("GET", path, token=token))
    await live.waiting(1)  # it is not answered from what is remembered of the first
    await live.deliver("opaque")
    assert len((await again).json()["messages"]) == 1


async def test_waiting_ends_when_the_token_is_taken_no_more(live: Live) -> None:
    now = live.owner.clock()
    answer = await live.owner.unread(wait=MAX_WAIT_SECONDS, bend={"iat": now - 90, "exp": now + 1 - CLOCK_SKEW_SECONDS})
    assert (answer.status, answer.json()["messages"]) == (200, [])


async def test_a_refusal_while_waiting_is_an_answer(live: Live) -> None:
    async with held(live) as request:
        assert (await live.owner.give_up()).status == 204
        check_problem(await request, "no_inbox")


async def test_a_new_notice_ends_the_waiting(world: World, tmp_path: Path) -> None:
    async with live_server(world, tmp_path / "small", {"inbox_entries": 1}) as live:
        await live.deliver("one")
        cursor = (await live.owner.unread()).json()["cursor"]
        async with held(live, after=cursor) as request:
            answer = await at(live.owner).deliver("two", recipient=live.owner.key.address)
            check_problem(answer, "inbox_full")
            assert (await request).json()["notices"] == ["inbox_full"]
        async with held(live, after=cursor) as request:  # known by now, so no news
            await live.owner.acknowledge(id_of("one"))
            assert (await request).json()["read"] == [id_of("one")]


async def test_a_client_that_leaves_gives_its_place_back(live: Live) -> None:
    async with held(live):
        pass
    await live.waiting(0)


async def test_one_inbox_has_sixteen_waiting_readers(live: Live) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(live.owner.unread(wait=MAX_WAIT_SECONDS)) for _ in range(MAX_WAITING_READERS)]
        await live.waiting(MAX_WAITING_READERS)
        check_problem(await live.owner.unread(wait=1), "too_many")
        assert (await live.owner.unread()).status == 200
        await live.deliver("opaque")
    assert all(len(request.result().json()["messages"]) == 1 for request in waiting)
    assert (await live.owner.unread(wait=1)).status == 200


async def test_a_stop_answers_those_who_wait_at_once(world: World, tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        live = await stack.enter_async_context(live_server(world, tmp_path / "stopping"))
        request = await stack.enter_async_context(held(live))
        live.app[WAKEUPS].stop()
        assert (await request).json()["messages"] == []
        assert (await live.owner.unread(wait=MAX_WAIT_SECONDS)).status == 200  # nor does it begin to wait


@pytest.mark.parametrize("wait", ["", "-1", "56", "1.5", "1e1", " 1", "٣", "100000", "ja"])
async def test_a_wait_is_a_whole_number_of_seconds(live: Live, wait: str) -> None:
    check_problem(await live.owner.unread(wait=wait), "bad_request", "wait")


class _Between:
    """A store to which something is delivered just after it was first read, before the reader waits."""

    def __init__(self, wakeups: Wakeups) -> None:
        self._wakeups = wakeups
        self.reads = 0

    async def unread(self, inbox: bytes, *, after: Cursor | None, limit: int, now: UnixTime) -> Page:
        self.reads += 1
        if self.reads == 1:
            self._wakeups.wake({inbox})
            return Page((), (), Cursor(b"g" * 8, 1, 1), more=False)
        return Page((Unread(b"d" * 32, "opaque", UnixTime(9)),), (), Cursor(b"g" * 8, 2, 2), more=False)


async def test_a_delivery_between_the_reading_and_the_waiting_is_not_missed() -> None:
    wakeups = Wakeups()
    following = Following(_Between(wakeups), wakeups, lambda: UnixTime(0), bytes)  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        page = await following.page(INBOX, Asked(None, 100, 55), until=UnixTime(100))
    assert len(page.messages) == 1
