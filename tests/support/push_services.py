"""A push service and browsers on loopback: it takes what RFC 8030, 8291 and 8292 allow, and can be told to fail."""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import http_ece
import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from inbox_server.clock import Clock
from inbox_server.protocol.base64url import decode, encode
from inbox_server.world.local_world import free_socket
from tests.support.patience import PATIENCE_SECONDS


@dataclass(slots=True)
class Browser:
    """One that subscribed: its endpoint, its keys, and the messages that it could decrypt."""

    endpoint: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    auth: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    heard: list[bytes] = field(default_factory=list)

    def subscription(self) -> dict[str, Any]:
        """As `PushSubscription.toJSON()` has it."""
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {
            "endpoint": self.endpoint,
            "expirationTime": None,
            "keys": {"p256dh": encode(point), "auth": encode(self.auth)},
        }


@dataclass(slots=True)
class Pushed:
    """A push message as it came to the push service."""

    path: str
    headers: dict[str, str]
    body: bytes
    claims: dict[str, Any]


@dataclass(slots=True)
class PushService:
    """`vapid_key` is whose messages are taken, as browsers give it when they subscribe."""

    url: str
    clock: Clock
    vapid_key: str | None = None
    browsers: dict[str, Browser] = field(default_factory=dict)
    pushed: list[Pushed] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Why messages were not taken."""
    status: int = 201
    gone: int = 410
    """The status of what is pushed to a browser that is not known."""
    headers: dict[str, str] = field(default_factory=dict)
    hanging: bool = False
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    def subscribe(self, path: str = "") -> Browser:
        path = path or f"/push/{secrets.token_urlsafe(24)}"
        return self.browsers.setdefault(path, Browser(self.url + path))

    async def arrivals(self, count: int) -> list[Pushed]:
        """What came, once it is so many."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._arrived:
            await self._arrived.wait_for(lambda: len(self.pushed) + len(self.refused) >= count)
        assert self.refused == []
        return self.pushed

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            pushed = self._check(request, body)
            self.pushed.append(pushed)
            if pushed.path in self.browsers and self.status == 201:
                self._deliver(self.browsers[pushed.path], pushed)
        except (AssertionError, ValueError, KeyError, jwt.InvalidTokenError, http_ece.ECEException) as error:
            self.refused.append(repr(error))
            return web.Response(status=400)
        finally:
            async with self._arrived:
                self._arrived.notify_all()
        if self.hanging:
            await asyncio.Event().wait()
        status = self.status if pushed.path in self.browsers else self.gone
        return web.Response(status=status, headers=self.headers, text="what push services say")

    def _check(self, request: web.Request, body: bytes) -> Pushed:
        """RFC 8030 section 5, RFC 8291 section 2 and 4, RFC 8292 section 2 and 3."""
        headers = dict(request.headers)
        assert request.method == "POST"
        assert int(headers["TTL"]) > 0
        assert headers["Urgency"] in ("very-low", "low", "normal", "high")
        assert 0 < len(headers["Topic"]) <= 32
        decode(headers["Topic"] + "A" * (-len(headers["Topic"]) % 4))
        assert headers["Content-Encoding"] == "aes128gcm"
        assert len(body) <= 4096
        scheme, _, parameters = headers["Authorization"].partition(" ")
        assert scheme == "vapid"
        named = dict(each.strip().split("=", 1) for each in parameters.split(","))
        assert named.keys() == {"t", "k"}
        assert named["k"] == (self.vapid_key or named["k"])
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decode(named["k"]))
        claims = jwt.decode(
            named["t"],
            key,
            algorithms=["ES256"],
            audience=self.url,
            options={"require": ["aud", "exp", "sub"], "verify_exp": False},
        )
        assert self.clock() < claims["exp"] <= self.clock() + 24 * 3600
        return Pushed(request.path, headers, body, claims)

    def _deliver(self, browser: Browser, pushed: Pushed) -> None:
        browser.heard.append(http_ece.decrypt(pushed.body, private_key=browser.key, auth_secret=browser.auth))


@contextlib.asynccontextmanager
async def running_push_service(clock: Clock = lambda: int(time.time())) -> AsyncIterator[PushService]:  # type: ignore[assignment,return-value]
    with free_socket() as bound:
        service = PushService(f"http://127.0.0.1:{bound.getsockname()[1]}", clock)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", service.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.SockSite(runner, bound).start()
            yield service
        finally:
            await runner.cleanup()


def body_of(document: Any) -> bytes:
    return json.dumps(document).encode()
