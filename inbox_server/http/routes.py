"""The HTTP edge: every route, and the one place where answers and refusals become HTTP.

Handlers translate and decide nothing. Every answer, of any status, carries the same headers, so that browser apps on
any origin can read it (there is no ambient authority here for CORS to protect: a caller must hold a token).
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from aiohttp import web
from multidict import CIMultiDict

from inbox_server.clock import Clock
from inbox_server.clock_guard import ClockGuard
from inbox_server.config.config import Config
from inbox_server.errors import CODES, Refused
from inbox_server.http.capabilities import capabilities
from inbox_server.http.hosts import network_of
from inbox_server.inboxes.deliver import Deliveries
from inbox_server.inboxes.read import Reading
from inbox_server.inboxes.settings import InboxSettings
from inbox_server.inboxes.subscriptions import Subscriptions
from inbox_server.metrics import Metrics
from inbox_server.protocol.base64url import encode
from inbox_server.protocol.requests import MAX_DELIVERY_BYTES, MAX_OWNER_BYTES, bad_request

CLOCK: Final = web.AppKey[Clock]("clock")
CLOCK_GUARD: Final = web.AppKey("clock_guard", ClockGuard)
CONFIG: Final = web.AppKey("config", Config)
DELIVERIES: Final = web.AppKey("deliveries", Deliveries)
METRICS: Final = web.AppKey("metrics", Metrics)
INBOX_SETTINGS: Final = web.AppKey("inbox_settings", InboxSettings)
SUBSCRIPTIONS: Final = web.AppKey[Mapping[str, Subscriptions]]("subscriptions")
"""Those of each channel, by its name."""
READING: Final = web.AppKey("reading", Reading)
WAITS: Final = web.RequestKey("waits", bool)
"""Marks a request that may be held for long: when its client leaves, the request is cancelled."""
LARGE_BODIES: Final = web.AppKey("large_bodies", asyncio.Lock)
"""Requests with a large body proceed one by one, with others in between: reading 1,000 addresses takes 9 ms."""
IS_OURS: Final = web.AppKey[Callable[[str], bool]]("is_ours")

_HEADERS: Final = CIMultiDict(
    {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "Date, Retry-After, WWW-Authenticate",
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Content-Type": "application/json",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "Referrer-Policy": "no-referrer",
        "Server": "inbox-server",
        "X-Content-Type-Options": "nosniff",
    }
)
_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Last-Event-ID",
    "Access-Control-Max-Age": "7200",
}

_STREAM: Final = {
    "Content-Encoding": "identity",  # otherwise Caddy's `encode` holds events back until the stream ends
    "Content-Type": "text/event-stream",  # no charset: some clients compare the whole value
    "X-Accel-Buffering": "no",  # otherwise nginx holds events back until its buffer is full
}
_BODY_SECONDS: Final = 10
_CHANNEL: Final = "/v1/inbox/"

log = logging.getLogger(__name__)


def add_routes(app: web.Application, channels: Iterable[str]) -> None:
    """`channels` are the names of those to which owners can subscribe."""
    app[LARGE_BODIES] = asyncio.Lock()
    for method, path, handler in (
        ("GET", "/.well-known/message-inbox", capability_document),
        ("HEAD", "/.well-known/message-inbox", capability_document),  # what link checkers and monitors send first
        ("PUT", "/v1/inbox", put_inbox),
        ("GET", "/v1/inbox", get_inbox),
        ("DELETE", "/v1/inbox", delete_inbox),
        ("POST", "/v1/messages", post_message),
        ("GET", "/v1/messages", get_messages),
        ("POST", "/v1/messages/ack", post_ack),
        ("GET", "/v1/events", get_events),
    ):
        app.router.add_route(method, path, handler)
    for channel in channels:
        app.router.add_route("GET", _CHANNEL + channel, get_subscriptions)
        app.router.add_route("PUT", _CHANNEL + channel, put_subscription)
        app.router.add_route("DELETE", _CHANNEL + channel, delete_subscription)


async def capability_document(request: web.Request) -> web.Response:
    channels = [each.channel for each in request.app[SUBSCRIPTIONS].values()]
    document = capabilities(request.app[CONFIG], channels)
    return answer(200, document, {"Cache-Control": "max-age=300"})


async def put_inbox(request: web.Request) -> web.Response:
    body = await _body(request, MAX_OWNER_BYTES)
    new, document = await request.app[INBOX_SETTINGS].settle(_authorization(request), body, request.app[CLOCK]())
    return answer(201 if new else 200, document)


async def get_inbox(request: web.Request) -> web.Response:
    _refuse_query(request)
    return answer(200, await request.app[INBOX_SETTINGS].settings(_authorization(request), request.app[CLOCK]()))


async def delete_inbox(request: web.Request) -> web.Response:
    body = await _body(request, MAX_OWNER_BYTES)
    await request.app[INBOX_SETTINGS].forget(_authorization(request), body, request.app[CLOCK]())
    return _empty(204)


async def get_subscriptions(request: web.Request) -> web.Response:
    _refuse_query(request)
    return answer(200, await _subscriptions(request).subscriptions(_authorization(request), request.app[CLOCK]()))


async def put_subscription(request: web.Request) -> web.Response:
    body = await _body(request, MAX_OWNER_BYTES)
    await _subscriptions(request).subscribe(_authorization(request), body, request.app[CLOCK]())
    return _empty(204)


async def delete_subscription(request: web.Request) -> web.Response:
    body = await _body(request, MAX_OWNER_BYTES)
    await _subscriptions(request).unsubscribe(_authorization(request), body, request.app[CLOCK]())
    return _empty(204)


def _subscriptions(request: web.Request) -> Subscriptions:
    return request.app[SUBSCRIPTIONS][request.path.removeprefix(_CHANNEL)]


async def post_message(request: web.Request) -> web.Response:
    body = await _body(request, MAX_DELIVERY_BYTES)
    receipt = await request.app[DELIVERIES].deliver(
        _authorization(request),
        body,
        request.app[CLOCK_GUARD].dating(),
        network=network_of(request.remote, request.headers, request.app[CONFIG]),
    )
    return answer(201 if receipt.new else 200, {"id": encode(receipt.id), "expires": receipt.expires})


async def get_messages(request: web.Request) -> web.StreamResponse:
    reading, authorization, now = request.app[READING], _authorization(request), request.app[CLOCK]()
    page: bytes | AsyncGenerator[bytes, None] | None = reading.poll(authorization, request.raw_path, now)
    if page is None:
        request[WAITS] = True
        page = await reading.unread(authorization, request.raw_path, request.query, now)
    return web.Response(body=page, headers=_HEADERS) if isinstance(page, bytes) else await _send(request, page)


async def post_ack(request: web.Request) -> web.Response:
    body = await _body(request, MAX_OWNER_BYTES)
    await request.app[READING].acknowledge(_authorization(request), body, request.app[CLOCK]())
    return _empty(204)


async def get_events(request: web.Request) -> web.StreamResponse:
    request[WAITS] = True
    last_event_id = _once(request, "Last-Event-ID")
    events = request.app[READING].events(_authorization(request), request.query, last_event_id, request.app[CLOCK]())
    return await _send(request, events, _STREAM)


async def _send(
    request: web.Request, parts: AsyncGenerator[bytes, None], headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """An answer in parts: each is sent when the client has read most of the previous ones."""
    async with contextlib.aclosing(parts):
        first = await anext(parts)  # a refusal here still gets its own status
        response = web.StreamResponse(headers={**_HEADERS, **(headers or {})})
        await response.prepare(request)
        await response.write(first)
        del first
        with contextlib.suppress(StopAsyncIteration):
            while True:  # no variable holds a part: it would stay in memory during the wait
                await response.write(await anext(parts))
    await response.write_eof()
    return response


@web.middleware
async def edge(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn every refusal and failure into `application/problem+json`, and answer preflights."""
    try:
        _check_request(request)
        return _empty(204, _PREFLIGHT) if request.method == "OPTIONS" else await handler(request)
    except Refused as error:
        refusal, headers = error, None
    except web.HTTPException as error:
        refusal, headers = _refusal_of(error)
    except web.RequestPayloadError:
        refusal, headers = Refused("bad_request", "The body is not as its headers say.", member="body"), None
    except (asyncio.CancelledError, ConnectionError):  # the client left; nobody reads an answer
        raise
    except Exception as error:  # noqa: BLE001 — the one translation of bugs: a bare 500, and nothing of the request
        log.error("a request failed: %s", type(error).__name__)  # noqa: TRY400 — a traceback may hold values
        if request.writer.output_size > 0:
            raise ConnectionResetError("the answer has begun") from None
        refusal, headers = internal(), None
    request.app[METRICS].refused(refusal.code)
    return problem(refusal, headers)


def _check_request(request: web.Request) -> None:
    if not request.app[IS_OURS](request.host):
        raise Refused("wrong_host", "The Host header names a server other than this one.")
    codings = request.headers.getall("Transfer-Encoding", None)
    if codings and [coding.lower() for coding in codings] != ["chunked"]:
        raise malformed()  # aiohttp accepts others beside it, which a proxy may interpret differently


def problem(refusal: Refused, more_headers: Mapping[str, str] | None = None) -> web.Response:
    """RFC 9457. `code` is stable; `detail` is for people; `member` names what to fix; `now` is the server's time."""
    code = CODES[refusal.code]
    document: dict[str, Any] = {
        "status": code.status,
        "code": refusal.code,
        "title": code.title,
        "detail": refusal.detail,
    }
    headers = {"Content-Type": "application/problem+json", **(more_headers or {})}
    if refusal.member is not None:
        document["member"] = refusal.member
    if refusal.server_time is not None:
        document["now"] = refusal.server_time
    if refusal.retry_after is not None:
        headers["Retry-After"] = str(refusal.retry_after)
    if code.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return answer(code.status, document, headers)


def answer(status: int, document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> web.Response:
    body = json.dumps(document, separators=(",", ":")).encode()
    return web.Response(status=status, body=body, headers={**_HEADERS, **headers} if headers else _HEADERS)


def _empty(status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    response = web.Response(status=status, headers={**_HEADERS, **(headers or {})})
    del response.headers["Content-Type"]
    return response


def _refusal_of(error: web.HTTPException) -> tuple[Refused, Mapping[str, str] | None]:
    """aiohttp's own refusals (unknown path, wrong method, unparsable request), with the headers that belong to them."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allow = {"Allow": ", ".join(sorted({*error.allowed_methods, "OPTIONS"}))}
        return Refused("wrong_method", "See the `Allow` header for the methods of this path."), allow
    if isinstance(error, web.HTTPNotFound):
        return Refused("not_found", "No route of this protocol has this path."), None
    return malformed(), None


def malformed() -> Refused:
    return Refused("bad_request", "The request is not well-formed HTTP.")


def internal() -> Refused:
    return Refused("internal", "The fault is in the server, not in the request.")


def _authorization(request: web.Request) -> str | None:
    values = request.headers.getall("Authorization", [])
    if len(values) > 1:
        raise Refused("bad_token", "`Authorization` must be there once.", member="Authorization")
    return values[0] if values else None


def _once(request: web.Request, header: str) -> str | None:
    values = request.headers.getall(header, [])
    if len(values) > 1:
        raise bad_request(header, "must be there once")
    return values[0] if values else None


def _refuse_query(request: web.Request) -> None:
    """Refuse unknown parameters. Proxies log URLs, so no identity may be in one."""
    if request.query_string:
        raise bad_request("query", "must be empty for this request")


async def _body(request: web.Request, most: int) -> bytes:
    """The request's body. Raises `Refused` too_large before reading more than needed."""
    _refuse_query(request)
    if "Content-Encoding" in request.headers:  # the digest covers the bytes that were sent, so those must be parsed
        raise bad_request("Content-Encoding", "must not be sent: send the body uncompressed")
    if request.content_length is not None and request.content_length > most:
        raise _too_large(most)
    try:
        body = await _read(request)
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(most) from None
    if len(body) > most:
        raise _too_large(most)
    if len(body) > MAX_DELIVERY_BYTES:
        async with request.app[LARGE_BODIES]:
            await asyncio.sleep(0)
    return body


async def _read(request: web.Request) -> bytes:
    if request.content.is_eof():  # it arrived with the headers, as nearly every body does
        return await request.read()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise Refused("too_slow", f"The body did not arrive within {_BODY_SECONDS} seconds.") from None


def _too_large(most: int) -> Refused:
    return Refused("too_large", f"The body may have at most {most} bytes here.")
