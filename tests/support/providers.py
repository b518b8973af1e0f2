"""An inbox server at one URL that can be stopped, killed, restored from a copy, and that can lie to its owner.

In front of the real server is a small one that passes everything on. It has the server's secret, as an operator has,
so what it changes in a log it signs anew.
"""

import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from inbox_server.config.file import parse_config
from inbox_server.http.listening import listening
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.identity.keys import SigningKey
from inbox_server.inbox_log import HEAD_TYPE, LogEntry, LogPoint, fold
from inbox_server.protocol.base64url import decode, encode
from inbox_server.protocol.signed import read_signed, write_signed
from inbox_server.server import open_app
from inbox_server.store.sqlite.backup import back_up, restore
from inbox_server.world.local_world import World, free_socket

SECRET = bytes(range(100, 132))

_PASSED_ON = ("Authorization", "Host", "Last-Event-ID")

Document = dict[str, Any]
Lie = Callable[[str, Document], Document]
"""What is told instead: of the path and the true answer."""


@dataclass(slots=True)
class Provider:
    url: str
    folder: Path
    world: World
    limits: dict[str, Any]
    lies: list[Lie] = field(default_factory=list)
    _inner: str = ""
    _running: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _drawn: int = 0

    async def start(self) -> None:
        bound = self._running.enter_context(free_socket())
        self._inner = f"http://127.0.0.1:{bound.getsockname()[1]}"
        document = {
            "server": {"public_url": self.url, "data_dir": str(self.folder), "admin_listen": ""},
            "names": {"services": [self.world.names_url]},
            "registration": {"mode": "open", "open_to_keys": True},
            "outgoing": {"allow": [str(URL(self.world.read_url).origin())]},
            "limits": self.limits,
        }
        config = parse_config(document, self.folder.parent)
        app, _ = await self._running.enter_async_context(open_app(config, SECRET, clock=self.world.clock))
        await self._running.enter_async_context(listening(app, bound))

    async def stop(self) -> None:
        self._inner = ""
        await self._running.aclose()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    @property
    def is_up(self) -> bool:
        return bool(self._inner)

    def back_up(self, copy: Path) -> None:
        back_up(self.folder, copy, check_value=KeyedHash(SECRET).check_value(), settings_only=False)

    async def restore(self, copy: Path) -> None:
        """In place of what is there."""
        await self.stop()
        shutil.rmtree(self.folder)
        check, now = KeyedHash(SECRET).check_value(), self.world.clock()
        restore(self.folder, copy, check_value=check, random_bytes=self._random_bytes, now=now)
        await self.start()

    def _random_bytes(self, size: int) -> bytes:
        self._drawn += 1
        return self._drawn.to_bytes(size, "big")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if not self._inner:
            return web.Response(status=502, text="nobody is there")
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        target = URL(self._inner + request.raw_path, encoded=True)
        try:
            async with self.world.session.request(
                request.method, target, data=await request.read(), headers=headers
            ) as response:
                if response.content_type == "text/event-stream":
                    return await _streamed(request, response)
                body = await response.read()
        except aiohttp.ClientError:
            return web.Response(status=502, text="nobody is there")
        kept = {name: response.headers[name] for name in ("Content-Type", "Retry-After") if name in response.headers}
        if response.status in (200, 201) and self.lies:
            document = json.loads(body)
            for lie in self.lies:
                document = lie(request.path, document)
            body = json.dumps(document).encode()
        return web.Response(status=response.status, headers=kept, body=body)


async def _streamed(request: web.Request, response: aiohttp.ClientResponse) -> web.StreamResponse:
    """As it comes, and true."""
    stream = web.StreamResponse(headers={"Content-Type": response.headers["Content-Type"]})
    await stream.prepare(request)
    async for chunk in response.content.iter_any():
        await stream.write(chunk)
    return stream


@contextlib.asynccontextmanager
async def provided(world: World, folder: Path, **limits: Any) -> AsyncIterator[Provider]:
    """A provider that runs; `limits` are of the configuration."""
    with free_socket() as bound:
        provider = Provider(f"http://127.0.0.1:{bound.getsockname()[1]}", folder, world, limits)
        front = web.Application()
        front.router.add_route("*", "/{path:.*}", provider.answer)
        async with listening(front, bound):
            await provider.start()
            try:
                yield provider
            finally:
                await provider.stop()


def in_log(change: Callable[[list[str]], list[str]], *, base: int = 0) -> Lie:
    """Lies about the ids in the log, renumbered and signed anew. `base` moves over so many of them."""

    def lie(path: str, document: Document) -> Document:
        if path != "/v1/inbox/log":
            return document
        n, head = document["base"]["n"], decode(document["base"]["head"])
        ids = change([entry["id"] for entry in document["entries"]])
        entries = [LogEntry(n + place, decode(id)) for place, id in enumerate(ids, 1)]
        moved = fold(LogPoint(n, head), entries[:base])
        return signed_anew(document, moved, entries[base:])

    return lie


def signed_anew(document: Document, base: LogPoint, entries: list[LogEntry]) -> Document:
    key = SigningKey.from_seed(KeyedHash(SECRET).receipt_seed())
    points = {
        name: {"n": point.n, "head": encode(point.head)}
        for name, point in (("base", base), ("head", fold(base, entries)))
    }
    claims = read_signed(document["signed"], key.public, HEAD_TYPE) | points
    listed = [{"n": entry.n, "id": encode(entry.id)} for entry in entries]
    return {**document, **points, "entries": listed, "signed": write_signed(key.sign, claims, HEAD_TYPE)}


def unlisted(*ids: str) -> Lie:
    """These are never shown as unread."""

    def lie(_: str, document: Document) -> Document:
        if "messages" not in document:
            return document
        return {**document, "messages": [entry for entry in document["messages"] if entry["id"] not in ids]}

    return lie


def dropped(*ids: str) -> list[Lie]:
    """As if they had never come."""
    return [unlisted(*ids), in_log(lambda logged: [id for id in logged if id not in ids])]
