"""Waiting for news: told once, resumed where it stopped, listed anew when the cursor is gone, with growing pauses."""

import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from string import ascii_lowercase

import pytest

from inbox_server.client.delivery import id_of
from inbox_server.client.events import BadStream, Event, EventReader
from inbox_server.client.inbox_api import back_off
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.reports import Arrived, Connection, News, Notice, WasRead
from inbox_server.client.watching import Watching
from inbox_server.world.local_world import World
from tests.client.test_reading import pointed
from tests.support.clients import PROBLEM, Scissors, Scripted, opened, soon
from tests.support.patience import PATIENCE_SECONDS


async def take(client: InboxClient, count: int) -> list[News]:
    """So many news, without what is told of connections that are up."""
    taken: list[News] = []
    async with asyncio.timeout(PATIENCE_SECONDS), contextlib.aclosing(client.watch()) as all_news:
        async for news in all_news:
            if not (isinstance(news, Connection) and news.is_up):
                taken.append(news)
            if len(taken) == count:
                return taken
    raise AssertionError("the watch ended")


async def contents(client: InboxClient, all_news: list[News]) -> list[str | bytes]:
    return [(await client.fetch(news.entry)).content for news in all_news if isinstance(news, Arrived)]


async def test_what_came_before_and_what_comes_is_told_once(world: World, alice: InboxClient, bob: InboxClient) -> None:
    await alice.send("bob.id", "before")
    told: list[str | bytes] = []
    async with asyncio.timeout(PATIENCE_SECONDS), contextlib.aclosing(bob.watch()) as all_news:
        async for news in all_news:
            if isinstance(news, Arrived):
                told += await contents(bob, [news])
                if told == ["before"]:
                    await alice.send("bob.id", "meanwhile")
                if len(told) == 2:
                    await bob.acknowledge([news.entry])
            if isinstance(news, WasRead):
                break
    assert told == ["before", "meanwhile"]


async def test_a_watch_goes_on_where_the_last_one_stopped(world: World, alice: InboxClient, bob: InboxClient) -> None:
    await alice.send("bob.id", "one")
    assert await contents(bob, await take(bob, 1)) == ["one"]
    # It was taken, and the watch was closed before it came back for more: told again, rather than lost.
    assert await contents(bob, await take(bob, 1)) == ["one"]
    await alice.send("bob.id", "two")
    assert await contents(bob, await take(bob, 2)) == ["one", "two"]
    async with asyncio.timeout(PATIENCE_SECONDS), contextlib.aclosing(bob.watch()) as all_news:
        async for news in all_news:
            if isinstance(news, Arrived) and await contents(bob, [news]) == ["two"]:
                await alice.send("bob.id", "three")
            if isinstance(news, Arrived) and await contents(bob, [news]) == ["three"]:
                break
    assert await contents(bob, await take(bob, 1)) == ["three"]


def stream(*pages: dict[str, object], end: str | None = None) -> bytes:
    events = [f"id: {page['cursor']}\nevent: state\ndata: {json.dumps(page)}\n\n" for page in pages]
    if end:
        events.append(f"event: end\ndata: {json.dumps({'reason': end})}\n\n")
    return ": hello\n\n".join(["", *events]).encode()


def page(*texts: str, cursor: str, read: Sequence[str] = (), **more: object) -> dict[str, object]:
    """A page of entries with these texts."""
    messages = [{"id": id_of(text), "message_id": text, "expires": 4_000_000_000} for text in texts]
    was_read = {"read": [id_of(text) for text in read]} if read else {}
    return {"messages": messages, "cursor": cursor, "more": False, "unheard_of": 1, **was_read, **more}


def scripted_inbox(bob: InboxClient, server: Scripted) -> None:
    bob.account.profile.change(lambda profile: replace(profile, inboxes=(server.url,)))


def arrived(all_news: Sequence[News]) -> list[str]:
    """Their texts, as far as they have one letter."""
    texts = {id_of(text): text for text in ascii_lowercase}
    return [texts.get(id, id) for news in all_news if isinstance(news, Arrived) for id in news.entry.ids]


def acknowledged(server: Scripted) -> list[list[str]]:
    """By each request."""
    return [json.loads(asked.body)["ids"] for asked in server.asked if asked.path == "/v1/messages/ack"]


async def test_a_stream_that_ends_is_resumed_by_its_last_cursor_and_nothing_is_told_twice(
    bob: InboxClient, server: Scripted
) -> None:
    scripted_inbox(bob, server)
    server.answers += [
        (200, {}, stream(page("a", "b", cursor="one"), page("a", cursor="two", read=["b"]), end="token_expired")),
        (200, {}, stream(page("c", cursor="three", notices=["inbox_full"]), end="stopping")),
        (200, {}, stream(page("a", "c", "d", cursor="four"))),
        (200, {}, b""),
    ]
    told = [news for news in await take(bob, 9) if not isinstance(news, Connection)]
    assert arrived(told) == ["a", "b", "c", "d"]
    assert [news for news in told if not isinstance(news, Arrived)] == [
        WasRead(id_of("b")),
        Notice(server.url, "inbox_full"),
    ]
    assert [asked.last_event_id for asked in server.asked[:4]] == [None, "two", "three", "four"]


async def test_a_stream_that_ends_cleanly_without_an_end_event_was_cut_off_and_nothing_is_missed(
    bob: InboxClient, server: Scripted
) -> None:
    """As Caddy, h2o, lighttpd and nginx over HTTP/1.0 end an answer when the server behind them is killed."""
    scripted_inbox(bob, server)
    second, third = stream(page("b", cursor="two")), stream(page("c", cursor="three"), end="token_expired")
    server.answers += [
        (200, {}, stream(page("a", cursor="one")) + second.removesuffix(b"\n")),  # all but the line that ends it
        (200, {}, second + b"event: en"),
        (200, {}, third),
        (200, {}, b""),
    ]
    told = await take(bob, 6)
    cut = f"{server.url} cut the stream off"
    assert [news.detail if isinstance(news, Connection) else arrived([news]) for news in told] == [
        *(["a"], cut),
        *(["b"], cut),
        *(["c"], cut),  # `token_expired` is an end, of which nobody hears: this one is of the empty stream after it
    ]
    assert [asked.last_event_id for asked in server.asked[:4]] == [None, "one", "two", "three"]


async def test_a_stream_whose_place_another_reader_took_is_begun_anew_a_minute_later(
    bob: InboxClient, server: Scripted
) -> None:
    scripted_inbox(bob, server)
    server.answers += [(200, {}, stream(page("a", cursor="one"), end="replaced")), (200, {}, b"")]
    told = await take(bob, 2)
    assert arrived(told) == ["a"]
    assert isinstance(told[1], Connection)
    assert told[1].again_seconds is not None
    assert told[1].again_seconds >= 60
    assert "another reader" in told[1].detail


async def test_a_cursor_that_is_gone_is_left_and_everything_listed_anew(bob: InboxClient, server: Scripted) -> None:
    scripted_inbox(bob, server)
    gone = json.dumps({"status": 410, "code": "cursor_gone", "detail": "gone."}).encode()
    server.answers += [
        (200, {}, stream(page("a", cursor="one"), end="cursor_gone")),
        (200, {}, stream(page("a", "b", cursor="two"))),
        (410, {"Content-Type": PROBLEM}, gone),
        (200, {}, stream(page("a", "b", "c", cursor="three"))),
        (200, {}, b""),
    ]
    assert arrived(await take(bob, 4)) == ["a", "b", "c"]
    assert [asked.last_event_id for asked in server.asked[:4]] == [None, None, "two", None]


async def test_what_was_read_and_is_listed_again_is_acknowledged_again(bob: InboxClient, server: Scripted) -> None:
    """As after a restore from a copy that was made before it was read."""
    scripted_inbox(bob, server)
    server.answers += [
        (200, {}, stream(page("a", cursor="one"), page(cursor="two", read=["a"]), end="cursor_gone")),
        (200, {}, stream(page("a", "b", cursor="three"), end="token_expired")),
        (204, {}, b""),
        (200, {}, b""),
    ]
    assert [type(news) for news in await take(bob, 3)] == [Arrived, WasRead, Arrived]
    assert acknowledged(server)[0] == [id_of("a")]


async def test_a_message_delivered_as_two_encryptions_is_told_once_and_read_as_one(
    bob: InboxClient, server: Scripted
) -> None:
    scripted_inbox(bob, server)
    first, second = page("a", cursor="one"), page("b", "c", cursor="two")
    for document in (first, second):
        for message in document["messages"]:  # type: ignore[attr-defined]
            if message["message_id"] != "c":
                message["message_id"] = pointed(bob)
                message["id"] = id_of(message["message_id"])
    one, other = (document["messages"][0]["id"] for document in (first, second))  # type: ignore[index]
    read = {**page(cursor="three"), "read": [one]}
    server.answers += [
        (200, {}, stream(first, second, read, end="token_expired")),
        (204, {}, b""),
        (200, {}, b""),
    ]
    assert arrived(await take(bob, 4)) == [one, "c"]
    assert acknowledged(server)[0] == [other]


async def test_watches_that_count_go_on_where_the_last_one_stopped(bob: InboxClient, server: Scripted) -> None:
    scripted_inbox(bob, server)
    server.answers.append((200, {}, stream(page("a", "b", "c", cursor="one"), page("d", cursor="two"))))
    told: list[str] = []
    for count in (1, 1, 2):
        async with asyncio.timeout(PATIENCE_SECONDS), contextlib.aclosing(bob.watch(count=count)) as all_news:
            told += arrived([news async for news in all_news])
    assert told == ["a", "b", "c", "d"]
    assert bob.account.profile.read().cursors == {server.url: "one"}


async def test_a_server_that_says_when_to_come_back_is_left_alone_so_long(bob: InboxClient, server: Scripted) -> None:
    scripted_inbox(bob, server)
    server.say(429, {"status": 429, "code": "too_many", "detail": "x."}, Retry_After="40")
    down = [news for news in await take(bob, 3) if isinstance(news, Connection)]
    assert len(down) == 3
    for news in down:
        assert 40 <= news.again_seconds <= 40 + 60
        assert news.detail == "x."


def test_back_off_is_full_jitter_up_to_a_minute() -> None:
    assert [back_off(failures, 1.0) for failures in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert back_off(5, 0.0) == 0
    assert back_off(5, 0.5) == 16
    assert back_off(10**9, 1.0) == 60


EVENTS = (
    b": a comment\r\nid: 1\nevent: state\r\ndata: {\ndata:}\n\nid: 2\ndata: x\n\n\n\nevent: end\ndata: {}\n\ndata: cut"
)


async def test_a_token_is_renewed_before_it_ends_and_nobody_hears_of_it(
    world: World, alice: InboxClient, bob: InboxClient
) -> None:
    streams = Scissors(at=0, where="request")
    told: list[News] = []
    async with opened(world, bob.account.profile, scissors=streams) as watcher:
        watching = Watching(watcher.account, soon, stream_seconds=0.05)
        async with asyncio.timeout(PATIENCE_SECONDS), contextlib.aclosing(watching.news()) as all_news:
            async for news in all_news:
                told.append(news)
                if streams.seen >= 6:  # it asks for nothing but streams
                    break
                await alice.send("bob.id", f"message {len(told)}")
    assert [news for news in told if isinstance(news, Connection)] == [Connection(world.inbox_url, is_up=True)]
    texts = await contents(bob, told)
    assert texts == [f"message {number}" for number in range(1, len(texts) + 1)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_the_same_in_whatever_pieces_they_come(size: int) -> None:
    reader = EventReader()
    chunks = [EVENTS[start : start + size] for start in range(0, len(EVENTS), size)]
    events = [event for chunk in chunks for event in reader.read(chunk)]
    assert events == [Event("1", "state", "{\n}"), Event("2", "message", "x"), Event("2", "end", "{}")]


def test_a_stream_without_end_or_in_another_encoding_is_left() -> None:
    with pytest.raises(BadStream):
        list(EventReader().read(b"x" * ((4 << 20) + 1)))
    with pytest.raises(BadStream):
        list(EventReader().read((b"data: " + b"x" * 1000 + b"\n") * 5000))
    with pytest.raises(BadStream):
        list(EventReader().read(b"data: \xff\n"))
