"""UnifiedPush: its endpoints are Web Push endpoints. An app has one at ntfy, and decrypts what its phone was given.

UnifiedPush's server (SERV_1.2.0) takes a POST of 1 to 4,096 bytes at an endpoint of at most 1,000 bytes, which may have
a query; no redirect is followed. Since AND_3 the message is that of Web Push: RFC 8030, 8291 and 8292.
"""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import http_ece
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from inbox_server.http.app_keys import METRICS
from inbox_server.notify.webpush import PAYLOAD
from inbox_server.protocol.base64url import decode
from inbox_server.world.local_world import World
from tests.support.ntfy import Ntfy, running_ntfy
from tests.support.patience import PATIENCE_SECONDS
from tests.support.push_services import Browser, body_of
from tests.support.requests import Caller, at, inbox_app

STALE = 6  # more than the failures after which a host is left alone


@dataclass(slots=True)
class Scene:
    """A server, and an ntfy at which apps have endpoints."""

    ntfy: Ntfy
    owner: Caller
    app: web.Application

    async def app_of(self, owner: Caller, *, is_listening: bool = True) -> Browser:
        """An app on a phone, with keys of its own as its connector makes them, after it has subscribed."""
        topic = f"up{secrets.token_urlsafe(20)}"
        if is_listening:
            self.ntfy.listening.add(topic)
        app = Browser(f"{self.ntfy.url}/{topic}?up=1")
        body = body_of(app.subscription())
        answer = await owner.send("PUT", "/v1/inbox/push", body, token=owner.owner_token("settings", body))
        assert answer.status == 204
        return app

    async def another(self) -> Caller:
        other = at(self.owner)
        assert (await other.claim({"accept": "anyone"})).status == 201
        return other

    async def deliver(self, owner: Caller) -> None:
        assert (await at(self.owner).deliver("some opaque text", recipient=owner.key.public)).status == 201

    async def until_counted(self, outcome: str, count: int) -> None:
        line = f'inbox_notifications_total{{channel="push",outcome="{outcome}"}} {count}.0'
        async with asyncio.timeout(PATIENCE_SECONDS):
            while line not in self.app[METRICS].text().decode():
                await self.owner.settings()

    def heard(self, app: Browser) -> list[bytes]:
        """What the app makes of what ntfy gave its phone."""
        topic = app.endpoint.rpartition("/")[2].partition("?")[0]
        given = [base64.b64decode(each, validate=True) for each in self.ntfy.shown.get(topic, [])]
        return [http_ece.decrypt(each, private_key=app.key, auth_secret=app.auth) for each in given]


@pytest.fixture
async def scene(world: World, tmp_path: Path) -> AsyncIterator[Scene]:
    async with running_ntfy() as ntfy:
        settings: dict[str, dict[str, Any]] = {
            "registration": {"mode": "open", "open_to_keys": True},
            "notify": {"pause_seconds": 86_400, "jitter_seconds": 0},
            "outgoing": {"allow": [ntfy.url]},
        }
        async with inbox_app(world, tmp_path / "pushing", settings) as (owner, app):
            assert (await owner.claim({"accept": "anyone"})).status == 201
            yield Scene(ntfy, owner, app)


async def test_an_app_with_an_endpoint_at_ntfy_decrypts_what_its_phone_was_given(scene: Scene) -> None:
    app, other = await scene.app_of(scene.owner), await scene.app_of(scene.owner)
    await scene.deliver(scene.owner)
    await scene.until_counted("sent", 2)
    assert scene.heard(app) == scene.heard(other) == [PAYLOAD]


async def test_the_request_is_what_unifiedpush_and_web_push_ask_of_an_application_server(scene: Scene) -> None:
    document = (await scene.owner.send("GET", "/.well-known/message-inbox")).json()
    app = await scene.app_of(scene.owner)
    await scene.deliver(scene.owner)
    await scene.until_counted("sent", 1)
    (asked,) = scene.ntfy.asked
    assert asked.target == app.endpoint.removeprefix(scene.ntfy.url)
    assert 1 <= len(asked.body) <= 4096
    assert int(asked.headers["TTL"]) > 0
    assert asked.headers["Urgency"] == "normal"
    assert asked.headers["Content-Encoding"] == "aes128gcm"
    token, _, named = asked.headers["Authorization"].removeprefix("vapid t=").partition(", k=")
    assert named == document["push"]["vapid_key"]
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decode(named))
    claims = jwt.decode(token, key, algorithms=["ES256"], audience=scene.ntfy.url, options={"verify_exp": False})
    assert claims["sub"] == document["origin"]


async def test_phones_that_were_long_offline_stop_no_other_owners_phone(scene: Scene) -> None:
    """ntfy answers 507 for their topics, which says nothing about its host."""
    for _ in range(STALE):
        await scene.app_of(scene.owner, is_listening=False)
    await scene.deliver(scene.owner)
    await scene.until_counted("failed", STALE)
    other = await scene.another()
    app = await scene.app_of(other)
    await scene.deliver(other)
    await scene.until_counted("sent", 1)
    assert scene.heard(app) == [PAYLOAD]
    assert (await scene.owner.settings()).json()["push"] == STALE  # the phone may come back
