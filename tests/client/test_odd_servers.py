"""One of an owner's servers that lies about ids, or takes no acknowledgements: the others are read all the same."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from inbox_server.client.delivery import id_of
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.pages import parse_page
from inbox_server.http.listening import listening
from inbox_server.world.local_world import World, free_socket
from tests.support.clients import PROBLEM


@dataclass(slots=True)
class Odd:
    """Lists what it is told, and answers acknowledgements with this status."""

    url: str
    messages: list[dict[str, Any]] = field(default_factory=list)
    status: int = 204

    def lists(self, text: str, *, id: str = "") -> None:
        self.messages.append({"id": id or id_of(text), "message_id": text, "expires": 4_000_000_000})

    async def list(self, _: web.Request) -> web.Response:
        return web.json_response({"messages": self.messages, "cursor": "one", "more": False})

    async def acknowledge(self, _: web.Request) -> web.Response:
        if self.status == 204:
            return web.Response(status=204)
        text = '{"code": "storage_full", "detail": "The disk is full."}'
        return web.Response(status=self.status, text=text, content_type=PROBLEM, headers={"Retry-After": "60"})


@contextlib.asynccontextmanager
async def odd(bob: InboxClient, *others: str) -> AsyncIterator[Odd]:
    """The first of Bob's inboxes."""
    with free_socket() as bound:
        server = Odd(f"http://127.0.0.1:{bound.getsockname()[1]}")
        app = web.Application()
        app.router.add_get("/v1/messages", server.list)
        app.router.add_post("/v1/messages/ack", server.acknowledge)
        async with listening(app, bound):
            bob.account.profile.change(lambda profile: replace(profile, inboxes=(server.url, *others)))
            yield server


async def test_a_server_that_lists_a_text_under_another_id_hides_nothing_of_the_other_servers(
    world: World, alice: InboxClient, bob: InboxClient
) -> None:
    await alice.send("bob.id", "hello")
    (good,) = (await bob.unread()).entries
    async with odd(bob, world.inbox_url) as server:
        server.lists("spam", id=good.ids[0])
        entries = (await bob.unread()).entries
        assert [entry.ids for entry in entries] == [(id_of("spam"),), good.ids]
        await bob.acknowledge(entries[:1])
        assert [entry.ids for entry in (await bob.unread()).entries] == [good.ids]
        assert (await bob.account.own(world.inbox_url).settings())["unread"] == 1


async def test_a_server_that_lists_ids_that_are_none_keeps_no_other_server_from_being_told(
    world: World, alice: InboxClient, bob: InboxClient
) -> None:
    await alice.send("bob.id", "hello")
    async with odd(bob, world.inbox_url) as server:
        server.lists("spam", id="no id at all")
        outcomes = await bob.acknowledge((await bob.unread()).entries)
        assert [(outcome.state, outcome.code) for outcome in outcomes] == [("done", ""), ("done", "")]
        assert (await bob.account.own(world.inbox_url).settings())["unread"] == 0


def test_what_was_read_has_ids_that_every_server_takes() -> None:
    page = parse_page({"messages": [], "read": ["no id", id_of("one"), ""], "cursor": "c", "more": False})
    assert page.read == (id_of("one"),)


async def test_a_server_that_cannot_write_shows_what_is_unread(bob: InboxClient) -> None:
    async with odd(bob) as server:
        server.lists("one")
        server.lists("two")
        server.status = 507
        one, two = (await bob.unread()).entries
        assert [outcome.code for outcome in await bob.acknowledge([one])] == ["storage_full"]
        unread = await bob.unread()
        assert (unread.entries, [outcome.state for outcome in unread.outcomes]) == ((two,), ["done"])
        server.status = 204
        await bob.unread()
        assert bob.account.profile.read().to_ack == {}
