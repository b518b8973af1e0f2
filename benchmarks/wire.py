"""One connection that sends requests as they are and reads answers and events: little enough to be timed."""

import asyncio
import contextlib
import re
import statistics
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.servers import Server

_LENGTH: Final = re.compile(rb"\r\nContent-Length: (\d+)\r\n")

_CHUNKED: Final = b"\r\nTransfer-Encoding: chunked\r\n"


@dataclass(frozen=True, slots=True)
class Wire:
    """A connection to a server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: bytes) -> bytes:
        """The body of what must be a success."""
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        if _CHUNKED in head:
            body = b"".join([chunk async for chunk in self._chunks()])
        else:
            length = _LENGTH.search(head)
            body = await self.reader.readexactly(int(length[1])) if length else b""
        if not head.startswith(b"HTTP/1.1 2"):
            raise AssertionError(head + body)
        return body

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            yield await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)

    async def follow(self, request: bytes) -> None:
        """Open a stream, and read until its first event is there."""
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise AssertionError(head)
        await self.event()

    async def event(self) -> bytes:
        """The next event of a stream."""
        return await self.reader.readuntil(b"\n\n\r\n")


@contextlib.asynccontextmanager
async def wires(server: Server, count: int) -> AsyncIterator[list[Wire]]:
    """So many connections."""
    opened: list[Wire] = []
    try:
        for _ in range(count):
            opened.append(Wire(*await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 22)))
        yield opened
    finally:
        for wire in opened:
            wire.writer.close()


async def timed(wire: Wire, requests: Iterable[bytes]) -> list[float]:
    """How many milliseconds each took, one after another."""
    taken = []
    for request in requests:
        start = time.perf_counter()
        await wire.ask(request)
        taken.append(1e3 * (time.perf_counter() - start))
    return taken


def p50(taken: Sequence[float]) -> float:
    return statistics.median(taken)


def p99(taken: Sequence[float]) -> float:
    return statistics.quantiles(taken, n=100)[98]
