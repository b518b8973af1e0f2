"""Every route, and the handlers, which translate and decide nothing.

Every answer, of any status, carries the same headers, so that browser apps on any origin can read it (there is no
ambient authority here for CORS to protect: a caller must hold a token).
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from typing import Final, NamedTuple

from aiohttp import web

from inbox_server.http.answers import HEADERS, answer, empty, ready
from inbox_server.http.app_keys import (
    CLOCK,
    CLOCK_GUARD,
    CONFIG,
    DELIVERIES,
    INBOX_SETTINGS,
    LARGE_BODIES,
    LOGS,
    READING,
    RECEIPT_KEY,
    SEALED_DELIVERIES,
    SHEETS,
    SUBSCRIPTIONS,
    WAITS,
)
from inbox_server.http.capabilities import capabilities
from inbox_server.http.headers_and_body import authorization_of, body_of, once, refuse_query
from inbox_server.http.hosts import network_of
from inbox_server.inboxes.subscriptions import Subscriptions
from inbox_server.protocol.base64url import encode
from inbox_server.protocol.requests import MAX_DELIVERY_BYTES, MAX_OWNER_BYTES
from inbox_server.protocol.tickets import MAX_SHEET_BYTES, is_ticket

_STREAM: Final = {
    "Content-Encoding": "identity",  # otherwise Caddy's `encode` holds events back until the stream ends
    "Content-Type": "text/event-stream",  # no charset: some clients compare the whole value
    "X-Accel-Buffering": "no",  # otherwise nginx holds events back until its buffer is full
}
_CHANNEL: Final = "/v1/inbox/"


class Route(NamedTuple):
    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    usual: Callable[[web.Application, web.BaseRequest, bytes], Awaitable[bytes | web.StreamResponse]] | None = None
    """Answers the usual form of the request, with its body, before aiohttp's router: see `fast_path.py`."""


def add_routes(app: web.Application, channels: Iterable[str]) -> None:
    """`channels` are the names of those to which owners can subscribe."""
    app[LARGE_BODIES] = asyncio.Lock()
    for route in ROUTES:
        app.router.add_route(route.method, route.path, route.handler)
    for channel in channels:
        app.router.add_route("GET", _CHANNEL + channel, get_subscriptions)
        app.router.add_route("PUT", _CHANNEL + channel, put_subscription)
        app.router.add_route("DELETE", _CHANNEL + channel, delete_subscription)


async def capability_document(request: web.Request) -> web.Response:
    channels = [each.channel for each in request.app[SUBSCRIPTIONS].values()]
    key, draining = request.app[RECEIPT_KEY], request.app[DELIVERIES].draining
    document = capabilities(request.app[CONFIG], channels, key, draining=draining)
    return answer(200, document, {"Cache-Control": "max-age=300"})


async def put_inbox(request: web.Request) -> web.Response:
    body = await body_of(request, MAX_OWNER_BYTES)
    new, document = await request.app[INBOX_SETTINGS].settle(authorization_of(request), body, request.app[CLOCK]())
    return answer(201 if new else 200, document)


async def get_inbox(request: web.Request) -> web.Response:
    refuse_query(request)
    return answer(200, await request.app[INBOX_SETTINGS].settings(authorization_of(request), request.app[CLOCK]()))


async def delete_inbox(request: web.Request) -> web.Response:
    body = await body_of(request, MAX_OWNER_BYTES)
    await request.app[INBOX_SETTINGS].forget(authorization_of(request), body, request.app[CLOCK]())
    return empty(204)


async def get_log(request: web.Request) -> web.Response:
    log = await request.app[LOGS].read(authorization_of(request), request.query, request.app[CLOCK]())
    return web.Response(body=log, headers=HEADERS)


async def put_tickets(request: web.Request) -> web.Response:
    body = await body_of(request, MAX_SHEET_BYTES)
    await request.app[SHEETS].keep(authorization_of(request), body, request.app[CLOCK]())
    return empty(204)


async def get_subscriptions(request: web.Request) -> web.Response:
    refuse_query(request)
    return answer(200, await _subscriptions(request).subscriptions(authorization_of(request), request.app[CLOCK]()))


async def put_subscription(request: web.Request) -> web.Response:
    body = await body_of(request, MAX_OWNER_BYTES)
    await _subscriptions(request).subscribe(authorization_of(request), body, request.app[CLOCK]())
    return empty(204)


async def delete_subscription(request: web.Request) -> web.Response:
    body = await body_of(request, MAX_OWNER_BYTES)
    await _subscriptions(request).unsubscribe(authorization_of(request), body, request.app[CLOCK]())
    return empty(204)


def _subscriptions(request: web.Request) -> Subscriptions:
    return request.app[SUBSCRIPTIONS][request.path.removeprefix(_CHANNEL)]


async def post_message(request: web.Request) -> web.Response:
    body = await body_of(request, MAX_DELIVERY_BYTES)
    status, document = await _deliver(request.app, request, body)
    return web.Response(status=status, body=document, headers=HEADERS)


async def usual_post_message(app: web.Application, request: web.BaseRequest, body: bytes) -> bytes:
    return ready(*await _deliver(app, request, body))


async def _deliver(app: web.Application, request: web.BaseRequest, body: bytes) -> tuple[int, bytes]:
    """The status, and the document."""
    authorization, now = authorization_of(request), app[CLOCK_GUARD].dating()
    network = network_of(request.remote, request.headers, app[CONFIG])
    deliver = app[SEALED_DELIVERIES].deliver if is_ticket(authorization) else app[DELIVERIES].deliver
    taken = await deliver(authorization, body, now, network=network)
    receipt = b',"receipt":' + taken.receipt.json() if taken.receipt else b""
    document = b'{"id":"%b","expires":%d%b}' % (encode(taken.id).encode(), taken.expires, receipt)
    return 201 if taken.new else 200, document


async def get_messages(request: web.Request) -> web.StreamResponse:
    page = await _page(request.app, request)
    return web.Response(body=page, headers=HEADERS) if isinstance(page, bytes) else await _send(request, page)


async def usual_get_messages(app: web.Application, request: web.BaseRequest, _: bytes) -> bytes | web.StreamResponse:
    page = await _page(app, request)
    return ready(200, page) if isinstance(page, bytes) else await _send(request, page)


async def _page(app: web.Application, request: web.BaseRequest) -> bytes | AsyncGenerator[bytes, None]:
    reading, authorization, now = app[READING], authorization_of(request), app[CLOCK]()
    answer = reading.poll(authorization, request.raw_path, now)
    if answer is not None:
        return answer
    request[WAITS] = True
    return await reading.unread(authorization, request.raw_path, request.query, now)


async def post_ack(request: web.Request) -> web.Response:
    body = await body_of(request, MAX_OWNER_BYTES)
    await request.app[READING].acknowledge(authorization_of(request), body, request.app[CLOCK]())
    return empty(204)


async def get_events(request: web.Request) -> web.StreamResponse:
    return await usual_get_events(request.app, request, b"")


async def usual_get_events(app: web.Application, request: web.BaseRequest, _: bytes) -> web.StreamResponse:
    request[WAITS] = True
    last_event_id = once(request, "Last-Event-ID")
    events = app[READING].events(authorization_of(request), request.query, last_event_id, app[CLOCK]())
    return await _send(request, events, _STREAM)


async def _send(
    request: web.BaseRequest, parts: AsyncGenerator[bytes, None], headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """An answer in parts: each is sent when the client has read most of the previous ones."""
    async with contextlib.aclosing(parts):
        first = await anext(parts)  # a refusal here still gets its own status
        response = web.StreamResponse(headers={**HEADERS, **(headers or {})})
        await response.prepare(request)
        response.headers.clear()  # they are sent, and a stream may stay open for an hour
        await response.write(first)
        del first
        with contextlib.suppress(StopAsyncIteration):
            while True:  # no variable holds a part: it would stay in memory during the wait
                await response.write(await anext(parts))
    await response.write_eof()
    return response


ROUTES: Final = (
    Route("GET", "/.well-known/message-inbox", capability_document),
    Route("HEAD", "/.well-known/message-inbox", capability_document),  # what link checkers and monitors send first
    Route("PUT", "/v1/inbox", put_inbox),
    Route("GET", "/v1/inbox", get_inbox),
    Route("DELETE", "/v1/inbox", delete_inbox),
    Route("GET", "/v1/inbox/log", get_log),
    Route("PUT", "/v1/inbox/tickets", put_tickets),
    Route("POST", "/v1/messages", post_message, usual_post_message),
    Route("GET", "/v1/messages", get_messages, usual_get_messages),
    Route("POST", "/v1/messages/ack", post_ack),
    Route("GET", "/v1/events", get_events, usual_get_events),
)
