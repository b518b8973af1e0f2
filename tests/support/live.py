"""A server whose readers wait: its application, to see who waits, and event streams as a client reads them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
from aiohttp import web

from inbox_server.server import WAKEUPS
from inbox_server.world.local_world import World
from tests.support.requests import Answer, Bend, Caller, at, inbox_app

OPEN: Mapping[str, Mapping[str, Any]] = {"registration": {"mode": "open", "open_to_keys": True}}


@dataclass(frozen=True, slots=True)
class Live:
    """An owner whose inbox takes everyone's deliveries, and the server's application."""

    owner: Caller
    app: web.Application

    async def deliver(self, *texts: str, **more: Any) -> None:
        for text in texts:
            answer = await at(self.owner).deliver(text, recipient=self.owner.key.address, **more)
            assert answer.status == 201

    async def waiting(self, readers: int) -> None:
        """Until that many readers wait; the test's own timeout ends it."""
        while len(self.app[WAKEUPS]) != readers:  # noqa: ASYNC110 — readers come and go by requests, not by events
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def live_server(world: World, folder: Path, limits: Mapping[str, Any] | None = None) -> AsyncIterator[Live]:
    async with inbox_app(world, folder, {**OPEN, "limits": limits or {}}) as (owner, app):
        await owner.claim({"accept": "anyone"})
        yield Live(owner, app)


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event; a comment has only `comment`."""

    name: str = ""
    id: str = ""
    data: Any = None
    comment: str = ""
    retry: int | None = None
    """Milliseconds."""


@dataclass(frozen=True, slots=True)
class Stream:
    """An open event stream, read event by event."""

    answer: aiohttp.ClientResponse

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        lines: list[str] = []
        while line := (await self.answer.content.readline()).decode():
            if line == "\n":
                return parse_event(lines)
            lines.append(line.removesuffix("\n"))
        assert lines == [], "the stream was cut within an event"
        raise StopAsyncIteration

    async def refusal(self) -> Answer:
        """The whole answer, when it is none of events."""
        return Answer(self.answer.status, self.answer.headers, await self.answer.read())

    async def next(self) -> Event:
        """The next event that is no ping."""
        event = await anext(self)
        while event.comment:
            event = await anext(self)
        return event


def parse_event(lines: list[str]) -> Event:
    """As the HTML standard has it, for what this server sends: each field once, data on one line."""
    if lines[0].startswith(":"):
        assert len(lines) == 1
        return Event(comment=lines[0][1:].strip())
    fields = dict(line.split(": ", 1) for line in lines)
    assert len(fields) == len(lines)
    assert fields.keys() <= {"id", "event", "data", "retry"}
    retry = int(fields["retry"]) if "retry" in fields else None
    return Event(fields["event"], fields.get("id", ""), json.loads(fields["data"]), retry=retry)


@contextlib.asynccontextmanager
async def open_stream(
    caller: Caller, cursor: str | None = None, *, bend: Bend | None = None, **query: Any
) -> AsyncIterator[Stream]:
    """`GET /v1/events`, after a cursor if there is one."""
    headers = {"Authorization": f"Bearer {caller.owner_token('read', bend=bend)}"}
    if cursor is not None:
        headers["Last-Event-ID"] = cursor
    path = "/v1/events" + (f"?{urlencode(query)}" if query else "")
    async with caller.session.get((caller.place or caller.url) + path, headers=headers) as answer:
        yield Stream(answer)
