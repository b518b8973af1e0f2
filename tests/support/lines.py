"""A line on loopback that a test can freeze or cut, as a network or a firewall does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Self


class Line:
    """Leads to a server; nothing comes through while it is frozen, and nobody gets through while it is cut."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._ends = set[asyncio.StreamWriter]()
        self._is_cut = False
        self.flows = asyncio.Event()
        self.flows.set()
        self.port = 0

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        async with asyncio.TaskGroup() as passing:

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                if self._is_cut:
                    writer.close()
                    return
                theirs, ours = await asyncio.open_connection("127.0.0.1", self._to)
                self._ends |= {writer, ours}
                passing.create_task(self._pass_on(reader, ours))
                passing.create_task(self._pass_on(theirs, writer))

            listening = await asyncio.start_server(serve, "127.0.0.1", 0)
            self.port = listening.sockets[0].getsockname()[1]
            try:
                yield self
            finally:
                listening.close()
                self.flows.set()

    def cut(self) -> None:
        """Both sides see that the other one has left."""
        self._is_cut = True
        for end in self._ends:
            end.transport.abort()

    def join(self) -> None:
        self._is_cut = False

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while came := await reader.read(1 << 16):
                await self.flows.wait()
                writer.write(came)
        self._ends.discard(writer)
        writer.close()
