"""Listening on a socket: aiohttp's runner, changed so that it logs nothing of requests that it could not parse."""

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Final

from aiohttp import StreamReader, web

from inbox_server.config.config import Listen, Tcp, Unix
from inbox_server.errors import CommandFailed, Refused
from inbox_server.http.answers import WRITTEN, internal, malformed, problem
from inbox_server.http.app_keys import DELIVERIES, METRICS, WAITS
from inbox_server.http.connections import Connections, most_connections
from inbox_server.http.fast_path import FastPath
from inbox_server.http.unix_socket import OWN_MODE, bound_socket
from inbox_server.metrics import Metrics

_SHUTDOWN_SECONDS: Final = 2  # for requests in flight; aiohttp waits twice, so a stop takes at most 5 s
_BACKLOG: Final = 1024
_HEADER_SECONDS: Final = 10  # the limit for a client that sends its headers slowly
_KEEPALIVE_SECONDS: Final = 180  # longer than proxies keep an idle connection, so that the proxy closes it first
TAKING_SECONDS: Final = 30.0  # a client that reads next to nothing of its answer for so long does not want it
_SLOWEST_BYTES_PER_SECOND: Final = 1024
_LINGER_SECONDS: Final = 2  # to read the rest of a body that nobody needs
_ADVICE: Final[dict[int, str]] = {
    errno.EADDRINUSE: "Another process or file has it: stop or move that one, or choose another address.",
    errno.EADDRNOTAVAIL: "Choose an address of this machine.",
    errno.EACCES: "Choose a port above 1023, or a directory in which this user may write.",
    errno.ENOENT: "Make the directory first.",
}

log = logging.getLogger(__name__)


class CannotListen(CommandFailed):
    """The address is in use, or does not belong to this machine; the message says which."""


@contextlib.asynccontextmanager
async def listening(
    app: web.Application,
    *listens: Listen | socket.socket,
    taking_seconds: float = TAKING_SECONDS,
    connections: Connections | None = None,
) -> AsyncIterator[list[str]]:
    """Serve `app` at these places, or on sockets that are already bound; yields the URLs that were actually bound.

    A client that reads next to nothing of its answer for `taking_seconds` is cut off. By default, the limit on
    `connections` is the number of files that the process may open.
    """
    runner = QuietRunner(app, taking_seconds, connections or Connections(most_connections()))
    await runner.setup()
    try:
        with contextlib.ExitStack() as stack:
            for listen in listens:
                await _start(runner, listen, stack)
            yield urls_of(runner.addresses)
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def listening_at(path: Path, app: web.Application) -> AsyncIterator[None]:
    """Serve `app` on a Unix socket that only the owner of this process and root can open."""
    with contextlib.ExitStack() as stack:
        try:
            bound = stack.enter_context(bound_socket(path, mode=OWN_MODE))
        except OSError as error:
            raise cannot_listen(Unix(path), error) from error
        async with listening(app, bound):
            yield


async def _start(runner: web.AppRunner, listen: Listen | socket.socket, stack: contextlib.ExitStack) -> None:
    site: web.BaseSite
    try:
        if isinstance(listen, Tcp):
            site = web.TCPSite(runner, listen.host, listen.port, backlog=_BACKLOG)
        else:
            bound = stack.enter_context(bound_socket(listen.path)) if isinstance(listen, Unix) else listen
            site = web.SockSite(runner, bound, backlog=_BACKLOG)
        await site.start()
    except OSError as error:
        raise cannot_listen(listen, error) from error


def cannot_listen(listen: Listen | socket.socket, error: OSError) -> CannotListen:
    """What to tell whoever started the server."""
    number = error.errno or 0
    said = os.strerror(number) if number in _ADVICE else error.strerror or str(error)
    return CannotListen(f"cannot listen at {_place(listen)}: {said}. {_ADVICE.get(number, '')}".rstrip())


def _place(listen: Listen | socket.socket) -> str:
    if isinstance(listen, Tcp):
        return f"{listen.host}:{listen.port}"
    return str(listen.path) if isinstance(listen, Unix) else str(listen.getsockname())


def urls_of(addresses: Iterable[Any]) -> list[str]:
    """As they are told to whoever started the server, of addresses as `getsockname` gives them."""
    return [
        f"unix:{address}" if isinstance(address, str) else f"http://{_host(address[0])}:{address[1]}"
        for address in addresses
    ]


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


class QuietRequestHandler(web.RequestHandler):
    """aiohttp's handler, but a request that the HTTP parser rejects gets a normal answer, and is not logged.

    aiohttp's own answer repeats the bytes it could not parse, and its log adds the client's address. A malformed
    header can contain a token. aiohttp also waits forever for a request's headers, and for a client to read its
    answer. This handler does not.
    """

    __slots__ = ("_body", "_connections", "_headers_due", "_metrics", "_taking_due", "_taking_seconds", "_untaken")

    def __init__(
        self,
        *arguments: Any,
        taking_seconds: float,
        connections: Connections,
        metrics: Metrics | None,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._metrics = metrics
        self._taking_seconds = taking_seconds
        self._connections = connections
        self._body: StreamReader | None = None  # of the request that is arriving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._headers_due = asyncio.get_running_loop().call_later(_HEADER_SECONDS, transport.close)
        self._connections.came(self)

    def abort(self) -> None:
        """Close at once: another connection needs the place."""
        if self.transport:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        requests = self._request_count
        super().data_received(data)
        if self._request_count != requests:
            self._headers_due.cancel()
            self._body = self._messages[-1][1]
        elif self._headers_due.cancelled() and self._waiter is not None and not self._waiter.done() and self.transport:
            # Idle until now, and the request is not complete: the client has begun to send its headers.
            self._headers_due = asyncio.get_running_loop().call_later(_HEADER_SECONDS, self.transport.close)
        if self._body is not None and self._body.is_eof():  # a request counts once its body is complete
            self._body = None
            self._connections.asked(self)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """aiohttp calls this whenever a body was read. To parse nothing once more takes 1.5 µs."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def connection_lost(self, exc: BaseException | None) -> None:
        """When a client leaves, its waiting request ends; a write that has begun is finished."""
        self._headers_due.cancel()
        self._connections.left(self)
        if self.writing_paused:
            self._taking_due.cancel()
        held = self._current_request is not None and self._current_request.get(WAITS, False)
        task = self._task_handler
        super().connection_lost(exc)
        if held and task is not None:
            task.cancel()

    def pause_writing(self) -> None:
        """The send buffer is full: from now on the client must keep reading."""
        super().pause_writing()
        self._untaken = self._watch_taking()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._taking_due.cancel()

    def _watch_taking(self) -> int:
        self._taking_due = asyncio.get_running_loop().call_later(self._taking_seconds, self._check_taking)
        return self.transport.get_write_buffer_size() if self.transport else 0

    def _check_taking(self) -> None:
        """Cut off a client that does not read: its answer stays in memory until then."""
        if self.transport is None:
            return
        if self._untaken - self.transport.get_write_buffer_size() < self._taking_seconds * _SLOWEST_BYTES_PER_SECOND:
            self.transport.abort()
        else:
            self._untaken = self._watch_taking()

    async def start(self) -> None:
        try:
            await super().start()
        except ValueError:  # a target such as http://xn--a/: yarl cannot decode its host, so there is no request
            if self.transport:
                self.transport.write(_plain_refusal(self._refuse(malformed())))
                self.transport.close()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if isinstance(resp, web.HTTPException):  # aiohttp refused before any middleware: `Expect`
            resp = self.handle_error(request, 400)
        answer, is_cut = (resp, False) if resp is WRITTEN else await super().finish_response(request, resp, start_time)
        if not self._messages:  # none arrived in the meantime
            self._connections.answered(self)
        # aiohttp keeps what is returned here until the connection's next request, and asks it only this.
        return WRITTEN if answer.keep_alive else answer, is_cut

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 — contains the bytes
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        if isinstance(exc, ConnectionError):  # the client left; nobody reads an answer, and nothing failed here
            raise exc
        if status < 500:
            response = self._refuse(malformed())
        else:
            log.error("a request failed: %s", type(exc).__name__)
            response = self._refuse(internal())
        response.force_close()
        return response

    def _refuse(self, refusal: Refused) -> web.Response:
        """The answer to a request that reaches no route; it is counted like the others."""
        if self._metrics:
            self._metrics.refused(refusal.code)
        return problem(refusal)


def _plain_refusal(response: web.Response) -> bytes:
    """The bytes of the answer to input that is not an HTTP request."""
    body = response.body if isinstance(response.body, bytes) else b""
    headers = {**response.headers, "Content-Length": str(len(body)), "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 400 Bad Request\r\n{head}\r\n".encode() + body


class QuietRunner(web.AppRunner):
    """Runs an application with `QuietRequestHandler`s."""

    def __init__(self, app: web.Application, taking_seconds: float, connections: Connections) -> None:
        super().__init__(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        self._taking_seconds = taking_seconds
        self._connections = connections
        self._metrics = app.get(METRICS)  # the local world's stand-ins for other servers have none

    async def setup(self) -> None:
        await super().setup()
        server = super().server
        if server and DELIVERIES in self.app:  # the public application; the others have no fast path
            server.request_handler = FastPath(self.app, server.request_handler)

    @property
    def server(self) -> web.Server | None:
        server = super().server
        return server and _QuietServer(  # type: ignore[return-value]
            server, self._taking_seconds, self._connections, self._metrics
        )


class _QuietServer:
    """The factory that a site calls for each connection."""

    def __init__(
        self, server: web.Server, taking_seconds: float, connections: Connections, metrics: Metrics | None
    ) -> None:
        self._server = server
        self._metrics = metrics
        self._taking_seconds = taking_seconds
        self._connections = connections

    def __call__(self) -> web.RequestHandler:
        return QuietRequestHandler(
            self._server,
            loop=asyncio.get_running_loop(),
            access_log=None,
            auto_decompress=False,  # encoded bodies are refused, so there is no need to inflate them
            keepalive_timeout=_KEEPALIVE_SECONDS,
            lingering_time=_LINGER_SECONDS,
            taking_seconds=self._taking_seconds,
            connections=self._connections,
            metrics=self._metrics,
        )
