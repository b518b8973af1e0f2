"""The admin listener of several server processes: whichever takes a request asks all of them, itself too.

Each process has an admin listener of its own, at a Unix socket in the data directory.
"""

import asyncio
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web

from inbox_server.errors import Refused
from inbox_server.http.admin import is_ours
from inbox_server.http.answers import HEADERS, answer
from inbox_server.http.app_keys import IS_OURS, METRICS
from inbox_server.http.edge import edge
from inbox_server.metrics import CONTENT_TYPE, Metrics, merged

_SECONDS: Final = aiohttp.ClientTimeout(total=2)  # a process that takes longer hangs
_SOCKETS: Final = web.AppKey[Sequence[Path]]("sockets")


@dataclass(frozen=True, slots=True)
class _Said:
    status: int
    body: bytes
    retry_after: str | None


def make_host_admin_app(sockets: Sequence[Path], metrics: Metrics, hosts: Collection[str] = ()) -> web.Application:
    """`sockets` are those of all processes, in order. It answers to the same hosts as an admin listener."""
    app = web.Application(middlewares=[edge])
    app[_SOCKETS] = sockets
    app[METRICS] = metrics
    app[IS_OURS] = is_ours(hosts)
    app.router.add_get("/health", state)
    app.router.add_get("/ready", state)
    app.router.add_get("/metrics", counts)
    return app


async def state(request: web.Request) -> web.Response:
    """200 when all processes that run say so, with how many run; else what the first of the others says.

    One that has ended is started again by the parent, and the others go on. One that hangs keeps its connections.
    """
    said = await _ask_all(request)
    running = [each for each in said if each is not None]
    for each in running:
        if each.status != 200:
            headers = {**HEADERS, "Content-Type": "application/problem+json"}
            if each.retry_after:
                headers["Retry-After"] = each.retry_after
            return web.Response(status=each.status, body=each.body, headers=headers)
    return answer(200, {**json.loads(running[0].body), "processes": {"up": len(running), "of": len(said)}})


async def counts(request: web.Request) -> web.Response:
    """The counts and sizes of all processes in Prometheus' text format."""
    said = await _ask_all(request, refuse=False)
    texts = {
        number: each.body if each is not None and each.status == 200 else None for number, each in enumerate(said, 1)
    }
    return web.Response(body=merged(texts), headers={"Content-Type": CONTENT_TYPE})


async def _ask_all(request: web.Request, *, refuse: bool = True) -> list[_Said | None]:
    """What each process answers to this path; None of one that does not run.

    Raises `Refused` for one that hangs, unless `refuse` is False: then it is like one that does not run.
    """
    sockets = request.app[_SOCKETS]
    said = await asyncio.gather(*(_ask(each, request.path) for each in sockets), return_exceptions=True)
    for number, each in enumerate(said, 1):
        if isinstance(each, TimeoutError) and refuse:
            raise Refused("internal", f"Process {number} does not answer.")
    return [each if isinstance(each, _Said) else None for each in said]


async def _ask(socket: Path, path: str) -> _Said:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=_SECONDS) as session,
        session.get(f"http://localhost{path}") as said,
    ):
        return _Said(said.status, await said.read(), said.headers.get("Retry-After"))
