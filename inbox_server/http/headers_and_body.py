"""What is read of a request before anything decides about it: headers that must be there once, the query, the body."""

import asyncio
from typing import Final

from aiohttp import web

from inbox_server.errors import Refused
from inbox_server.http.app_keys import LARGE_BODIES
from inbox_server.protocol.requests import MAX_DELIVERY_BYTES, bad_request

_BODY_SECONDS: Final = 10


def authorization_of(request: web.BaseRequest) -> str | None:
    values = request.headers.getall("Authorization", [])
    if len(values) > 1:
        raise Refused("bad_token", "`Authorization` must be there once.", member="Authorization")
    return values[0] if values else None


def once(request: web.BaseRequest, header: str) -> str | None:
    values = request.headers.getall(header, [])
    if len(values) > 1:
        raise bad_request(header, "must be there once")
    return values[0] if values else None


def refuse_query(request: web.Request) -> None:
    """Refuse unknown parameters. Proxies log URLs, so no identity may be in one."""
    if request.query_string:
        raise bad_request("query", "must be empty for this request")


async def body_of(request: web.Request, most: int) -> bytes:
    """The request's body. Raises `Refused` too_large before reading more than needed."""
    refuse_query(request)
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
