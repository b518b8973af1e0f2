"""Clients in the local world: with state in memory, time moved by hand, and requests that can be cut off."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

from inbox_server.client.delivery import entry_id
from inbox_server.client.inbox_api import PATH, Sleep
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.index import IndexEntry, read_index
from inbox_server.client.open_client import open_client
from inbox_server.client.outbox import Outbox
from inbox_server.client.pairs import Pair, week_of
from inbox_server.client.profile_file import Profile
from inbox_server.client.storage import InMemory, Keeper
from inbox_server.clock import UnixTime
from inbox_server.http.listening import listening
from inbox_server.world.local_world import World, free_socket
from inbox_server.world.people import Person

T = TypeVar("T")

PROBLEM = "application/problem+json"

ITS_ID = "the id of what was delivered"
"""In an answer of a scripted server."""


class Cut(Exception):
    """The program dies here."""


@dataclass(slots=True)
class Scissors:
    """Cuts the client off at the n-th thing that it does: before a request, after its answer, or at a write."""

    at: int
    where: str
    seen: int = 0

    def pass_by(self, where: str) -> None:
        if where == self.where:
            self.seen += 1
            if self.seen == self.at:
                raise Cut(f"{where} {self.at}")

    def trace(self) -> aiohttp.TraceConfig:
        async def begin(*_: Any) -> None:
            self.pass_by("request")

        async def end(*_: Any) -> None:
            self.pass_by("answer")

        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(begin)
        trace.on_request_end.append(end)
        return trace


class Fragile(InMemory[T]):
    """Keeps what it kept when the program dies, which it may before a write or right after it."""

    def __init__(self, value: T, scissors: Scissors) -> None:
        super().__init__(value)
        self.scissors = scissors

    def change(self, change: Callable[[T], T]) -> T:
        self.scissors.pass_by("before writing")
        changed = super().change(change)
        self.scissors.pass_by("after writing")
        return changed


def profile_of(world: World, person: Person, *, named: bool = True, **more: Any) -> Profile:
    services, name = (world.names_url,), person.name if named else None
    more.setdefault("association", world.association_token(person))
    return Profile(person.app_key, person.app, world.hub_url, (world.read_url,), name, services, **more)


async def soon(seconds: float) -> None:
    """Sleeps two hundred times faster: back-off stays in order, and a test need not wait for it."""
    await asyncio.sleep(seconds / 200)


@contextlib.asynccontextmanager
async def opened(
    world: World,
    profile: Keeper[Profile],
    outbox: Keeper[Outbox] | None = None,
    *,
    sleep: Sleep = soon,
    patience_seconds: float = 0,
    scissors: Scissors | None = None,
    ahead: int = 0,
) -> AsyncIterator[InboxClient]:
    """`ahead`: by how many seconds this client's clock goes before the world's."""

    def clock() -> UnixTime:
        return UnixTime(world.clock() + ahead)

    outbox = outbox or InMemory[Outbox]({})
    traces = (scissors.trace(),) if scissors else ()
    async with open_client(
        profile, outbox, clock=clock, sleep=sleep, patience_seconds=patience_seconds, traces=traces
    ) as client:
        yield client


@contextlib.asynccontextmanager
async def client_of(
    world: World, name: str, *inboxes: str, app: str, settings: dict[str, Any] | None = None
) -> AsyncIterator[InboxClient]:
    """A new person of the world; with inboxes claimed and on a card, if any are named."""
    profile = InMemory(profile_of(world, await world.settle(name, app)))
    async with opened(world, profile) as client:
        if inboxes:
            claimed = await client.claim({"names": [name], **(settings or {})}, inboxes=inboxes)
            assert [outcome.state for outcome in claimed] == ["done"] * len(inboxes)
            await client.publish(inboxes)
        yield client


def index_of(world: World, sender: InboxClient, recipient: InboxClient, weeks_ago: int = 0) -> tuple[IndexEntry, ...]:
    """What the index of a week says, as its recipient reads it."""
    key = recipient.account.user.key
    pair, week = Pair.of(sender.account.user.key.public, key), week_of(world.clock()) - weeks_ago
    file = world.hub.read(sender.account.user.key.address, pair.index_path(week))
    return read_index(file.content, pair, week, key) if file else ()


@dataclass(slots=True)
class Asked:
    """A request as a server got it."""

    method: str
    path: str
    authorization: str
    body: bytes
    last_event_id: str | None = None
    peer: object = None
    """Address and port of the other end: one for each connection."""


@dataclass(slots=True)
class Scripted:
    """An inbox server that answers what a test says, in that order, and the last of it from then on."""

    url: str
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def say(self, status: int, document: object = None, **headers: str) -> None:
        """A document with a status from 400 is a problem of this protocol, unless `Content_Type` says otherwise."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        if document is not None and status >= 400:
            names.setdefault("Content-Type", PROBLEM)
        self.answers.append((status, names, b"" if document is None else json.dumps(document).encode()))

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == PATH and not any(b'"protocol"' in body for _, _, body in self.answers):
            return web.Response(status=404)  # it has no capability document, unless a test says so
        if not self.answers:
            return web.Response(status=503)  # it has nothing to say yet
        content = await request.read()
        self.asked.append(
            Asked(
                request.method,
                request.path,
                request.headers.get("Authorization", ""),
                content,
                request.headers.get("Last-Event-ID"),
                request.transport and request.transport.get_extra_info("peername"),
            )
        )
        status, headers, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if (request.method, request.path) == ("POST", "/v1/messages"):
            body = body.replace(ITS_ID.encode(), entry_id(content).encode())
        if request.path == "/v1/events" and status == 200:
            headers = {"Content-Type": "text/event-stream", **headers}
        return web.Response(status=status, headers=headers, body=body)


@contextlib.asynccontextmanager
async def scripted() -> AsyncIterator[Scripted]:
    with free_socket() as bound:
        server = Scripted(f"http://127.0.0.1:{bound.getsockname()[1]}")
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", server.answer)
        async with listening(app, bound):
            yield server
