"""The fast path: the usual form of the most frequent requests, answered before aiohttp's router and middleware.

It answers what the router would, byte for byte. A request goes this way only if nothing about it is unusual: HTTP/1.1
on a connection that is kept, for this host, the path as it is in the table, a body that is there already and has the
length that its header says. Everything else takes aiohttp's own way, which then refuses what is to be refused.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import HttpVersion11, hdrs, web

from inbox_server.http.answers import WRITTEN
from inbox_server.http.app_keys import IS_OURS, METRICS
from inbox_server.http.edge import answered
from inbox_server.http.routes import ROUTES
from inbox_server.protocol.requests import MAX_DELIVERY_BYTES

_USUAL: Final = {(route.method, route.path): route.usual for route in ROUTES if route.usual}
_UNUSUAL_HEADERS: Final = (hdrs.EXPECT, hdrs.UPGRADE, hdrs.TRANSFER_ENCODING, hdrs.CONTENT_ENCODING)


class FastPath:
    """The handler of all requests to `app`; `otherwise` is the application's own."""

    def __init__(
        self, app: web.Application, otherwise: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    ) -> None:
        self._app = app
        self._is_ours = app[IS_OURS]
        self._metrics = app[METRICS]
        self._otherwise = otherwise

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        method, path = request.method, request.raw_path
        usual = _USUAL.get((method, path.partition("?")[0] if method == hdrs.METH_GET else path))
        if usual is None or not self._is_usual(request):
            return await self._otherwise(request)
        body = request.content.read_nowait()
        answer = await answered(request, self._metrics, usual(self._app, request, body))
        if not isinstance(answer, bytes):  # a refusal, or a page in parts
            return answer
        await request.writer.write_eof(answer)
        return WRITTEN

    def _is_usual(self, request: web.BaseRequest) -> bool:
        headers, content = request.headers, request.content
        if request.version != HttpVersion11 or not request.keep_alive or not self._is_ours(headers.get(hdrs.HOST, "")):
            return False
        for name in _UNUSUAL_HEADERS:
            if name in headers:
                return False
        length = int(headers.get(hdrs.CONTENT_LENGTH, 0))
        most = MAX_DELIVERY_BYTES if request.method == hdrs.METH_POST else 0
        return length <= most and content.is_eof() and content.exception() is None
