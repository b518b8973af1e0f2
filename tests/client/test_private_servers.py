"""Servers in the user's own network: what the user chose is reached, what others name is not."""

from dataclasses import replace

import pytest

from inbox_server.client.http_sessions import open_sessions
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.refusals import Unreachable
from inbox_server.world.local_world import World
from tests.support.clients import Scripted


async def test_a_contact_at_the_own_server_is_reached_sealed_and_signed_wherever_that_is(
    world: World, bob: InboxClient, server: Scripted
) -> None:
    """The hub is elsewhere, so that nothing on this machine is trusted for its sake."""
    async with open_sessions(frozenset()) as sessions:
        account = replace(bob.account, sessions=sessions)
        assert await account.others(world.inbox_url).takes("sealed")
        async with account.alone(world.inbox_url) as inbox:
            assert await inbox.takes("sealed")
        with pytest.raises(Unreachable, match="is not asked"):
            account.others(server.url)
        with pytest.raises(Unreachable, match="is not asked"):
            async with account.alone(server.url):
                pass
