"""An event stream as a browser's parser sees it (WHATWG HTML, section 9.2), with comments and `retry` too."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from inbox_server.checks.asking import Answer, NoAnswer
from inbox_server.checks.results import quoted
from inbox_server.conformance.cases import Failed
from inbox_server.conformance.inboxes import Inbox
from inbox_server.conformance.replies import Page, Reply, page_in

ASKED: Final = "GET /v1/events"
_MOST_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Event:
    """A comment has only `comment`. `retry` is in milliseconds."""

    name: str = ""
    id: str = ""
    data: str = ""
    retry: str = ""
    comment: str = ""

    @property
    def page(self) -> Page:
        """The page in a `state`. Raises `Failed`."""
        return page_in(self.data, f"{ASKED}, a state")


@dataclass(slots=True)
class Events:
    """An open stream. `seconds` is how long to wait for an event that is due."""

    response: aiohttp.ClientResponse
    seconds: float
    _rest: bytes = b""
    _lines: list[str] = field(default_factory=list)
    _ready: list[Event] = field(default_factory=list)

    async def any(self, seconds: float | None = None) -> Event | None:
        """The next event or comment; None when the stream has ended. Raises `TimeoutError`, `Failed`."""
        async with asyncio.timeout(self.seconds if seconds is None else seconds):
            while not self._ready:
                try:
                    chunk = await self.response.content.readany()
                except (aiohttp.ClientError, OSError) as error:
                    raise Failed(f"{ASKED}: the stream was cut off ({type(error).__name__})") from None
                if not chunk:
                    return None
                self._read(chunk)
        return self._ready.pop(0)

    async def next(self, seconds: float | None = None) -> Event | None:
        """The next event that is no comment; None when the stream has ended. Raises `Failed` if none comes."""
        try:
            while (event := await self.any(seconds)) is not None and event.comment:
                pass
        except TimeoutError:
            limit = self.seconds if seconds is None else seconds
            raise Failed(f"{ASKED}: no event came within {limit:g} s") from None
        return event

    async def state(self, seconds: float | None = None) -> Event:
        """The next event, which must be a `state`. Raises `Failed`."""
        event = await self.next(seconds)
        if event is None or event.name != "state":
            raise Failed(f"{ASKED}: {_told(event)} came, not a state")
        return event

    async def end(self, seconds: float | None = None) -> str:
        """The reason in the next event, which must be `end`, and the last one. Raises `Failed`."""
        event = await self.next(seconds)
        if event is None or event.name != "end":
            raise Failed(f"{ASKED}: {_told(event)} came, not an end")
        if (after := await self.next()) is not None:
            raise Failed(f"{ASKED}: {_told(after)} came after the end")
        return event.data

    def _read(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _MOST_BYTES:
            raise Failed(f"{ASKED}: a line has more than {_MOST_BYTES} bytes")
        for raw in lines:
            line = raw.removesuffix(b"\r").decode("utf-8", "replace")
            if line:
                self._lines.append(line)
            elif self._lines:
                self._ready.append(_event(self._lines))
                self._lines = []


def _told(event: Event | None) -> str:
    return "its end" if event is None else f"an event {quoted(event.name)} with {quoted(event.data)}"


def _event(lines: list[str]) -> Event:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        fields[name] = f"{fields[name]}\n{value}" if name == "data" and "data" in fields else value
    if fields.keys() == {""}:
        return Event(comment=fields[""] or "(empty)")
    return Event(fields.get("event", ""), fields.get("id", ""), fields.get("data", ""), fields.get("retry", ""))


@contextlib.asynccontextmanager
async def open_events(
    inbox: Inbox, query: str = "", *, after: str | None = None, **claims: Any
) -> AsyncIterator[Events]:
    """`GET /v1/events`, once it has begun. Raises `Failed` for anything else than a stream."""
    async with asked_events(inbox, query, after=after, **claims) as response:
        if response.status != 200:
            raise Failed(f"{(await _refusal(inbox, response)).told} is the answer to {ASKED}, not a stream")
        kind = response.headers.get("Content-Type", "nothing")
        if kind.partition(";")[0].strip() != "text/event-stream":
            raise Failed(f"{ASKED}: the stream's type is {quoted(kind)}, not text/event-stream")
        inbox.bench.observed.note(Reply(ASKED, Answer(200, response.headers, b"", 0)))
        yield Events(response, inbox.bench.seconds)


async def refused_events(inbox: Inbox, query: str = "", *, after: str | None = None, **claims: Any) -> Reply:
    """The answer to a request for a stream that must be refused. Raises `Failed` if a stream begins."""
    async with asked_events(inbox, query, after=after, **claims) as response:
        if response.status == 200:
            raise Failed(f"{ASKED}: a stream began that had to be refused")
        return await _refusal(inbox, response)


@contextlib.asynccontextmanager
async def asked_events(
    inbox: Inbox, query: str, *, after: str | None, **claims: Any
) -> AsyncIterator[aiohttp.ClientResponse]:
    bench = inbox.bench
    headers = {"Accept": "text/event-stream"} | ({} if after is None else {"Last-Event-ID": after})
    token = bench.owner_token(inbox.owner, "read", **claims)
    try:
        async with bench.server.asked(
            "GET", f"/v1/events{query}", token=token, headers=headers, stays_open=True
        ) as response:
            yield response
    except NoAnswer as error:
        raise Failed(f"{ASKED}: the server {error}") from None


async def _refusal(inbox: Inbox, response: aiohttp.ClientResponse) -> Reply:
    reply = Reply(ASKED, Answer(response.status, response.headers, await response.read(), inbox.bench.server.clock()))
    inbox.bench.observed.note(reply)
    return reply
