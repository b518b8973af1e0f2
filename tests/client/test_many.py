"""Inboxes with more in them than one inbox holds at the default: all of it is acknowledged."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from aiohttp import web

from inbox_server.client.delivery import id_of
from inbox_server.client.inbox_client import InboxClient
from inbox_server.http.listening import listening
from inbox_server.world.local_world import World, free_socket
from tests.conftest import APP
from tests.support.clients import client_of

_PAGE = 1000


@dataclass(slots=True)
class Full:
    """An inbox server that lists these texts, and takes acknowledgements."""

    url: str
    unread: list[str]

    async def list(self, request: web.Request) -> web.Response:
        start = int(request.query.get("after", "0"))
        texts = self.unread[start : start + _PAGE]
        messages = [{"id": id_of(text), "message_id": text, "expires": 4_000_000_000} for text in texts]
        more = start + _PAGE < len(self.unread)
        return web.json_response({"messages": messages, "cursor": str(start + _PAGE), "more": more})

    async def acknowledge(self, request: web.Request) -> web.Response:
        read = set(json.loads(await request.read())["ids"])
        assert len(read) <= _PAGE
        self.unread = [text for text in self.unread if id_of(text) not in read]
        return web.Response(status=204)


@contextlib.asynccontextmanager
async def full(name: str, count: int) -> AsyncIterator[Full]:
    with free_socket() as bound:
        server = Full(f"http://127.0.0.1:{bound.getsockname()[1]}", [f"{name} {number}" for number in range(count)])
        app = web.Application()
        app.router.add_get("/v1/messages", server.list)
        app.router.add_post("/v1/messages/ack", server.acknowledge)
        async with listening(app, bound):
            yield server


async def test_everything_in_two_inboxes_of_6000_is_acknowledged(world: World) -> None:
    bob: InboxClient
    async with client_of(world, "bob.id", app=APP) as bob, full("a", 6000) as one, full("b", 6000) as other:
        bob.account.profile.change(lambda profile: replace(profile, inboxes=(one.url, other.url)))
        unread = await bob.unread()
        assert len(unread.entries) == 12_000
        assert [outcome.state for outcome in await bob.acknowledge(unread.entries)] == ["done", "done"]
        assert (one.unread, other.unread) == ([], [])
        assert bob.account.profile.read().to_ack == {}
