"""Connections that take up places give way, and those with a request under way stay."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from inbox_server.http.connections import Connections
from inbox_server.http.listening import listening
from tests.conftest import HandClock
from tests.support.edges import ask, connection, free_socket, request_bytes, serving
from tests.support.serving import deploy

FILES = 128
MANY = 3 * FILES
PLACES = 4


@pytest.mark.parametrize("sends", ["nothing", "headers", "request"])
async def test_connections_that_only_take_places_shut_nobody_out(tmp_path: Path, sends: str) -> None:
    """Three times as many as the server may open files; they send so much and then keep silent."""
    deployment = deploy(tmp_path)
    host = f"127.0.0.1:{deployment.port}"
    request = request_bytes("GET /.well-known/message-inbox", host=host)
    headers = f"POST /v1/messages HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\n".encode()
    sent = {"nothing": b"", "headers": headers, "request": request}[sends]
    async with deployment.running("sh", "-c", f'ulimit -n {FILES} && exec "$@"', "sh"):
        with contextlib.ExitStack() as stack:
            for _ in range(MANY):
                silent = socket.create_connection(("127.0.0.1", deployment.port), timeout=10)
                stack.enter_context(silent)
                silent.sendall(sent)
            for _ in range(3):
                async with asyncio.timeout(3):
                    (answer,) = await ask(deployment.port, request)
                assert answer.status == 200


class Client:
    """A connection to a server with few places."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, path: str) -> bytes:
        """The path, which is what the server answers."""
        self._writer.write(request_bytes(f"GET {path}"))
        await self._reader.readuntil(b"\r\n\r\n")
        return await self._reader.readexactly(len(path))

    async def is_cut(self) -> bool:
        """Waits until it is."""
        with contextlib.suppress(ConnectionError):
            return await self._reader.read() == b""
        return True


class Scene:
    """A server that answers at once, but to `/held` when it is let go."""

    def __init__(
        self, port: int, stack: contextlib.AsyncExitStack, under_way: asyncio.Semaphore, let_go: asyncio.Event
    ) -> None:
        self._port = port
        self._stack = stack
        self._under_way = under_way
        self.let_go = let_go

    async def silent(self) -> Client:
        return Client(*await self._stack.enter_async_context(connection(self._port)))

    async def idle(self) -> Client:
        client = await self.silent()
        await client.ask("/")
        return client

    async def held(self) -> asyncio.Task[bytes]:
        client = await self.silent()
        task = asyncio.create_task(client.ask("/held"))
        await self._under_way.acquire()
        return task


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    under_way, let_go = asyncio.Semaphore(0), asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/held":
            under_way.release()
            await let_go.wait()
        return web.Response(text=request.path)

    app = web.Application()
    app.router.add_get("/{any:.*}", answer)
    async with (
        listening(app, await free_socket(), connections=Connections(PLACES)) as (url,),
        contextlib.AsyncExitStack() as stack,
    ):
        yield Scene(int(url.rpartition(":")[2]), stack, under_way, let_go)
        let_go.set()


async def test_the_oldest_silent_connection_goes_first(scene: Scene) -> None:
    idle = await scene.idle()
    first, second, third = [await scene.silent() for _ in range(PLACES - 1)]
    last = await scene.silent()
    assert await first.is_cut()
    assert [await client.ask("/x") for client in (idle, second, third, last)] == [b"/x"] * PLACES


async def test_among_those_that_asked_the_one_that_waits_for_longest_goes(scene: Scene) -> None:
    first, second, third, fourth = [await scene.idle() for _ in range(PLACES)]
    await first.ask("/again")
    last = await scene.idle()
    assert await second.is_cut()
    assert [await client.ask("/x") for client in (first, third, fourth, last)] == [b"/x"] * PLACES


async def test_a_request_under_way_is_not_cut_off_and_the_new_connection_goes(scene: Scene) -> None:
    held = [await scene.held() for _ in range(PLACES)]
    assert await (await scene.silent()).is_cut()
    scene.let_go.set()
    assert await asyncio.gather(*held) == [b"/held"] * PLACES
    await (await scene.silent()).ask("/")  # one of them has given way


def answers_in_memory() -> int:
    gc.collect()
    return len([each for each in gc.get_objects() if type(each) is web.Response])


async def test_a_connection_that_waits_for_its_next_request_keeps_no_answer(tmp_path: Path, clock: HandClock) -> None:
    """Thousands may be idle. Only the last one's answer may still be in use."""
    before = answers_in_memory()
    async with serving(tmp_path, clock=clock) as server, contextlib.AsyncExitStack() as stack:
        request = request_bytes("GET /.well-known/message-inbox", host=f"127.0.0.1:{server.port}")
        for _ in range(10):
            reader, writer = await stack.enter_async_context(connection(server.port))
            writer.write(request)
            assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")
        assert answers_in_memory() - before <= 1
