"""Requests of the client on slow lines: limited by silence and by size, not by how long all of it takes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest

from inbox_server.client.http_sessions import TooMuch, ask

_SILENCE = 0.4
_PIECES = 12
_PIECE = b"x" * 16 * 1024
_Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """For three times as long as it may be silent."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(_PIECE) * _PIECES))
    for _ in range(_PIECES):
        writer.write(_PIECE)
        await asyncio.sleep(3 * _SILENCE / _PIECES)


async def _dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b"x")
        await asyncio.sleep(_SILENCE / 4)


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _taking_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A body of megabytes, for longer than it may be silent."""
    head = await reader.readuntil(b"\r\n\r\n")
    left = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    begun, size = asyncio.get_running_loop().time(), left
    while left:
        left -= len(await reader.read(1 << 16))
        due = begun + 3 * _SILENCE * (1 - left / size)
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
    writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")


@contextlib.asynccontextmanager
async def _serving(serve: _Serve) -> AsyncIterator[str]:
    tasks = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        for task in filter(None, tasks):
            task.cancel()
        await asyncio.gather(*filter(None, tasks), return_exceptions=True)


async def test_an_answer_that_comes_slowly_is_read_whole() -> None:
    async with _serving(_slowly) as url, aiohttp.ClientSession() as session:
        answer = await ask(session, "GET", url, most=1 << 20, silence_seconds=_SILENCE)
    assert len(answer.body) == len(_PIECE) * _PIECES


async def test_a_body_that_is_taken_slowly_is_sent_whole() -> None:
    async with _serving(_taking_slowly) as url, aiohttp.ClientSession() as session:
        answer = await ask(session, "POST", url, most=1 << 20, content=bytes(20 << 20), silence_seconds=_SILENCE)
    assert answer.status == 202


@pytest.mark.parametrize("serve", [_silent, _dripping])
async def test_who_says_nothing_or_next_to_nothing_is_cut_off(serve: _Serve) -> None:
    async with _serving(serve) as url, aiohttp.ClientSession() as session:
        with pytest.raises(TimeoutError):
            await ask(session, "GET", url, most=1 << 20, silence_seconds=_SILENCE)


async def test_who_sends_too_much_is_cut_off() -> None:
    async with _serving(_slowly) as url, aiohttp.ClientSession() as session:
        with pytest.raises(TooMuch):
            await ask(session, "GET", url, most=len(_PIECE), silence_seconds=_SILENCE)
