"""A server that was restored has older sheets of the same weeks: the owner's client sends them again by itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.reports import Connection
from inbox_server.client.sheets import EDITION_SECONDS
from inbox_server.clock import DAY_SECONDS
from inbox_server.world.local_world import World
from tests.client.test_sealed import greet, read_all, renew, settled, talk, ways
from tests.conftest import APP, HandClock
from tests.support.clients import client_of
from tests.support.patience import PATIENCE_SECONDS
from tests.support.providers import Provider


@pytest.fixture
async def alice(world: World) -> AsyncIterator[InboxClient]:
    async with settled(world, "alice.id") as client:
        yield client


@pytest.fixture
async def bob(world: World, provider: Provider) -> AsyncIterator[InboxClient]:
    async with client_of(world, "bob.id", provider.url, app=APP) as client:
        yield client


@pytest.fixture
async def restored(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock, tmp_path: Path
) -> Provider:
    """Put back from a copy that was made before the last edition; Alice has delivered sealed, and another one waits."""
    await talk(alice, bob, clock)
    provider.back_up(tmp_path / "copy")
    async with settled(world, "carol.id") as carol:
        await greet(carol, bob)
        clock.advance(EDITION_SECONDS)
        await renew(bob)
    assert ways(await alice.send("bob.id", "before")) == ["sealed"]
    await read_all(bob)
    await provider.restore(tmp_path / "copy")
    waits = await alice.send("bob.id", "after")
    assert [(each.state, each.code) for each in waits.outcomes] == [("later", "no_tickets")]
    clock.advance(600)
    return provider


async def arrived(alice: InboxClient, bob: InboxClient) -> bool:
    await alice.retry()
    return "after" in await read_all(bob)


async def test_they_are_sent_again_once_a_day(
    alice: InboxClient, bob: InboxClient, restored: Provider, clock: HandClock
) -> None:
    await renew(bob)
    assert not await arrived(alice, bob)  # nothing shows that the server was restored
    clock.advance(DAY_SECONDS)
    await renew(bob)
    assert await arrived(alice, bob)


async def test_they_are_sent_again_when_an_audit_finds_that_a_copy_was_put_back(
    alice: InboxClient, bob: InboxClient, restored: Provider
) -> None:
    assert {finding.code for finding in (await bob.audit()).findings} == {"restored"}
    await renew(bob)
    assert await arrived(alice, bob)


async def test_they_are_sent_again_when_a_watch_loses_its_place(
    alice: InboxClient, bob: InboxClient, restored: Provider
) -> None:
    bob.account.profile.change(lambda profile: profile.with_cursor(restored.url, "of the time after the copy"))
    async with asyncio.timeout(PATIENCE_SECONDS), contextlib.aclosing(bob.watch()) as watch:
        async for news in watch:
            if isinstance(news, Connection) and news.is_up:
                break
    await renew(bob)
    assert await arrived(alice, bob)
