"""Several inboxes: two real servers, one killed in the middle; what is reported, and what is caught up with."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.reports import Arrived, Connection
from inbox_server.clock import system_clock
from inbox_server.world.local_world import World, running_world
from tests.conftest import APP
from tests.support.clients import client_of
from tests.support.serving import Deployment, deploy

_MESSAGES = 24


@pytest.fixture
async def real_world(tmp_path: Path) -> AsyncIterator[World]:
    """At the time that it is: the servers below are processes of their own."""
    async with running_world(tmp_path / "world", clock=system_clock) as world:
        yield world


def deployed(world: World, folder: Path) -> Deployment:
    reader = world.reader_origin
    return deploy(folder, names__services=[world.names_url], outgoing__allow=[reader])


async def everything_read(client: InboxClient, wanted: int, killed: asyncio.Event) -> list[str | bytes]:
    """What a watch tells, fetched and acknowledged, until so many came; `killed` is set after a third of them."""
    contents: list[str | bytes] = []
    async with contextlib.aclosing(client.watch()) as all_news:
        async for news in all_news:
            if isinstance(news, Arrived):
                contents.append((await client.fetch(news.entry)).content)
                await client.acknowledge([news.entry])
                if len(contents) == wanted // 3:
                    killed.set()
                if len(contents) == wanted:
                    return contents
    raise AssertionError("the watch ended")


async def test_with_one_of_two_servers_killed_in_the_middle_nothing_is_missing_and_nothing_double(
    real_world: World, tmp_path: Path
) -> None:
    first, second = deployed(real_world, tmp_path / "a"), deployed(real_world, tmp_path / "b")
    async with first.running(), contextlib.AsyncExitStack() as stack:
        process = await stack.enter_async_context(second.running())
        bob = await stack.enter_async_context(client_of(real_world, "bob.id", first.url, second.url, app=APP))
        alice = await stack.enter_async_context(client_of(real_world, "alice.id", app=APP))
        kill = asyncio.Event()
        reading = asyncio.create_task(everything_read(bob, _MESSAGES, kill))
        sent = []
        for number in range(_MESSAGES):
            if number == _MESSAGES // 2:
                await kill.wait()
                process.send_signal(signal.SIGKILL)
                await process.wait()
            sent.append(await alice.send("bob.id", f"message {number}"))
        half = _MESSAGES // 2
        assert all(report.stored == (first.url, second.url) for report in sent[:half])
        assert all(report.stored == (first.url,) for report in sent[half:])  # a send succeeds with one
        assert {report.outcomes[1].code for report in sent[half:]} == {"unreachable"}

        read = await asyncio.wait_for(reading, 30)
        assert sorted(map(str, read)) == sorted(f"message {number}" for number in range(_MESSAGES))
        unread = await bob.unread()
        assert [(outcome.state, outcome.code) for outcome in unread.outcomes] == [
            ("done", ""),
            ("later", "unreachable"),
        ]
        assert unread.entries == ()

        await stack.enter_async_context(second.running())
        assert [report.stored for report in await alice.retry()] == [(first.url, second.url)] * half
        assert alice.account.outbox.read() == {}
        assert (await bob.unread()).entries == ()  # what was read is told to the one that was down
        assert [outcome.answer["unread"] for outcome in await bob.settings()] == [0, 0]
        assert bob.account.profile.read().to_ack == {}


async def test_a_watch_tells_that_a_server_is_down_and_catches_up_when_it_is_back(
    real_world: World, tmp_path: Path
) -> None:
    place = deployed(real_world, tmp_path / "a")
    async with contextlib.AsyncExitStack() as stack:
        process = await stack.enter_async_context(place.running())
        bob = await stack.enter_async_context(client_of(real_world, "bob.id", place.url, app=APP))
        alice = await stack.enter_async_context(client_of(real_world, "alice.id", app=APP))
        all_news = await stack.enter_async_context(contextlib.aclosing(bob.watch()))
        assert await anext(all_news) == Connection(place.url, is_up=True)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        down = await anext(all_news)
        assert isinstance(down, Connection)
        assert not down.is_up
        assert (await alice.send("bob.id", "while it is down")).stored == ()

        await stack.enter_async_context(place.running())
        assert [report.stored for report in await alice.retry()] == [(place.url,)]
        arrived = [news async for news in _until_arrived(all_news)]
        assert [(await bob.fetch(news.entry)).content for news in arrived] == ["while it is down"]


async def _until_arrived(all_news: AsyncIterator[object]) -> AsyncIterator[Arrived]:
    async for news in all_news:
        if isinstance(news, Arrived):
            yield news
            return
