"""A cursor says that all before it was taken: programs that die in a page, streams in pieces, and refused streams."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from inbox_server.client.events import Event, EventReader
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.reports import Arrived, Connection
from inbox_server.http.listening import listening
from inbox_server.world.local_world import free_socket
from tests.client.test_watching import arrived, page, scripted_inbox, stream, take
from tests.support.clients import PROBLEM, Scripted
from tests.support.patience import PATIENCE_SECONDS


class Died(Exception):
    pass


async def _take_until(client: InboxClient, last: str, told: list[str], died: BaseException) -> None:
    """A program that dies while it takes `last`."""
    async with contextlib.aclosing(client.watch()) as all_news:
        async for news in all_news:
            told += arrived([news])
            if told[-1:] == [last]:
                raise died


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_program_that_dies_in_a_page_is_told_all_of_it_again(
    bob: InboxClient, server: Scripted, is_cancelled: bool
) -> None:
    scripted_inbox(bob, server)
    pages = (page("a", "b", cursor="one"), page("c", "d", "e", cursor="two"))
    server.answers.append((200, {}, stream(*pages)))
    told: list[str] = []
    died = asyncio.CancelledError() if is_cancelled else Died()
    with pytest.raises(type(died)):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.create_task(_take_until(bob, "d", told, died))
    assert told == ["a", "b", "c", "d"]
    assert bob.account.profile.read().cursors == {server.url: "one"}
    server.answers[:] = [(200, {}, stream(pages[1]))]
    before = len(server.asked)
    assert arrived(await take(bob, 3)) == ["c", "d", "e"]
    assert server.asked[before].last_event_id == "one"


async def test_an_answer_that_ends_in_an_event_while_its_connection_stays_open_is_resumed(
    bob: InboxClient, server: Scripted
) -> None:
    scripted_inbox(bob, server)
    whole, half = stream(page("a", cursor="one")), stream(page("b", cursor="two"))[:-2]
    server.answers += [(200, {}, whole + half), (200, {}, stream(page("b", cursor="two"))), (200, {}, b"")]
    told = await take(bob, 3)
    assert arrived(told) == ["a", "b"]
    assert any(isinstance(news, Connection) and "cut the stream off" in news.detail for news in told)
    assert [asked.last_event_id for asked in server.asked[:2]] == [None, "one"]


EVENT = b'id: one\nevent: state\ndata: {"a":\ndata: 1}\n\n'


@pytest.mark.parametrize("at", range(1, len(EVENT)))
def test_an_event_cut_in_two_at_any_byte_is_the_same(at: int) -> None:
    reader = EventReader()
    events = [event for chunk in (EVENT[:at], EVENT[at:]) for event in reader.read(chunk)]
    assert events == [Event("one", "state", '{"a":\n1}')]


@dataclass(slots=True)
class Refusing:
    """An inbox server whose streams come byte by byte, or are all taken, and which lists."""

    url: str
    has_place: bool
    pages: list[dict[str, object]]
    asked: list[str] = field(default_factory=list)

    async def events(self, request: web.Request) -> web.StreamResponse:
        self.asked.append("events")
        if not self.has_place:
            document = {"status": 429, "code": "too_many", "detail": "All places are taken."}
            return web.Response(
                status=429, text=json.dumps(document), headers={"Content-Type": PROBLEM, "Retry-After": "600"}
            )
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for byte in stream(*self.pages, end="token_expired"):
            await response.write(bytes([byte]))
        return response

    async def list(self, request: web.Request) -> web.Response:
        self.asked.append(f"list after {request.query.get('after')}")
        return web.json_response(self.pages.pop(0) if self.pages else page(cursor="last"))


@contextlib.asynccontextmanager
async def _refusing(bob: InboxClient, *pages: dict[str, object], has_place: bool) -> AsyncIterator[Refusing]:
    with free_socket() as bound:
        server = Refusing(f"http://127.0.0.1:{bound.getsockname()[1]}", has_place, list(pages))
        app = web.Application()
        app.router.add_get("/v1/events", server.events)
        app.router.add_get("/v1/messages", server.list)
        async with listening(app, bound):
            scripted_inbox(bob, server)  # type: ignore[arg-type]  # of which it needs the URL
            yield server


async def test_a_stream_byte_by_byte_is_the_same(bob: InboxClient) -> None:
    async with _refusing(bob, page("a", "b", cursor="one"), page("c", cursor="two"), has_place=True):
        assert arrived(await take(bob, 3)) == ["a", "b", "c"]


async def test_a_watch_lists_while_it_is_refused_a_stream(bob: InboxClient) -> None:
    pages = (page("a", cursor="one", more=True), page("b", cursor="two"), page("c", cursor="three"))
    async with _refusing(bob, *pages, has_place=False) as server:
        told = [news for news in await take(bob, 4) if isinstance(news, Arrived)]
    assert arrived(told) == ["a", "b", "c"]
    assert server.asked[:4] == ["events", "list after None", "list after one", "list after two"]
    assert server.asked.count("events") == 1  # it comes back when the server said
