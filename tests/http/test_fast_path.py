"""The fast path: it is taken by usual requests and by no others, and answers what aiohttp's own way answers."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from inbox_server.client.tokens_and_cards import owner_token
from inbox_server.http.app_keys import METRICS
from inbox_server.http.listening import listening
from inbox_server.protocol.requests import MAX_DELIVERY_BYTES
from inbox_server.server import open_app
from tests.conftest import APP, HandClock
from tests.support.edges import (
    BOB,
    PUBLIC,
    SECRET,
    ask_once,
    connection,
    free_socket,
    make_config,
    request_bytes,
    signed_delivery,
)

NOTHING_EXPECTED: Final = b"\r\nExpect:\r\n"  # asks for nothing, and is unusual
ENTRIES: Final = 102  # a page of more than 100 is sent in parts
MOST_AN_HOUR: Final = 150


@dataclass(frozen=True, slots=True)
class Watched:
    """A server whose middleware writes down the requests that reach it: those that did not take the fast path."""

    port: int
    app: web.Application
    slow: list[str]
    reached: asyncio.Event


@contextlib.asynccontextmanager
async def watched(folder: Path, clock: HandClock) -> AsyncIterator[Watched]:
    slow: list[str] = []
    reached = asyncio.Event()

    @web.middleware
    async def write_down(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        slow.append(f"{request.method} {request.path}")
        reached.set()
        return await handler(request)

    bound = await free_socket()
    port = bound.getsockname()[1]
    limits = {f"limits__{what}_per_hour": MOST_AN_HOUR for what in ("sender", "inbox", "network")}
    config = make_config(folder, port, server__public_url=PUBLIC, server__proxy_header="X-Real-IP", **limits)
    async with open_app(config, SECRET, clock=clock, random_bytes=lambda count: bytes(count)) as (app, _):
        app.middlewares.insert(0, write_down)
        async with listening(app, bound):
            yield Watched(port, app, slow, reached)


@pytest.fixture
async def server(tmp_path: Path, clock: HandClock) -> AsyncIterator[Watched]:
    async with watched(tmp_path / "one", clock) as server:
        claimed = await ask_once(server.port, claim(clock))
        assert claimed.status == 201
        server.slow.clear()
        server.reached.clear()
        yield server


def claim(clock: HandClock) -> bytes:
    body = b'{"accept":"anyone"}'
    token = owner_token(BOB, scope="settings", app=APP, inbox=PUBLIC, now=clock(), body=body)
    return request_bytes("PUT /v1/inbox", f"Authorization: Bearer {token}", f"Content-Length: {len(body)}", body=body)


def delivery(clock: HandClock, text: str, *headers: str, line: str = "POST /v1/messages", more: bytes = b"") -> bytes:
    body, token = signed_delivery(PUBLIC, clock, text, more)
    bearer = f"Authorization: Bearer {token}"
    return request_bytes(line, bearer, f"Content-Length: {len(body)}", *headers, body=body)


def query(clock: HandClock, parameters: str = "", *headers: str, path: str = "/v1/messages") -> bytes:
    token = owner_token(BOB, scope="read", app=APP, inbox=PUBLIC, now=clock())
    return request_bytes(f"GET {path}{parameters}", f"Authorization: Bearer {token}", *headers)


def unusual(request: bytes) -> bytes:
    return request.replace(b"\r\n", NOTHING_EXPECTED, 1)


async def exchange(port: int, request: bytes) -> bytes:
    """Every byte of the answer, on a connection that is kept, but for the date."""
    async with connection(port) as (reader, writer):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if b"chunked" in head:
            body = await reader.readuntil(b"\r\n0\r\n\r\n")
        else:
            match = re.search(rb"\r\nContent-Length: (\d+)\r\n", head)
            assert match
            body = await reader.readexactly(int(match[1]))
        written, found = re.subn(rb"\r\nDate: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]{8} GMT\r\n", b"\r\n", head)
        assert found == 1
        return written + body


def steps(clock: HandClock) -> Mapping[str, tuple[bytes, int]]:
    """Requests in the order in which they are sent, and the status of each answer."""
    usual = delivery(clock, "first")
    listing, poll = query(clock), query(clock, "?limit=7")
    body, token = signed_delivery(PUBLIC, clock, "one body")
    bearer = f"Authorization: Bearer {token}"
    return {
        "no inbox yet": (usual, 403),
        "an empty poll of no inbox": (poll, 404),
        "claim": (claim(clock), 201),
        "an empty list": (listing, 200),
        "the same again": (listing, 200),
        "a delivery": (usual, 201),
        "its repeat": (usual, 200),
        "a list": (listing, 200),
        "a shorter list": (poll, 200),
        "a browser's headers": (delivery(clock, "browser", "Origin: https://chat.example", "Accept: */*"), 201),
        "behind a proxy": (delivery(clock, "proxy", "X-Real-IP: 192.0.2.7"), 201),
        "with a receipt": (delivery(clock, "receipt", more=b',"receipt":true'), 201),
        "a repeat with one": (delivery(clock, "receipt", more=b',"ttl":99, "receipt": true'), 200),
        "without one": (delivery(clock, "receipt", more=b',"receipt":false'), 200),
        "with something else": (delivery(clock, "receipt", more=b',"receipt":1'), 400),
        "no token": (request_bytes("GET /v1/messages"), 401),
        "a delivery without a token": (request_bytes("POST /v1/messages", "Content-Length: 2", body=b"{}"), 400),
        "two tokens": (query(clock, "", "Authorization: Bearer x"), 401),
        "a bad token": (request_bytes("GET /v1/messages", "Authorization: Bearer x.y.z"), 401),
        "another body": (
            request_bytes(
                "POST /v1/messages",
                f"Authorization: Bearer {token}",
                "Content-Length: 20",
                body=b'{"message_id":"o b"}',
            ),
            401,
        ),
        "no body": (request_bytes("POST /v1/messages", bearer), 400),
        "that body": (
            request_bytes("POST /v1/messages", bearer, f"Content-Length: {len(body)}", body=body),
            201,
        ),
        "a bad query": (query(clock, "?limit=0"), 400),
        "a parameter twice": (query(clock, "?limit=1&limit=2"), 400),
        "an escaped parameter": (query(clock, "?l%69mit=1"), 200),
        "a bad cursor": (query(clock, "?after=x"), 400),
        "an empty query": (query(clock, "?"), 200),
        **{f"number {number}": (delivery(clock, f"number {number}"), 201) for number in range(ENTRIES)},
        "a page in parts": (query(clock, "?limit=1000"), 200),
        "a stream that ends at once": (query(clock, "?closeafter=state", path="/v1/events"), 200),
        "a stream without its token": (request_bytes("GET /v1/events"), 401),
        **{f"more {number}": (delivery(clock, f"more {number}"), 201) for number in range(MOST_AN_HOUR - ENTRIES - 8)},
        "over the limit": (delivery(clock, "one too many"), 429),
    }


async def test_both_ways_answer_alike_in_every_byte(tmp_path: Path, clock: HandClock) -> None:
    """Two servers, equal to their random bytes, get the same requests; one of them gets each in an unusual form."""
    async with watched(tmp_path / "one", clock) as fast, watched(tmp_path / "two", clock) as slow:
        sent = steps(clock)
        for name, (request, status) in sent.items():
            answer = await exchange(fast.port, request)
            assert answer.startswith(b"HTTP/1.1 %d " % status), name
            assert answer == await exchange(slow.port, unusual(request)), name
        assert fast.slow == ["PUT /v1/inbox"]
        assert len(slow.slow) == len(sent)
        counts = [
            [line for line in each.app[METRICS].text().decode().splitlines() if re.match("inbox_(del|ref)", line)]
            for each in (fast, slow)
        ]
        assert counts[0] == counts[1]


LONG: Final = "x" * MAX_DELIVERY_BYTES

UNUSUAL: Final[Mapping[str, tuple[Callable[[HandClock], bytes], int]]] = {
    "HTTP/1.0": (lambda clock: delivery(clock, "x").replace(b"HTTP/1.1", b"HTTP/1.0"), 201),
    "a connection that ends": (lambda clock: delivery(clock, "x", "Connection: close"), 201),
    "HEAD": (lambda clock: request_bytes("HEAD /v1/messages"), 405),
    "an expectation": (lambda clock: delivery(clock, "x", "Expect: 100-continue"), 100),
    "an upgrade": (lambda clock: delivery(clock, "x", "Connection: upgrade", "Upgrade: h2c"), 201),
    "an encoding": (lambda clock: delivery(clock, "x", "Content-Encoding: gzip"), 400),
    "a query of a delivery": (lambda clock: delivery(clock, "x", line="POST /v1/messages?to=bob"), 400),
    "another path": (lambda clock: delivery(clock, "x", line="POST /v1/messages/"), 404),
    "an escaped path": (lambda clock: delivery(clock, "x", line="POST /v1/m%65ssages"), 201),
    "an absolute target": (lambda clock: delivery(clock, "x", line=f"POST {PUBLIC}/v1/messages"), 201),
    "another method": (lambda clock: delivery(clock, "x", line="PUT /v1/messages"), 405),
    "another host": (lambda clock: delivery(clock, "x").replace(b": inbox.example", b": evil.example"), 421),
    "too much": (lambda clock: delivery(clock, LONG), 413),
    "a query with a body": (lambda clock: query(clock, "", "Content-Length: 1") + b"x", 200),
}


@pytest.mark.parametrize("name", UNUSUAL)
async def test_what_is_unusual_takes_the_other_way(server: Watched, clock: HandClock, name: str) -> None:
    make, status = UNUSUAL[name]
    async with connection(server.port) as (reader, writer):
        writer.write(make(clock))
        line = await reader.readline()
    assert line.split()[1] == b"%d" % status
    assert len(server.slow) == 1


@pytest.mark.parametrize("at", [-1, -30])
async def test_a_body_that_is_not_there_yet_is_waited_for(server: Watched, clock: HandClock, at: int) -> None:
    request = delivery(clock, "in two pieces, with more than a line of text")
    async with connection(server.port) as (reader, writer):
        writer.write(request[:at])
        await server.reached.wait()
        writer.write(request[at:])
        assert (await reader.readline()).split()[1] == b"201"


async def test_a_body_in_chunks_takes_the_other_way(server: Watched, clock: HandClock) -> None:
    body, token = signed_delivery(PUBLIC, clock, "chunked")
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    headers = (f"Authorization: Bearer {token}", "Transfer-Encoding: chunked")
    assert (await ask_once(server.port, request_bytes("POST /v1/messages", *headers, body=chunks))).status == 201
    assert server.slow == ["POST /v1/messages"]


async def test_requests_that_come_together_are_answered_in_their_order(server: Watched, clock: HandClock) -> None:
    texts = ["a", "b", "c"]
    requests = [delivery(clock, text) for text in texts]
    together = requests[0] + unusual(requests[1]) + query(clock) + requests[0] + requests[2]
    async with connection(server.port) as (reader, writer):
        writer.write(together)
        statuses = []
        for _ in range(5):
            head = await reader.readuntil(b"\r\n\r\n")
            match = re.search(rb"HTTP/1.1 (\d{3}) .*\r\nContent-Length: (\d+)\r\n", head, re.DOTALL)
            assert match
            await reader.readexactly(int(match[2]))
            statuses.append(int(match[1]))
    assert statuses == [201, 201, 200, 200, 201]
    assert server.slow == ["POST /v1/messages"]
