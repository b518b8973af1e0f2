"""What ntfy does with a topic, as its server's source has it: plain lines, topics that need a token, UnifiedPush.

A topic with `up=1` is UnifiedPush's. It answers 507 until a phone has listened to it, and passes on in base64 what is
no text. UnifiedPush's own specification (SERV_1.2.0) has 201 where ntfy has 200.
"""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import NamedTuple

from aiohttp import web

from tests.support.patience import PATIENCE_SECONDS
from tests.support.serving import on_loopback

MOST_BYTES = 4096


class Asked(NamedTuple):
    """A request as it came; `target` is byte for byte what was written."""

    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Ntfy:
    """`shown` is what the phones that listen to a topic were given; a topic in `tokens` is closed to others."""

    url: str
    shown: dict[str, list[str]] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    listening: set[str] = field(default_factory=set)
    """Topics of UnifiedPush that a phone has listened to."""
    asked: list[Asked] = field(default_factory=list)
    status: int = 200
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def publish(self, request: web.Request) -> web.Response:
        body = await request.read()
        status = self._take(request, body)
        self.asked.append(Asked(request.raw_path, dict(request.headers), body))
        async with self._arrived:
            self._arrived.notify_all()
        return web.Response(status=status, text="what the host says", headers={"Location": f"{self.url}/elsewhere"})

    async def arrivals(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), self._arrived:
            await self._arrived.wait_for(lambda: len(self.asked) >= count)

    def _take(self, request: web.Request, body: bytes) -> int:
        topic = request.match_info["topic"]
        if self.status != 200:
            return self.status
        if topic in self.tokens and request.headers.get("Authorization") != f"Bearer {self.tokens[topic]}":
            return 403
        if not 1 <= len(body) <= MOST_BYTES:
            return 413
        is_push = request.query.get("up") == "1"
        if is_push and topic not in self.listening:
            return 507
        try:
            text = body.decode()
        except UnicodeDecodeError:
            if not is_push:
                return 400
            text = base64.b64encode(body).decode()
        self.shown.setdefault(topic, []).append(text)
        return 200


@contextlib.asynccontextmanager
async def running_ntfy() -> AsyncIterator[Ntfy]:
    ntfy, app = Ntfy(""), web.Application()
    app.router.add_post("/{topic}", ntfy.publish)
    async with on_loopback(app) as ntfy.url:
        yield ntfy
