"""Features: what a server lists beyond the first version 1, and what a client makes of it."""

import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.client.inbox_api import PATH, Inbox
from inbox_server.client.refusals import InboxRefused
from inbox_server.http.capabilities import FEATURES
from inbox_server.world.local_world import World
from tests.conftest import APP
from tests.support.clients import scripted

KEY = AppKey(b"\1" * 32)


def inbox_at(world: World, url: str) -> Inbox:
    return Inbox(world.session, url, APP, KEY, world.clock)


async def test_a_server_takes_what_it_lists_and_nothing_else(world: World) -> None:
    inbox = inbox_at(world, world.inbox_url)
    assert all([await inbox.takes(feature) for feature in (*FEATURES, "push-list")])
    assert not await inbox.takes("example.none")


@pytest.mark.parametrize("listed", [{}, {"features": None}, {"features": "push-list"}, {"features": ["push"]}])
async def test_a_server_that_does_not_list_a_feature_does_not_have_it(world: World, listed: dict[str, object]) -> None:
    async with scripted() as server:
        server.say(200, {"protocol": "message-inbox", "version": 1, "origin": server.url, **listed})
        assert not await inbox_at(world, server.url).takes("push-list")


async def test_a_client_asks_for_a_feature_before_it_uses_one(world: World) -> None:
    async with scripted() as server:
        server.say(200, {"protocol": "message-inbox", "version": 1, "origin": server.url})
        inbox = inbox_at(world, server.url)
        for ask in (inbox.subscriptions, lambda: inbox.unsubscribe("abc")):
            with pytest.raises(InboxRefused, match="push-list"):
                await ask()
        assert {asked.path for asked in server.asked} == {PATH}
