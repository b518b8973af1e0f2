"""A Gaia hub and its read side, in memory, in the real hub's shapes (stacks-network/gaia).

What it has: `hub_info`, `store` with version 1 tokens, the challenge and entity tags as conditions, reading, CORS.
What it has not yet: deleting, listing, association tokens and scopes; those are refused, not ignored.
"""

import hashlib
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Final

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePublicKey

from inbox_server.clock import Clock
from inbox_server.keys import NotAKey, key_from_bytes

_CHALLENGE: Final = '["gaiahub","0","local.hub","blockstack_storage_please_sign"]'
_MAX_MEGABYTES: Final = 20
# Only the signature is PyJWT's to check: the real hub looks at no other registered claim but `exp`.
_SIGNATURE_ONLY: Final[Any] = {f"verify_{claim}": False for claim in ("exp", "iat", "nbf", "aud", "iss", "sub", "jti")}


@dataclass(frozen=True, slots=True)
class StoredFile:
    content: bytes
    content_type: str
    etag: str
    stored_at: int


class HubRefused(Exception):
    """A refusal in the hub's own words: the status, the name of its error class, the message."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error


class Hub:
    """The files of the local world. `read_url` is where the read side answers, with a slash at the end."""

    def __init__(self, clock: Clock) -> None:
        self.files: dict[str, StoredFile] = {}
        self.read_url = ""
        self.write_url = ""
        self._clock = clock

    def store(self, address: str, path: str, content: bytes, content_type: str) -> StoredFile:
        if ".." in path.split("/"):
            raise HubRefused(403, "BadPathError", "Invalid Path")
        etag = hashlib.md5(content, usedforsecurity=False).hexdigest()  # as the real hub's disk driver
        file = StoredFile(content, content_type, etag, self._clock())
        self.files[f"{address}/{path}"] = file
        return file

    def check_condition(self, address: str, path: str, *, match: str | None, none_match: str | None) -> None:
        """`If-Match` updates the file with that tag; `If-None-Match: *` makes a new one. Raises `HubRefused`."""
        file = self.files.get(f"{address}/{path}")
        holds = none_match is None or (none_match == "*" and match is None and file is None)
        if match not in (None, "*"):
            holds = holds and file is not None and file.etag == match
        if not holds:
            raise HubRefused(412, "PreconditionFailedError", "The entity has been changed, or is there already.")

    def check_token(self, authorization: str, address: str) -> None:
        """Raises `HubRefused` unless the token, with the bucket's key, may write to the bucket at `address`."""
        if authorization[:6].lower() != "bearer" or not authorization[7:].startswith("v1:"):
            raise _invalid("Failed to parse authentication header.")
        token = authorization[10:]
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
            raw_key = bytes.fromhex(claims["iss"])
            writer = key_from_bytes(raw_key).address  # an uncompressed key writes to the compressed one's bucket
            key = EllipticCurvePublicKey.from_encoded_point(SECP256K1(), raw_key)
        except (jwt.PyJWTError, NotAKey, ValueError, LookupError, TypeError):
            raise _invalid("Failed to parse authentication header.") from None
        if writer != address:
            raise _invalid(f"Address not allowed to write on this path: {address}")
        if "scopes" in claims or "associationToken" in claims:
            raise _invalid("This local hub takes no scopes and no association tokens.")
        if claims.get("hubUrl", self.write_url).rstrip("/") != self.write_url:
            raise _invalid(f"Auth token's claimed hub url '{claims['hubUrl']}' not found in this hub's set")
        try:
            jwt.decode(token, key, algorithms=["ES256K"], options=_SIGNATURE_ONLY)
        except jwt.PyJWTError:
            raise _invalid("Failed to verify JWT: invalid signature") from None
        if claims.get("gaiaChallenge") != _CHALLENGE:
            raise _invalid("Invalid gaiaChallenge text in supplied JWT")
        if "exp" in claims and not claims["exp"] >= self._clock():
            raise _invalid("Expired authentication token")


HUB: Final = web.AppKey("hub", Hub)


def make_hub(hub: Hub) -> web.Application:
    """The write side."""
    app = web.Application(middlewares=[_hub_cors], client_max_size=_MAX_MEGABYTES << 20)
    app[HUB] = hub
    app.router.add_get("/hub_info", hub_info)
    app.router.add_get("/hub_info/", hub_info)
    app.router.add_post("/store/{address:[a-zA-Z0-9]+}/{path:.+}", store)
    return app


def make_reader(hub: Hub) -> web.Application:
    """The read side: what a bucket's public URL leads to."""
    app = web.Application()
    app[HUB] = hub
    app.router.add_get("/hub/{address}/{path:.+}", read)
    return app


async def hub_info(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "challenge_text": _CHALLENGE,
            "latest_auth_version": "v1",
            "max_file_upload_size_megabytes": _MAX_MEGABYTES,
            "read_url_prefix": request.app[HUB].read_url,
        }
    )


async def store(request: web.Request) -> web.Response:
    hub = request.app[HUB]
    address, path = request.match_info["address"], request.match_info["path"].removesuffix("/")
    hub.check_token(request.headers.get("Authorization", ""), address)
    hub.check_condition(
        address,
        path,
        match=request.headers.get("If-Match"),
        none_match=request.headers.get("If-None-Match"),
    )
    content_type = request.headers.get("Content-Type", "application/octet-stream")
    file = hub.store(address, path, await request.read(), content_type)
    return web.json_response({"publicURL": f"{hub.read_url}{address}/{path}", "etag": file.etag}, status=202)


async def read(request: web.Request) -> web.Response:
    headers = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Content-Type,ETag"}
    file = request.app[HUB].files.get(f"{request.match_info['address']}/{request.match_info['path']}")
    if file is None:
        return web.Response(status=404, text="File not found", headers=headers)
    headers |= {
        "Content-Type": file.content_type,
        "ETag": file.etag,
        "Last-Modified": formatdate(file.stored_at, usegmt=True),
        "Cache-Control": "no-cache",
    }
    return web.Response(body=file.content, headers=headers)


@web.middleware
async def _hub_cors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = web.Response() if request.method == "OPTIONS" else await handler(request)
    except HubRefused as refusal:
        answer = {"message": str(refusal), "error": refusal.error}
        response = web.json_response(answer, status=refusal.status)
    response.headers["Access-Control-Allow-Origin"] = "*"
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = "DELETE,POST,GET,OPTIONS,HEAD"
        response.headers["Access-Control-Allow-Headers"] = "Authorization,Content-Type,If-Match,If-None-Match"
        response.headers["Access-Control-Max-Age"] = "86400"
    return response


def _invalid(message: str) -> HubRefused:
    return HubRefused(401, "ValidationError", message)
