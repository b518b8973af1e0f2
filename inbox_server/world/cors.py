"""Lets pages from any origin use the local world's servers in a browser."""

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

_MAX_AGE_SECONDS: Final = "86400"  # as the real hub


def open_to_pages(*, methods: str, headers: str = "*", exposed: str = "") -> Middleware:
    """Answers every preflight, and marks every other answer, even a refusal, as readable."""
    preflight = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": headers,
        "Access-Control-Max-Age": _MAX_AGE_SECONDS,
    }
    readable = {"Access-Control-Allow-Origin": "*"} | ({"Access-Control-Expose-Headers": exposed} if exposed else {})

    @web.middleware
    async def cors(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=preflight)
        try:
            response = await handler(request)
        except web.HTTPException as refusal:
            # Returned, not raised: `listening` treats an exception from an application as a malformed request.
            response = web.Response(status=refusal.status, body=refusal.body, headers=refusal.headers)
        response.headers.update(readable)
        return response

    return cors
