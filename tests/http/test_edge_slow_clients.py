"""Slow clients are cut off."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web

from inbox_server.http.listening import listening
from tests.support.edges import (
    Answer,
    LiveServer,
    assert_usual,
    code_of,
    connection,
    free_socket,
    parse_answers,
    request_bytes,
)


async def until_closed(
    port: int, first: bytes, drip: Callable[[], bytes], *, most_seconds: float
) -> tuple[float, list[Answer]]:
    """Send `first`, then a drip each second, until the server hangs up: after how long, and what it said."""
    start, came = time.monotonic(), b""
    async with connection(port) as (reader, writer):
        writer.write(first)
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - start < most_seconds:
                try:
                    async with asyncio.timeout(1):
                        more = await reader.read(1 << 16)
                except TimeoutError:
                    writer.write(drip())
                    continue
                if not more:
                    break
                came += more
    return time.monotonic() - start, parse_answers(came)


@pytest.mark.long
async def test_slow_clients_are_cut_off(server: LiveServer) -> None:
    half = request_bytes("POST /v1/messages", "Content-Length: 100", body=b'{"message_id"')
    chunk = request_bytes("POST /v1/messages", "Transfer-Encoding: chunked", body=b"1\r\n{\r\n")
    bad = request_bytes("POST /v1/messages", "Transfer-Encoding: chunked", body=b"2\r\n{}\r\n")
    (silent, nothing), (dripping, still_nothing), (turned_bad, refused), *bodies = await asyncio.gather(
        until_closed(server.port, b"", lambda: b"", most_seconds=15),
        until_closed(server.port, b"GET /v1/inbox HTTP/1.1\r\nHost:", lambda: b"i", most_seconds=15),
        first_answer(server.port, bad, lambda: b"zz\r\n\r\n"),
        first_answer(server.port, half, lambda: b""),
        first_answer(server.port, half, lambda: b"x"),
        first_answer(server.port, chunk, lambda: b"1\r\n \r\n"),
    )
    assert nothing == still_nothing == []
    assert 8 < silent < 14
    assert 8 < dripping < 14
    assert turned_bad < 14
    assert code_of(refused) in ("bad_request", "too_slow")
    for seconds, answer in bodies:
        assert 8 < seconds < 14
        assert (answer.status, code_of(answer)) == (408, "too_slow")
        assert_usual(answer)


async def first_answer(port: int, first: bytes, drip: Callable[[], bytes]) -> tuple[float, Answer]:
    """Send `first`, then a drip each second, until the server answers: after how long, and what."""
    start = time.monotonic()
    async with connection(port) as (reader, writer):
        writer.write(first)
        while True:
            try:
                async with asyncio.timeout(1):
                    came = await reader.read(1 << 16)
                break
            except TimeoutError:
                writer.write(drip())
    (answer,) = parse_answers(came)
    return time.monotonic() - start, answer


@pytest.mark.long
async def test_a_slow_client_is_cut_off_after_its_first_request_too(server: LiveServer) -> None:
    """Keep-alive must not be the way around the limit for headers, nor a late body hold the connection on."""
    whole, part = request_bytes("GET /.well-known/message-inbox"), b"GET /v1/inbox HTTP/1.1\r\nHost:"
    half = request_bytes("POST /v1/messages", "Content-Length: 100", body=b'{"message_id"')
    (second, answers), (body, _) = await asyncio.gather(
        until_closed(server.port, whole + part, lambda: b"i", most_seconds=16),
        until_closed(server.port, half, lambda: b"", most_seconds=16),
    )
    assert [answer.status for answer in answers] == [200]
    assert second < 14
    assert body < 14


BIG = bytes(1 << 24)
TAKING_SECONDS = 1.0


@contextlib.asynccontextmanager
async def big_answers() -> AsyncIterator[tuple[int, list[web.BaseRequest]]]:
    """A server whose answers are larger than the system's buffers: its port, and the requests that came."""
    requests: list[web.BaseRequest] = []

    async def answer(request: web.Request) -> web.Response:
        requests.append(request)
        return web.Response(body=BIG)

    app = web.Application()
    app.router.add_get("/", answer)
    bound = await free_socket()
    async with listening(app, bound, taking_seconds=TAKING_SECONDS) as (url,):
        yield int(url.rpartition(":")[2]), requests


async def test_a_client_that_does_not_take_its_answer_is_cut_off() -> None:
    async with big_answers() as (port, requests):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
        async with asyncio.timeout(10):
            while not (requests and requests[0].transport is None):  # noqa: ASYNC110 — until it is gone
                await asyncio.sleep(0.01)
        assert len(requests) == 1  # no other answer was made for one who does not take the first
        await leave(reader, writer)


async def test_a_client_that_takes_its_answer_slowly_gets_it_whole() -> None:
    async with big_answers() as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        came = 0
        while more := await reader.read(1 << 20):
            came += len(more)
            if came > len(BIG):  # and the headers
                break
            await asyncio.sleep(TAKING_SECONDS / 8)
        assert came > len(BIG)
        await leave(reader, writer)


async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        while await reader.read(1 << 20):
            pass
