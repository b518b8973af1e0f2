"""A pooler in transaction mode, as far as it can break a server: a relay that knows PostgreSQL's messages.

As PgBouncer with `ignore_startup_parameters`, it forgets what a session is set to. It passes notifications on while a
client has a connection, which is until its transaction ends: so a client may hear itself, and never hears another.
"""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

_NOTIFICATION = b"A"
_READY = b"Z"
_WANTS_TLS = 80877103
_KEPT = (b"user", b"database", b"client_encoding", b"search_path")


@contextlib.asynccontextmanager
async def pooling(port: int) -> AsyncIterator[int]:
    """The port of one in front of the server at `port`, both on loopback."""
    relays = set[asyncio.Task[None]]()

    async def serve(client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        has_connection = asyncio.Event()
        first = await _startup(client_reader, client_writer)
        both = (
            asyncio.create_task(_to_client(reader, client_writer, has_connection)),
            asyncio.create_task(_to_server(client_reader, writer, has_connection, first)),
        )
        relays.update(both)
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in both:
            task.cancel()
        for each in (writer, client_writer):
            each.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in relays:
            task.cancel()
        await asyncio.gather(*relays, return_exceptions=True)


async def _startup(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The message that says who wants which database, without what the session is to be set to."""
    version, parameters = await _untyped(reader)
    if version == _WANTS_TLS:
        writer.write(b"N")
        version, parameters = await _untyped(reader)
    words = parameters.split(b"\0")
    kept = b"".join(
        name + b"\0" + value + b"\0" for name, value in zip(words[::2], words[1::2], strict=False) if name in _KEPT
    )
    return struct.pack("!II", len(kept) + 9, version) + kept + b"\0"


async def _untyped(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    length, version = struct.unpack("!II", await reader.readexactly(8))
    return version, await reader.readexactly(length - 8)


async def _to_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, has_connection: asyncio.Event) -> None:
    while True:
        kind, message = await _typed(reader)
        if kind == _READY:
            has_connection.clear()
        if kind != _NOTIFICATION or has_connection.is_set():
            writer.write(message)


async def _to_server(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, has_connection: asyncio.Event, first: bytes
) -> None:
    writer.write(first)
    while True:
        _, message = await _typed(reader)
        has_connection.set()
        writer.write(message)


async def _typed(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """A message's type, and all of it. Raises `IncompleteReadError` when the other side has left."""
    kind, length = struct.unpack("!cI", head := await reader.readexactly(5))
    return kind, head + await reader.readexactly(length - 4)
