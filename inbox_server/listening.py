"""Listening on a socket: aiohttp's runner, made quiet about what it could not parse."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from inbox_server.config import Listen, Tcp
from inbox_server.errors import Refused
from inbox_server.web import problem

_SHUTDOWN_SECONDS: Final = 4  # for requests in flight, so that a stop takes at most 5 s
_BACKLOG: Final = 1024

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def listening(app: web.Application, listen: Listen | socket.socket) -> AsyncIterator[list[str]]:
    """Serve `app` at `listen`, or on a socket that is bound already; yields the URLs that were really bound."""
    runner = QuietRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        if isinstance(listen, Tcp):
            await web.TCPSite(runner, listen.host, listen.port, backlog=_BACKLOG).start()
        elif isinstance(listen, socket.socket):
            await web.SockSite(runner, listen, backlog=_BACKLOG).start()
        else:
            await web.UnixSite(runner, str(listen.path), backlog=_BACKLOG).start()
        yield _urls(runner)
    finally:
        await runner.cleanup()


def _urls(runner: web.AppRunner) -> list[str]:
    return [
        f"unix:{address}" if isinstance(address, str) else f"http://{_host(address[0])}:{address[1]}"
        for address in runner.addresses
    ]


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


class QuietRequestHandler(web.RequestHandler):
    """aiohttp's, but what the HTTP parser refuses is answered like everything else, and logged by no word of it.

    aiohttp's own answer repeats the bytes it could not parse, and its log adds the client's address: a malformed
    header can hold a token.
    """

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 — holds the bytes
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        if status < 500:
            response = problem(Refused("bad_request", "The request is not well-formed HTTP."))
        else:
            log.error("a request failed: %s", type(exc).__name__)
            response = problem(Refused("internal", "This is a fault of the server, not of the request."))
        response.force_close()
        return response


class QuietRunner(web.AppRunner):
    """Runs an application with `QuietRequestHandler`s."""

    @property
    def server(self) -> web.Server | None:
        server = super().server
        return server and _QuietServer(server)  # type: ignore[return-value]


class _QuietServer:
    """What a site calls for each connection."""

    def __init__(self, server: web.Server) -> None:
        self._server = server

    def __call__(self) -> web.RequestHandler:
        return QuietRequestHandler(self._server, loop=asyncio.get_running_loop(), access_log=None)  # type: ignore[arg-type]
