"""A part of loopback that plays the Internet, a part that plays what must never be reached, and clocks for both.

127.0.0.1 and 127.0.0.3 are "public"; 127.0.0.2 and ::1 are "internal", and every connection to them is counted.
"""

import asyncio
import contextlib
import selectors
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp.abc import AbstractResolver, ResolveResult

T = TypeVar("T")
Answer = Callable[[bytes, asyncio.StreamWriter], Coroutine[Any, Any, None]]

PUBLIC = ("127.0.0.1", "127.0.0.3")
INTERNAL = ("127.0.0.2", "::1")
_TLS_HANDSHAKE = b"\x16"  # here it is counted, and hung up on
SPEED = 10  # how much faster than the clock on the wall a `run_fast` loop's time goes


@dataclass(slots=True)
class Coast:
    """Public servers and the canary, all on one port, so that a URL needs no other port to lead astray."""

    port: int
    hits: list[str] = field(default_factory=list)
    """Which internal addresses were connected to."""
    asked: list[bytes] = field(default_factory=list)
    """The heads of the requests that the public servers got."""
    location: str = ""
    """Where the public servers redirect what asks for `/to`."""

    def url(self, path: str = "", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def is_public(self, address: str, port: int) -> bool:
        """Shaped like `guard.may_dial`."""
        return address in PUBLIC


@contextlib.asynccontextmanager
async def running_coast() -> AsyncIterator[Coast]:
    internal = [address for address in INTERNAL if address != "::1" or has_ipv6()]
    coast = Coast(_shared_port([*PUBLIC, *internal]))

    def canary(address: str) -> Answer:
        async def sing(head: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(response(b"the canary"))

        return sing

    async def public(head: bytes, writer: asyncio.StreamWriter) -> None:
        coast.asked.append(head)
        if b" /to" in head.split(b"\r\n")[0]:
            writer.write(f"HTTP/1.1 302 Found\r\nLocation: {coast.location}\r\nContent-Length: 0\r\n\r\n".encode())
        elif b" /loop" in head.split(b"\r\n")[0]:
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: /loop\r\nContent-Length: 0\r\n\r\n")
        else:
            writer.write(response(b"public"))

    async with contextlib.AsyncExitStack() as stack:
        for address in PUBLIC:
            await stack.enter_async_context(answering(public, address, coast.port))
        for address in internal:
            seen = _counting(coast.hits, address)
            await stack.enter_async_context(answering(canary(address), address, coast.port, connected=seen))
        yield coast


def _shared_port(addresses: list[str]) -> int:
    """A port that is free at all of them."""
    while True:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            port = 0
            for address in addresses:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                probe = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
                probe.bind((address, port))
                port = probe.getsockname()[1]
            return port


def _counting(hits: list[str], address: str) -> Callable[[], None]:
    return lambda: hits.append(address)


@contextlib.asynccontextmanager
async def answering(
    answer: Answer, host: str = "127.0.0.1", port: int = 0, *, connected: Callable[[], None] = lambda: None
) -> AsyncIterator[int]:
    """A server that reads a request's head and lets `answer` write to the socket what it likes; its port."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected()
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                first = await reader.readexactly(1)
                if first != _TLS_HANDSHAKE:
                    await answer(first + await reader.readuntil(b"\r\n\r\n"), writer)
                    await writer.drain()
        except asyncio.CancelledError:  # the test is over; the stream's own callback must not see it
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, host, port)
    try:
        bound: int = server.sockets[0].getsockname()[1]
        yield bound
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def response(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


class LyingResolver(AbstractResolver):
    """Names as a hostile zone has them: each look-up of a name gives the next of its answers, then the last again.

    A name that is not among them is read as the C library reads numbers: decimal, octal, hexadecimal, short. `port`
    takes the place of every port, so that https at 443 leads to where the test listens.
    """

    def __init__(self, zone: dict[str, list[list[str]]], port: int) -> None:
        self._zone = {name: list(answers) for name, answers in zone.items()}
        self._port = port
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        answers = self._zone.get(host.rstrip("."))
        if answers is None:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
            addresses = [str(address[0]) for *_, address in found]
        else:
            addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=self._port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


class CheckingResolver(LyingResolver):
    """What a guard without the socket is: every address that a name has is checked, all or nothing."""

    def __init__(self, zone: dict[str, list[list[str]]], port: int) -> None:
        super().__init__(zone, port)
        self.is_public: Callable[[str], bool] = PUBLIC.__contains__

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        results = await super().resolve(host, port, family)
        if not all(self.is_public(result["host"]) for result in results):
            raise OSError("refused by the resolver")
        return results


class _FastSelector(selectors.DefaultSelector):
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout and timeout / SPEED)


class _FastLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__(_FastSelector())

    def time(self) -> float:
        return super().time() * SPEED


def run_fast(test: Coroutine[Any, Any, T]) -> T:
    """Run in a loop whose seconds are a tenth of a second, so that limits of eight seconds can be waited for."""
    with asyncio.Runner(loop_factory=_FastLoop) as runner:
        return runner.run(test)


class HandMonotonic:
    """Monotonic seconds that stand still until they are moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
