"""What a watch does by itself: it audits rarely and says when something is wrong, and it reads without a server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from inbox_server.client.audit.in_watch import InWatch
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.reports import Arrived, Audit, News, WithoutServer
from inbox_server.client.watching import Watching
from inbox_server.clock import DAY_SECONDS
from inbox_server.world.cheating import hide_newest
from inbox_server.world.local_world import World
from tests.conftest import APP, HandClock
from tests.support.clients import client_of, index_of, soon
from tests.support.patience import PATIENCE_SECONDS
from tests.support.providers import Provider, dropped, unlisted


@pytest.fixture
async def bob(world: World, provider: Provider) -> AsyncIterator[InboxClient]:
    async with client_of(world, "bob.id", provider.url, app=APP) as client:
        yield client


class Monotonic:
    """A clock that only goes on, by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def read_all(bob: InboxClient) -> None:
    for entry in (await bob.unread()).entries:
        await bob.fetch(entry)


async def until(kind: type[News], watching: Watching, **members: object) -> list[News]:
    """All news up to the first of a kind with these members."""
    taken: list[News] = []
    async with asyncio.timeout(PATIENCE_SECONDS), contextlib.aclosing(watching.news()) as all_news:
        async for news in all_news:
            taken.append(news)
            if isinstance(news, kind) and all(getattr(news, name) == value for name, value in members.items()):
                return taken
    raise AssertionError(taken)


async def test_a_watch_says_when_something_is_wrong(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock
) -> None:
    await alice.send("bob.id", "one")
    await read_all(bob)
    await alice.send("bob.id", "two")
    provider.lies += dropped(index_of(world, alice, bob)[-1].entry)
    clock.advance(2 * DAY_SECONDS)  # since the inbox was claimed
    *_, audit = await until(Audit, Watching(bob.account, soon))
    assert isinstance(audit, Audit)
    assert {finding.code for finding in audit.findings} >= {"receipt_without_entry"}


async def test_a_watch_brings_what_its_audit_has_found(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock
) -> None:
    await alice.send("bob.id", "one")
    await read_all(bob)
    await alice.send("bob.id", "two")
    await provider.stop()
    hide_newest(provider.folder)
    await provider.start()
    clock.advance(2 * DAY_SECONDS)
    *before, arrived = await until(Arrived, Watching(bob.account, soon), without_server=True)
    assert [news.found for news in before if isinstance(news, Audit)] == [(arrived.entry,)]  # type: ignore[union-attr]
    assert (await bob.fetch(arrived.entry)).content == "two"  # type: ignore[union-attr]


async def test_a_watch_audits_once_a_day_and_sooner_when_a_number_is_left_out(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock
) -> None:
    monotonic = Monotonic()
    in_watch = InWatch(bob.account, monotonic)

    async def pass_by(hours: int) -> list[str] | None:
        monotonic.now += hours * 3600
        clock.advance(hours * 3600)
        audit = await in_watch.audit((provider.url,))
        return [finding.code for finding in audit.findings] if audit else None

    await alice.send("bob.id", "one")
    await read_all(bob)
    provider.lies.append(unlisted(index_of(world, alice, bob)[-1].entry))  # it has been shown, so nothing is wrong
    assert await pass_by(0) is None
    await alice.send("bob.id", "two")
    provider.lies += dropped(index_of(world, alice, bob)[-1].entry)
    assert await pass_by(23) is None  # not yet: the claim was an audit
    assert await pass_by(2) == ["receipt_without_entry"]
    assert await pass_by(17) is None
    assert await pass_by(14) == ["receipt_without_entry"]
    assert await pass_by(2) is None
    await alice.send("bob.id", "three")
    await read_all(bob)  # its number shows that one before it is missing
    assert await pass_by(0) == ["receipt_without_entry"]
    assert await pass_by(2) is None  # it has been looked for


async def test_a_watch_finds_what_contacts_sent_while_no_inbox_answers(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    await alice.send("bob.id", "before")
    read = (await bob.unread()).entries
    await bob.fetch(read[0])
    await bob.acknowledge(read)
    await provider.stop()
    await alice.send("bob.id", "to no server at all")
    news = await until(Arrived, Watching(bob.account, soon))
    assert WithoutServer(1) in news
    arrived = news[-1]
    assert isinstance(arrived, Arrived)
    assert arrived.without_server
    assert (await bob.fetch(arrived.entry)).content == "to no server at all"
