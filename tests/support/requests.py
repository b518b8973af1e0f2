"""Requests as clients send them, and bent in one place each; and what every answer must look like."""

import contextlib
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from aiohttp import web
from multidict import CIMultiDictProxy

from inbox_server.client.appkey import AppKey
from inbox_server.client.user import AppUser
from inbox_server.clock import Clock
from inbox_server.config.file import parse_config
from inbox_server.errors import CODES
from inbox_server.http.listening import listening
from inbox_server.protocol.base64url import encode
from inbox_server.server import open_app
from inbox_server.world.local_world import World, free_socket
from tests.conftest import APP

SECRET: Final = bytes(range(32))
"""Of every `inbox_server` below."""
LEFT_OUT: Final = object()
"""As a claim's value: the claim is not there."""
Bend = Mapping[str, Any]


def new_key() -> AppKey:
    return AppKey(secrets.token_bytes(32))


def digest_of(body: bytes) -> str:
    return encode(hashlib.sha256(body).digest())


def id_of(message_id: str) -> str:
    return digest_of(message_id.encode())


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def seen(self) -> tuple[int, dict[str, str], bytes]:
        """Everything that a caller can tell two answers apart by, but the time."""
        return self.status, {name: value for name, value in self.headers.items() if name != "Date"}, self.body


@dataclass(frozen=True, slots=True)
class Caller:
    """One app key at one inbox server. `bend` changes claims of the token that a method signs."""

    session: aiohttp.ClientSession
    url: str
    key: AppKey
    clock: Clock
    app: str = APP
    place: str | None = None
    """Where it answers, if that is not its URL."""

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        headers = {**(headers or {}), **({"Authorization": f"Bearer {token}"} if token else {})}
        async with self.session.request(
            method, (self.place or self.url) + path, data=body, headers=headers
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    def deliver_token(self, body: bytes, sender: str, recipient: str, bend: Bend | None = None) -> str:
        claims = self._claims(300) | {"iss": sender, "sub": recipient, "key": self.key.public}
        claims["digest"] = digest_of(body)
        if sender == self.key.public:
            del claims["key"]
        return self.key.token(_bent(claims, bend), "inbox-deliver+jwt")

    def owner_token(self, scope: str, body: bytes = b"", bend: Bend | None = None) -> str:
        claims = self._claims(300) | {"iss": self.key.public, "scope": scope}
        if scope != "read":
            claims["digest"] = digest_of(body)
        return self.key.token(_bent(claims, bend), "inbox-owner+jwt")

    async def deliver(
        self,
        message_id: Any = "opaque",
        *,
        recipient: str,
        sender: str | None = None,
        bend: Bend | None = None,
        **more: Any,
    ) -> Answer:
        """By the key itself when no `sender` is named; `more` are members of the body."""
        body = json.dumps({"message_id": message_id, **more}).encode()
        token = self.deliver_token(body, sender or self.key.public, recipient, bend)
        return await self.send("POST", "/v1/messages", body, token=token)

    async def claim(self, settings: Mapping[str, Any] | None = None, *, bend: Bend | None = None) -> Answer:
        body = json.dumps(settings or {}).encode()
        return await self.send("PUT", "/v1/inbox", body, token=self.owner_token("settings", body, bend))

    async def settings(self, *, bend: Bend | None = None) -> Answer:
        return await self.send("GET", "/v1/inbox", token=self.owner_token("read", bend=bend))

    async def give_up(self, *, bend: Bend | None = None) -> Answer:
        return await self.send("DELETE", "/v1/inbox", token=self.owner_token("settings", bend=bend))

    async def unread(self, *, bend: Bend | None = None, **query: Any) -> Answer:
        path = "/v1/messages" + (f"?{urlencode(query)}" if query else "")
        return await self.send("GET", path, token=self.owner_token("read", bend=bend))

    async def acknowledge(self, *ids: str, bend: Bend | None = None) -> Answer:
        body = json.dumps({"ids": ids}).encode()
        return await self.send("POST", "/v1/messages/ack", body, token=self.owner_token("ack", body, bend))

    async def log(self, *, bend: Bend | None = None, **query: Any) -> Answer:
        """With a nonce of its own, unless one is given."""
        path = f"/v1/inbox/log?{urlencode({'nonce': encode(secrets.token_bytes(16)), **query})}"
        return await self.send("GET", path, token=self.owner_token("read", bend=bend))

    async def texts(self) -> list[str]:
        """The message IDs that wait."""
        return [entry["message_id"] for entry in (await self.unread()).json()["messages"]]

    def _claims(self, life: int) -> dict[str, Any]:
        now = self.clock()
        return {"app": self.app, "aud": self.url, "iat": now, "exp": now + life}


def _bent(claims: dict[str, Any], bend: Bend | None) -> dict[str, Any]:
    return {claim: value for claim, value in {**claims, **(bend or {})}.items() if value is not LEFT_OUT}


def caller(world: World, user: AppUser | AppKey | None = None, app: str = APP) -> Caller:
    """A user of the world, or a key, or somebody new, at the world's inbox server."""
    key = user.key if isinstance(user, AppUser) else user or new_key()
    return Caller(world.session, world.inbox_url, key, world.clock, app)


def at(other: Caller, key: AppKey | None = None) -> Caller:
    """Another key at the same server; a new one if none is given."""
    return replace(other, key=key or new_key())


def check_problem(answer: Answer, code: str, member: str | None = None) -> dict[str, Any]:
    """That the answer is a problem of this code in the one shape that all have; its document."""
    document: dict[str, Any] = answer.json()
    assert (answer.status, document["code"]) == (CODES[code].status, code)
    assert document["status"] == answer.status
    assert document["title"] == CODES[code].title
    assert document["detail"].endswith(".")
    assert document.get("member") == member
    assert document.keys() <= {"status", "code", "title", "detail", "member", "now"}
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert ("Retry-After" in answer.headers) == (answer.status in (429, 503, 507))
    assert answer.headers.get("WWW-Authenticate") == ("Bearer" if answer.status == 401 else None)
    check_common_headers(answer)
    return document


def check_common_headers(answer: Answer, *, cache: str = "no-store") -> None:
    """What every answer carries, of whatever status."""
    assert answer.headers["Cache-Control"] == cache
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Access-Control-Expose-Headers"] == "Date, Retry-After, WWW-Authenticate"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Server"] == "inbox-server"
    assert answer.headers["Date"]


@contextlib.asynccontextmanager
async def inbox_server(world: World, folder: Path, settings: Mapping[str, Mapping[str, Any]]) -> AsyncIterator[Caller]:
    """Another inbox server beside the world's, with this configuration; somebody new who calls it."""
    async with inbox_app(world, folder, settings) as (caller, _):
        yield caller


@contextlib.asynccontextmanager
async def inbox_app(
    world: World, folder: Path, settings: Mapping[str, Mapping[str, Any]]
) -> AsyncIterator[tuple[Caller, web.Application]]:
    """The same, with the application that serves it."""
    with free_socket() as bound:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        document: dict[str, dict[str, Any]] = {
            "server": {"public_url": url, "data_dir": str(folder), "admin_listen": ""},
            "names": {"services": [world.names_url]},
            "outgoing": {"allow": [world.reader_origin]},
        }
        for section, keys in settings.items():
            document[section] = document.get(section, {}) | dict(keys)
        config = parse_config(document, folder.parent)
        async with open_app(config, SECRET, clock=world.clock) as (app, _), listening(app, bound):
            yield Caller(world.session, url, new_key(), world.clock), app
