"""Watches on real networks: proxies that keep streams, pages to sign in, clocks that are wrong, devices that sleep."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inbox_server.client.delivery import id_of
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.reports import Arrived, Connection, News, Notice, WasRead
from inbox_server.client.tickets import SHEET_WEEKS, WEEK_SECONDS, week_of
from inbox_server.client.watching import Watching
from inbox_server.clock import DAY_SECONDS
from inbox_server.world.local_world import World
from tests.client.test_reading import pointed
from tests.client.test_sealed import settled, talk
from tests.client.test_watching import acknowledged, arrived, page, scripted_inbox, stream, take
from tests.conftest import APP, HandClock
from tests.support.bent import Bend, behind
from tests.support.clients import Scripted, client_of, opened, scripted, soon
from tests.support.patience import PATIENCE_SECONDS
from tests.support.providers import Provider


async def test_behind_a_proxy_that_keeps_streams_until_they_end_held_requests_bring_the_news(
    world: World, tmp_path: Path
) -> None:
    async with (
        behind(tmp_path / "proxied", Bend(buffers=True), clock=world.clock) as proxy,
        client_of(world, "bob.id", app=APP) as bob,
    ):
        await bob.claim({"accept": "anyone"}, inboxes=(proxy.url,))
        scripted_inbox(bob, proxy)  # type: ignore[arg-type]  # of which it needs the URL
        key, own = bob.account.user.key.public, bob.account.own(proxy.url)
        told: list[News] = []
        watching = Watching(bob.account, soon, silence_seconds=0.2)
        async with asyncio.timeout(PATIENCE_SECONDS), contextlib.aclosing(watching.news()) as all_news:
            async for news in all_news:
                told.append(news)
                if isinstance(news, Connection) and news.is_up:
                    await own.deliver(pointed(bob), sender=key, recipient=key)
                if isinstance(news, Arrived):
                    break
    assert [news.is_up for news in told if isinstance(news, Connection)] == [False, True]
    assert isinstance(told[0], Connection)
    assert "did not answer for 0.2 seconds" in told[0].detail


async def test_a_page_to_sign_in_is_no_stream(bob: InboxClient, server: Scripted) -> None:
    scripted_inbox(bob, server)
    server.answers.append((200, {"Content-Type": "text/html"}, b"<html>Sign in to this network</html>"))
    async with asyncio.timeout(PATIENCE_SECONDS), contextlib.aclosing(bob.watch()) as all_news:
        first = await anext(all_news)
    assert isinstance(first, Connection)
    assert (first.is_up, first.detail) == (False, f"{server.url} answered, but not as an inbox server does")


async def test_a_clock_that_is_hours_wrong_is_corrected_without_a_word(world: World, bob: InboxClient) -> None:
    async with (
        opened(world, bob.account.profile, ahead=7200) as late,
        asyncio.timeout(PATIENCE_SECONDS),
        contextlib.aclosing(late.watch()) as all_news,
    ):
        assert await anext(all_news) == Connection(world.inbox_url, is_up=True)


async def _until_awake(bob: InboxClient, sleeps: Callable[[], None], is_so: Callable[[], Awaitable[bool]]) -> None:
    """Watch until it is so. The device sleeps after the first round, and its monotonic clock stands still meanwhile."""
    slept = False

    async def sleep(_: float) -> None:
        nonlocal slept
        if not slept:
            sleeps()
        slept = True
        await asyncio.sleep(0)

    async def watch() -> None:
        async with contextlib.aclosing(Watching(bob.account, sleep, monotonic=lambda: 0.0).news()) as all_news:
            async for _ in all_news:
                pass

    watching = asyncio.create_task(watch())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (await is_so() and slept):
                pass
    finally:
        watching.cancel()


async def test_a_device_that_slept_for_weeks_gives_tickets_for_the_next_ones_when_it_wakes(
    world: World, clock: HandClock
) -> None:
    async with settled(world, "alice.id") as alice, settled(world, "bob.id") as bob:
        await talk(alice, bob, clock)

        async def has_tickets() -> bool:
            weeks = (await bob.account.own(world.inbox_url).settings())["tickets"]
            return week_of(world.clock()) + SHEET_WEEKS - 1 in weeks

        assert await has_tickets()
        await _until_awake(bob, lambda: clock.advance(2 * WEEK_SECONDS), has_tickets)


async def test_a_device_that_slept_for_days_audits_when_it_wakes(
    world: World, provider: Provider, clock: HandClock
) -> None:
    async with client_of(world, "bob.id", provider.url, app=APP) as bob:
        await bob.audit()
        asked: list[str] = []

        def note(path: str, document: dict[str, Any]) -> dict[str, Any]:
            asked.append(path)
            return document

        async def has_audited() -> bool:
            await bob.settings()
            return "/v1/inbox/log" in asked

        provider.lies.append(note)
        await _until_awake(bob, lambda: clock.advance(2 * DAY_SECONDS), has_audited)


async def test_what_another_device_read_while_the_place_was_lost_is_told(bob: InboxClient, server: Scripted) -> None:
    scripted_inbox(bob, server)
    server.answers += [
        (200, {}, stream(page("a", "b", cursor="one"), end="cursor_gone")),
        (200, {}, stream(page("b", cursor="two"))),
        (200, {}, b""),
    ]
    told = await take(bob, 3)
    assert (arrived(told), told[2]) == (["a", "b"], WasRead(id_of("a")))


async def test_what_one_server_lost_and_another_lists_is_unread(bob: InboxClient, server: Scripted) -> None:
    async with scripted() as other:
        bob.account.profile.change(lambda profile: replace(profile, inboxes=(server.url, other.url)))
        server.answers += [
            (200, {}, stream(page("a", cursor="one"), end="cursor_gone")),
            (200, {}, stream(page(cursor="two", notices=["inbox_full"]))),
            (200, {}, b""),
        ]
        other.answers += [(200, {}, stream(page("a", "b", cursor="one"))), (200, {}, b"")]
        told: list[News] = []
        async with asyncio.timeout(PATIENCE_SECONDS), contextlib.aclosing(bob.watch()) as all_news:
            async for news in all_news:
                told.append(news)
                if {"Notice", "b"} <= {*(type(each).__name__ for each in told), *arrived(told)}:
                    break
    assert sorted(arrived(told)) == ["a", "b"]
    assert not any(isinstance(news, WasRead) for news in told)
    assert acknowledged(server) + acknowledged(other) == []


async def test_what_was_lost_and_comes_back_is_told_again(bob: InboxClient, server: Scripted) -> None:
    """Nobody has said that it was read."""
    scripted_inbox(bob, server)
    server.answers += [
        (200, {}, stream(page("a", cursor="one"), end="cursor_gone")),
        (200, {}, stream(page(cursor="two"), page("a", cursor="three"))),
        (200, {}, b""),
    ]
    told = [news for news in await take(bob, 3) if not isinstance(news, Notice)]
    assert (arrived(told), told[1]) == (["a", "a"], WasRead(id_of("a")))
    assert acknowledged(server) == []


@pytest.mark.parametrize("ahead", [86_400, -86_400])
async def test_a_card_is_dated_by_the_time_of_the_inbox(
    world: World, alice: InboxClient, bob: InboxClient, ahead: int
) -> None:
    async with opened(world, bob.account.profile, ahead=ahead) as wrong:
        await wrong.publish((world.inbox_url,))
    assert (await alice.send("bob.id", "hello")).stored == (world.inbox_url,)
