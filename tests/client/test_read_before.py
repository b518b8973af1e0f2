"""What was read stays read, after a restart too: at a server that was restored, and where another device moved to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.reports import Arrived
from inbox_server.world.local_world import World
from tests.conftest import APP
from tests.support.clients import client_of, opened
from tests.support.patience import PATIENCE_SECONDS
from tests.support.providers import Provider


@pytest.fixture
async def bob(world: World, provider: Provider) -> AsyncIterator[InboxClient]:
    async with client_of(world, "bob.id", provider.url, app=APP) as client:
        yield client


@pytest.fixture
async def restored(alice: InboxClient, bob: InboxClient, provider: Provider, tmp_path: Path) -> Provider:
    """From a copy that was made before Bob read what is in it."""
    await alice.send("bob.id", "read before")
    provider.back_up(tmp_path / "copy")
    await bob.acknowledge((await bob.unread()).entries)
    await provider.restore(tmp_path / "copy")
    assert (await bob.account.own(provider.url).settings())["unread"] == 1
    return provider


async def test_a_list_shows_it_to_nobody_again_and_tells_the_server(
    world: World, bob: InboxClient, restored: Provider
) -> None:
    async with opened(world, bob.account.profile) as again:
        assert (await again.unread()).entries == ()
    assert (await bob.account.own(restored.url).settings())["unread"] == 0


async def test_a_watch_tells_nobody_of_it_again_and_tells_the_server(
    world: World, alice: InboxClient, bob: InboxClient, restored: Provider
) -> None:
    await alice.send("bob.id", "new")
    async with (
        opened(world, bob.account.profile) as again,
        asyncio.timeout(PATIENCE_SECONDS),
        contextlib.aclosing(again.watch()) as all_news,
    ):
        async for news in all_news:
            if isinstance(news, Arrived):
                assert (await again.fetch(news.entry)).content == "new"
                break
    assert (await bob.account.own(restored.url).settings())["unread"] == 1
