"""Faults of other people's servers, which can be switched on while the local world runs.

A test sets a member of `world.faults`. Times are by the world's clock, so `clock.advance(…)` ends a timed fault:

    world.faults.names_absent_until = clock() + 2     # every name is a 404
    world.faults.names_empty_until = clock() + 2      # every zone file is empty
    world.faults.files_absent_until = clock() + 2     # every file in a bucket is a 404
    world.faults.absence_seconds = 60                 # a cache before the buckets: a 404 is repeated for that long
    world.faults.redirects = 1                        # a file is read only after so many redirects
    world.faults.redirect_status = 301
    world.faults.gzip = True                          # files come gzipped, whatever was asked for
    world.faults.refused_writes.append((429, 1))      # the next write: this status, and this Retry-After in seconds

Two more faults are set on the hub itself: `world.hub.cut(address, path, 10)` keeps only the first ten bytes of a file,
like an upload that was cut off, and `world.hub.challenge = "…"` requires other tokens from now on.
"""

import gzip
import json
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from inbox_server.clock import Clock, UnixTime

_NEVER: Final = UnixTime(0)
_HOP: Final = "moved"  # in the query: how many times a read was redirected


@dataclass(slots=True)
class Faults:
    clock: Clock
    names_absent_until: int = _NEVER
    names_empty_until: int = _NEVER
    files_absent_until: int = _NEVER
    absence_seconds: int = 0
    redirects: int = 0
    redirect_status: int = 302
    gzip: bool = False
    refused_writes: deque[tuple[int, int]] = field(default_factory=deque)
    _absent_until: dict[str, int] = field(default_factory=dict)

    def of_names(self) -> Middleware:
        @web.middleware
        async def names(request: web.Request, handler: Handler) -> web.StreamResponse:
            if self.clock() < self.names_absent_until:
                return web.json_response({"error": "cannot find name"}, status=404)
            response = await handler(request)
            if self.clock() < self.names_empty_until and isinstance(response, web.Response) and response.status == 200:
                return web.json_response(json.loads(response.text or "") | {"zonefile": ""})
            return response

        return names

    def of_reads(self) -> Middleware:
        @web.middleware
        async def reads(request: web.Request, handler: Handler) -> web.StreamResponse:
            hops = int(request.query.get(_HOP, "0"))
            if hops < self.redirects:
                location = str(request.rel_url.with_query({_HOP: hops + 1}))
                return web.Response(status=self.redirect_status, headers={"Location": location})
            if self.clock() < max(self.files_absent_until, self._absent_until.get(request.path, _NEVER)):
                return web.Response(status=404, text="File not found")
            response = await handler(request)
            if response.status == 404:
                self._absent_until[request.path] = self.clock() + self.absence_seconds
            return _gzipped(response) if self.gzip else response

        return reads

    def of_writes(self) -> Middleware:
        @web.middleware
        async def writes(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not self.refused_writes or not request.path.startswith(("/store/", "/delete/")):
                return await handler(request)
            status, wait = self.refused_writes.popleft()
            return web.json_response({"message": "Not now"}, status=status, headers={"Retry-After": str(wait)})

        return writes


def _gzipped(response: web.StreamResponse) -> web.StreamResponse:
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes) or not response.body:
        return response
    response.body = gzip.compress(response.body)
    response.headers["Content-Encoding"] = "gzip"
    return response
