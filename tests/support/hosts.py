"""Other people's servers: hosts that answer what a test puts there, and fail when it says so."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from inbox_server.client.appkey import AppKey
from inbox_server.world.local_world import free_socket
from inbox_server.world.people import Person


@dataclass(slots=True)
class Put:
    """What a host answers at one path."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Host:
    """A server on loopback. What was not put there is not found."""

    url: str
    answers: dict[str, Put] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failing: int | None = None
    """The status of every answer, while the host fails."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Answers wait until it is set; it is, unless a test clears it."""

    def put(self, path: str, body: bytes | str, **more: Any) -> str:
        """Put an answer there; its URL."""
        self.answers[path] = Put(body.encode() if isinstance(body, str) else body, **more)
        return self.url + path

    def put_name(self, name: str, owner: str, zone_file: str | None) -> None:
        """As a name service answers."""
        document = {"address": owner, "blockchain": "stacks", "status": "name-register", "zonefile": zone_file}
        self.put(f"/v1/names/{name}", json.dumps(document))

    def put_person(self, person: Person, *, stated_key: str | None = None, bucket: str | None = None) -> str:
        """Everything of a person: the name, the profile, and a bucket that is empty; the bucket's path."""
        path = f"/hub/{person.app_key.address}/"
        claim: dict[str, Any] = {"apps": {person.app: bucket or self.url + path}}
        if stated_key:
            claim["appsMeta"] = {person.app: {"publicKey": stated_key}}
        url = self.put(f"/{person.data.address}/profile.json", profile(person.owner, claim))
        self.put_name(person.name, person.owner_address, zone_file(url))
        return path

    @contextlib.contextmanager
    def down(self, status: int = 500) -> Iterator[None]:
        self.failing = status
        yield
        self.failing = None

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        await self.gate.wait()
        if self.failing is not None:
            return web.Response(status=self.failing, text="out of order")
        put = self.answers.get(request.path, Put(b"not found", 404))
        return web.Response(status=put.status, body=put.body, headers=put.headers)


def zone_file(url: str) -> str:
    return f'$ORIGIN x\n$TTL 3600\n_http._tcp\tIN\tURI\t10\t1\t"{url}"\n\n'


def profile(owner: AppKey, claim: Mapping[str, Any]) -> bytes:
    """A profile file with this claim, signed by the owner's key."""
    key = {"publicKey": owner.public}
    payload = {"iat": "2026-11-21T05:13:28.442Z", "subject": key, "issuer": key, "claim": dict(claim)}
    return json.dumps([{"token": owner.token(payload), "decodedToken": {"payload": {"claim": {}}}}]).encode()


@contextlib.asynccontextmanager
async def running_host() -> AsyncIterator[Host]:
    with free_socket() as bound:
        host = Host(f"http://127.0.0.1:{bound.getsockname()[1]}")
        host.gate.set()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", host.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.SockSite(runner, bound).start()
            yield host
        finally:
            host.gate.set()
            await runner.cleanup()
