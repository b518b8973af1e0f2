"""The edge: whether a request is for this server, and the one place where refusals and failures become HTTP."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

from aiohttp import web

from inbox_server.errors import Refused
from inbox_server.http.answers import empty, internal, malformed, problem
from inbox_server.http.app_keys import IS_OURS, METRICS
from inbox_server.metrics import Metrics

_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Last-Event-ID",
    "Access-Control-Max-Age": "7200",
}

A = TypeVar("A")

log = logging.getLogger(__name__)


@web.middleware
async def edge(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer preflights, and whatever else the handlers answer or refuse."""
    return await answered(request, request.app[METRICS], _checked(request, handler))


async def _checked(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    _check_request(request)
    return empty(204, _PREFLIGHT) if request.method == "OPTIONS" else await handler(request)


async def answered(request: web.BaseRequest, metrics: Metrics, handling: Awaitable[A]) -> A | web.StreamResponse:
    """What the handler answers; a refusal or a failure becomes `application/problem+json`."""
    try:
        return await handling
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
    metrics.refused(refusal.code)
    return problem(refusal, headers)


def _check_request(request: web.Request) -> None:
    if not request.app[IS_OURS](request.host):
        raise Refused("wrong_host", "The Host header names a server other than this one.")
    codings = request.headers.getall("Transfer-Encoding", None)
    if codings and [coding.lower() for coding in codings] != ["chunked"]:
        raise malformed()  # aiohttp accepts others beside it, which a proxy may interpret differently


def _refusal_of(error: web.HTTPException) -> tuple[Refused, Mapping[str, str] | None]:
    """aiohttp's own refusals (unknown path, wrong method, unparsable request), with the headers that belong to them."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allow = {"Allow": ", ".join(sorted({*error.allowed_methods, "OPTIONS"}))}
        return Refused("wrong_method", "See the `Allow` header for the methods of this path."), allow
    if isinstance(error, web.HTTPNotFound):
        return Refused("not_found", "No route of this protocol has this path."), None
    return malformed(), None
