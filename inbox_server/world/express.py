"""How Express changes answers: the real hub and its reader are built on it."""

import base64
import hashlib
import html
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

_UTF8_TYPES = ("application/json", "application/javascript")


def as_express(asked: bool) -> Middleware:
    """Does nothing unless `asked`. Refusals that are not the hub's own become HTML pages."""

    @web.middleware
    async def express(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not asked:
            return await handler(request)
        try:
            response = await handler(request)
        except web.HTTPException as refusal:
            return _page(request, 404 if refusal.status == 405 else refusal.status)
        if response.status == 404 and isinstance(response, web.Response) and response.content_type == "text/plain":
            response.content_type = "text/html"
            response.headers["ETag"] = _weak_etag(response.text or "")
            response.headers["Cache-Control"] = "no-cache"
        elif response.content_type in _UTF8_TYPES or response.content_type.startswith("text/"):
            response.charset = response.charset or "utf-8"
        return response

    return express


def _page(request: web.Request, status: int) -> web.Response:
    what = f"Cannot {request.method} {request.path}" if status == 404 else HTTPStatus(status).phrase
    text = f"<!DOCTYPE html>\n<title>Error</title>\n<pre>{html.escape(what)}</pre>\n"
    return web.Response(status=status, text=text, content_type="text/html")


def _weak_etag(text: str) -> str:
    digest = base64.b64encode(hashlib.sha1(text.encode(), usedforsecurity=False).digest()).decode()
    return f'W/"{len(text.encode()):x}-{digest[:27]}"'
