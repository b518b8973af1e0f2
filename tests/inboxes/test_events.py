"""`GET /v1/events`: the feed as server-sent events, and how a stream ends."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inbox_server.clock import UnixTime
from inbox_server.inboxes.follow import PING_SECONDS, Following
from inbox_server.inboxes.wakeups import MAX_WAITING_READERS, Wakeups
from inbox_server.protocol.feed_json import MAX_EVENT_ENTRIES, MAX_WAIT_SECONDS, AskedEvents
from inbox_server.protocol.tokens import CLOCK_SKEW_SECONDS
from inbox_server.server import WAKEUPS
from inbox_server.store.contract import Cursor, Page, Unread
from inbox_server.world.local_world import World
from tests.conftest import HandClock
from tests.support.live import Event, Live, live_server, open_stream
from tests.support.requests import Answer, at, check_common_headers, check_problem, id_of


@pytest.fixture
async def live(world: World, tmp_path: Path) -> AsyncIterator[Live]:
    async with live_server(world, tmp_path / "live") as live:
        yield live


def texts_of(event: Event) -> list[str]:
    assert event.name == "state"
    assert event.id == event.data["cursor"]
    return [entry["message_id"] for entry in event.data["messages"]]


async def test_a_stream_begins_with_the_list_and_goes_on_with_what_comes(live: Live) -> None:
    await live.deliver("one")
    async with open_stream(live.owner) as stream:
        first = await stream.next()
        assert texts_of(first) == ["one"]
        assert "read" not in first.data
        await live.deliver("two")
        second = await stream.next()
        assert (texts_of(second), second.data["read"]) == (["two"], [])
        await live.owner.acknowledge(id_of("one"))
        third = await stream.next()
        assert (texts_of(third), third.data["read"]) == ([], [id_of("one")])


async def test_an_empty_inbox_tells_its_cursor_first(live: Live) -> None:
    async with open_stream(live.owner) as stream:
        first = await stream.next()
        assert texts_of(first) == []
        await live.deliver("one")
        assert texts_of(await stream.next()) == ["one"]


async def test_an_event_is_the_page_that_the_list_gives(live: Live) -> None:
    await live.deliver("one", "two", "three")
    async with open_stream(live.owner, limit=2) as stream:
        pages = [(await stream.next()).data, (await stream.next()).data]
    first = (await live.owner.unread(limit=2)).json()
    assert pages == [first, (await live.owner.unread(limit=2, after=first["cursor"])).json()]


async def test_a_stream_goes_on_after_its_last_event_id(live: Live) -> None:
    async with open_stream(live.owner) as stream:
        cursor = (await stream.next()).id
    await live.deliver("while away")
    async with open_stream(live.owner, cursor) as stream:
        assert texts_of(await stream.next()) == ["while away"]
        cursor = (await live.owner.unread()).json()["cursor"]
    async with open_stream(live.owner, cursor) as stream:
        assert (await anext(stream)).comment == "ping"  # nothing new, and the answer has begun all the same
        await live.deliver("since")
        assert texts_of(await stream.next()) == ["since"]


async def test_every_device_hears_the_same(live: Live) -> None:
    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(open_stream(live.owner)) for _ in range(5)]
        for stream in streams:
            await stream.next()
        await live.deliver("for all")
        await live.owner.acknowledge(id_of("for all"))
        for stream in streams:
            read: list[str] = []
            while not read:
                read = (await stream.next()).data["read"]
            assert read == [id_of("for all")]


async def test_a_stream_is_what_proxies_do_not_keep(live: Live) -> None:
    async with open_stream(live.owner) as stream:
        headers = stream.answer.headers
        assert stream.answer.status == 200
        assert headers["Content-Type"] == "text/event-stream"  # libraries compare it for equality
        assert headers["Content-Encoding"] == "identity"
        assert headers["X-Accel-Buffering"] == "no"
        assert "Content-Length" not in headers
        check_common_headers(Answer(200, headers, b""))


async def test_a_stream_ends_when_its_token_is_taken_no_more_and_says_so(live: Live, clock: HandClock) -> None:
    bend = {"iat": clock() - 60, "exp": clock() + 1 - CLOCK_SKEW_SECONDS}
    async with open_stream(live.owner, bend=bend) as stream:
        assert texts_of(await stream.next()) == []
        clock.advance(1)
        assert await stream.next() == Event("end", data={"reason": "token_expired"}, retry=10_000)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    async with open_stream(live.owner, bend=bend) as stream:  # as a library asks again, with the same token
        assert (await stream.refusal()).json()["code"] == "bad_token"


async def test_a_stream_of_a_token_that_is_just_over_tells_what_is_there_and_what_comes(
    live: Live, clock: HandClock
) -> None:
    await live.deliver("one")
    async with open_stream(live.owner, bend={"iat": clock() - 40, "exp": clock() - 10}) as stream:
        assert texts_of(await stream.next()) == ["one"]
        await live.deliver("two")
        assert texts_of(await stream.next()) == ["two"]


async def test_the_first_state_says_when_to_ask_again_and_no_later_one(live: Live) -> None:
    async with open_stream(live.owner) as stream:
        first = await stream.next()
        await live.deliver("one")
        second = await stream.next()
    assert first.retry is not None
    assert 2_000 <= first.retry <= 10_000
    assert second.retry is None
    async with open_stream(live.owner, second.id) as stream:
        assert (await anext(stream)).comment == "ping"
        await live.deliver("two")
        assert (await stream.next()).retry is not None  # the first of this stream


async def test_an_event_has_a_hundred_entries_at_most_and_the_rest_follows(live: Live) -> None:
    texts = [f"{number:0>1024}" for number in range(MAX_EVENT_ENTRIES + 1)]
    await live.deliver(*texts)
    headers = {"Authorization": f"Bearer {live.owner.owner_token('read')}"}
    async with live.owner.session.get(f"{live.owner.url}/v1/events?limit=1000", headers=headers) as answer:
        lines: list[bytes] = []
        while len(lines) < 2:
            line = await answer.content.readuntil(b"\n")
            lines += [line] if line.startswith(b"data:") else []
    assert len(lines[0]) < 128 * 1024  # what readers on aiohttp take
    pages = [json.loads(line.removeprefix(b"data:")) for line in lines]
    assert [[entry["message_id"] for entry in page["messages"]] for page in pages] == [texts[:-1], texts[-1:]]
    assert [page["more"] for page in pages] == [True, False]


async def test_closeafter_makes_it_a_long_poll(live: Live) -> None:
    async with open_stream(live.owner, closeafter="state") as stream:
        cursor = (await stream.next()).id
        await live.deliver("one", "two")
        assert texts_of(await stream.next())[0] == "one"
        assert await stream.next() == Event("end", data={"reason": "closeafter"}, retry=10_000)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    async with open_stream(live.owner, cursor, closeafter="state") as stream:
        assert texts_of(await stream.next()) == ["one", "two"]
        assert (await stream.next()).data == {"reason": "closeafter"}


async def test_a_stop_ends_every_stream_and_says_so(live: Live) -> None:
    async with open_stream(live.owner) as one, open_stream(live.owner) as other:
        for stream in (one, other):
            await stream.next()
        live.app[WAKEUPS].stop()
        for stream in (one, other):
            last = await stream.next()
            assert (last.name, last.data) == ("end", {"reason": "stopping"})
            assert last.retry is not None
            assert 2_000 <= last.retry <= 10_000


async def test_readers_of_a_server_that_stops_are_told_to_come_back_at_different_times() -> None:
    draws = itertools.count()
    following = Following(_Empty(), wakeups := Wakeups(), lambda: UnixTime(0), lambda n: next(draws).to_bytes(n))  # type: ignore[arg-type]
    wakeups.stop()
    told = []
    for _ in range(3):
        events = following.events(b"i" * 16, AskedEvents(None, 100, closes=False), until=UnixTime(100))
        told.append([event async for event in events][-1])
    assert len({event.split(b"retry: ")[1] for event in told}) == 3


async def test_a_stream_of_a_deleted_inbox_ends_and_says_so(live: Live) -> None:
    async with open_stream(live.owner) as stream:
        await stream.next()
        await live.owner.give_up()
        assert await stream.next() == Event("end", data={"reason": "no_inbox"}, retry=10_000)


async def test_a_cursor_from_before_a_new_claim_is_refused_before_the_stream(live: Live, clock: HandClock) -> None:
    async with open_stream(live.owner) as stream:
        cursor = (await stream.next()).id
    await live.owner.give_up()
    clock.advance(1)
    await live.owner.claim({"accept": "anyone"})
    async with open_stream(live.owner, cursor) as stream:
        check_problem(await stream.refusal(), "cursor_gone")


async def test_an_inbox_that_nobody_claimed_has_no_stream(live: Live) -> None:
    await live.owner.give_up()
    async with open_stream(live.owner) as stream:
        check_problem(await stream.refusal(), "no_inbox")


async def test_for_a_seventeenth_reader_the_stream_that_was_silent_for_longest_gives_way(live: Live) -> None:
    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(open_stream(live.owner)) for _ in range(MAX_WAITING_READERS)]
        for stream in streams:
            await stream.next()
        newest = await stack.enter_async_context(open_stream(live.owner))
        assert await streams[0].next() == Event("end", data={"reason": "replaced"}, retry=10_000)
        with pytest.raises(StopAsyncIteration):
            await anext(streams[0])
        held = asyncio.create_task(live.owner.unread(wait=MAX_WAIT_SECONDS))
        assert (await streams[1].next()).data == {"reason": "replaced"}
        await newest.next()
        await live.deliver("for all the others")
        for stream in (*streams[2:], newest):
            assert texts_of(await stream.next()) == ["for all the others"]
        assert len((await held).json()["messages"]) == 1
    await live.waiting(0)  # a client that leaves is noticed at once, not at the next ping


async def test_held_answers_give_no_place_to_a_stream(live: Live) -> None:
    async with asyncio.TaskGroup() as group:
        held = [group.create_task(live.owner.unread(wait=MAX_WAIT_SECONDS)) for _ in range(MAX_WAITING_READERS)]
        await live.waiting(MAX_WAITING_READERS)
        async with open_stream(live.owner) as stream:
            check_problem(await stream.refusal(), "too_many")
        await live.deliver("one")
    assert all(request.result().status == 200 for request in held)


@pytest.mark.parametrize(
    ("query", "member"),
    [
        ({"closeafter": "now"}, "closeafter"),
        ({"limit": 0}, "limit"),
        ({"after": "x"}, "query"),
        ({"wait": 3}, "query"),
        ({"access_token": "x"}, "query"),
    ],
)
async def test_what_a_stream_does_not_take_is_refused(live: Live, query: dict[str, Any], member: str) -> None:
    async with open_stream(live.owner, **query) as stream:
        check_problem(await stream.refusal(), "bad_request", member)


async def test_a_last_event_id_of_another_server_is_refused(live: Live) -> None:
    async with open_stream(live.owner, "17") as stream:
        check_problem(await stream.refusal(), "bad_cursor", "Last-Event-ID")


async def test_a_stream_needs_a_reading_token(live: Live) -> None:
    check_problem(await live.owner.send("GET", "/v1/events"), "no_token")
    check_problem(await live.owner.send("GET", "/v1/events", token=live.owner.owner_token("ack")), "bad_token", "scope")


async def test_a_notice_is_told_to_every_new_stream_and_closes_none(world: World, tmp_path: Path) -> None:
    async with live_server(world, tmp_path / "small", {"inbox_entries": 1}) as live:
        await live.deliver("one")
        cursor = (await live.owner.unread()).json()["cursor"]
        answer = await at(live.owner).deliver("two", recipient=live.owner.key.address)
        check_problem(answer, "inbox_full")
        for _ in range(2):
            async with open_stream(live.owner, cursor, closeafter="state") as stream:
                told = await stream.next()
                assert (told.data["messages"], told.data["notices"]) == ([], ["inbox_full"])
                await live.waiting(1)
        async with open_stream(live.owner, cursor, closeafter="state") as stream:
            await stream.next()
            await live.owner.acknowledge(id_of("one"))
            assert (await stream.next()).data["read"] == [id_of("one")]
            assert (await stream.next()).data == {"reason": "closeafter"}


async def test_two_last_event_ids_are_refused(live: Live) -> None:
    headers = [
        ("Authorization", f"Bearer {live.owner.owner_token('read')}"),
        ("Last-Event-ID", "a"),
        ("Last-Event-ID", "b"),
    ]
    async with live.owner.session.get(f"{live.owner.url}/v1/events", headers=headers) as answer:
        check_problem(Answer(answer.status, answer.headers, await answer.read()), "bad_request", "Last-Event-ID")


class _Full:
    """A store with one entry, and then with nothing new."""

    async def unread(self, inbox: bytes, *, after: Cursor | None, limit: int, now: UnixTime) -> Page:
        entries = () if after else (Unread(b"d" * 32, "the text", UnixTime(9)),)
        return Page(entries, (), Cursor(b"g" * 8, 1, 1), more=False)


async def test_nothing_that_was_told_stays_in_memory_while_a_stream_waits() -> None:
    following = Following(_Full(), wakeups := Wakeups(), lambda: UnixTime(0), bytes)  # type: ignore[arg-type]
    events = following.events(b"i" * 16, AskedEvents(None, 100, closes=False), until=UnixTime(100))
    async with contextlib.aclosing(events), asyncio.timeout(5):
        assert b"the text" in await anext(events)
        waiting = asyncio.ensure_future(anext(events))
        while not events.ag_await:  # type: ignore[attr-defined]  # noqa: ASYNC110 — until it waits
            await asyncio.sleep(0)
        assert "the text" not in repr(events.ag_frame.f_locals)  # type: ignore[attr-defined]
        wakeups.stop()
        assert await waiting == b": ping\n\n"


class _Empty:
    async def unread(self, inbox: bytes, *, after: Cursor | None, limit: int, now: UnixTime) -> Page:
        return Page((), (), Cursor(b"g" * 8, 1, 1), more=False)


async def test_a_silent_stream_pings() -> None:
    assert PING_SECONDS < 60, "proxies cut what is silent for a minute"
    following = Following(_Empty(), Wakeups(), lambda: UnixTime(0), bytes, ping_seconds=0.001)  # type: ignore[arg-type]
    events = following.events(b"i" * 16, AskedEvents(None, 100, closes=False), until=UnixTime(100))
    async with contextlib.aclosing(events), asyncio.timeout(5):
        assert (await anext(events)).startswith(b"id: ")
        assert [await anext(events) for _ in range(3)] == [b": ping\n\n"] * 3
