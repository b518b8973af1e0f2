"""The HTTP edge over real sockets: a live server, requests as bytes, and every answer that came."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web

from inbox_server.client.appkey import AppKey
from inbox_server.client.tokens_and_cards import deliver_token, owner_token
from inbox_server.clock import Clock
from inbox_server.config.config import Config
from inbox_server.config.file import parse_config
from inbox_server.http.listening import listening
from inbox_server.server import open_app
from inbox_server.store.contract import Store
from inbox_server.world.demo import APP

SECRET: Final = bytes(range(32))
PUBLIC: Final = "https://inbox.example"
ANSWER_SECONDS: Final = 1  # for the first byte, on loopback
QUIET_SECONDS: Final = 0.15  # after this long without a byte, no more is coming

ALICE, BOB = AppKey(b"\x01" * 32), AppKey(b"\x02" * 32)

EVERY_ANSWER: Final = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "Date, Retry-After, WWW-Authenticate",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "cross-origin",
    "referrer-policy": "no-referrer",
    "server": "inbox-server",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class LiveServer:
    """An inbox server that listens on loopback, its application, and a client's session."""

    url: str
    port: int
    config: Config
    store: Store
    session: aiohttp.ClientSession
    app: web.Application


@contextlib.asynccontextmanager
async def serving(
    folder: Path, *, clock: Clock, monotonic: Callable[[], float] | None = None, **settings: Any
) -> AsyncIterator[LiveServer]:
    """A server that takes everyone and limits nobody; `settings` override keys, as `section__key`."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        config = make_config(folder, port, **settings)
        async with (
            open_app(config, SECRET, clock=clock, monotonic=monotonic) as (public, store),
            listening(public, bound),
            aiohttp.ClientSession() as session,
        ):
            yield LiveServer(f"http://127.0.0.1:{port}", port, config, store, session, public)


def make_config(folder: Path, port: int, **settings: Any) -> Config:
    document: dict[str, dict[str, Any]] = {
        "server": {
            "public_url": f"http://127.0.0.1:{port}",
            "listen": f"127.0.0.1:{port}",
            "admin_listen": "",
            "data_dir": str(folder / "data"),
        },
        "names": {"services": []},
        "registration": {"mode": "open", "open_to_keys": True},
        "limits": {"sender_per_hour": 0, "inbox_per_hour": 0, "network_per_hour": 0},
    }
    for path, value in settings.items():
        section, key = path.split("__")
        document.setdefault(section, {})[key] = value
    return parse_config(document, folder)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it came: header names in lower case, with every value they had."""

    status: int
    headers: dict[str, list[str]]
    body: bytes


async def read_answers(reader: asyncio.StreamReader) -> list[Answer]:
    """Everything that is answered on a connection until it falls quiet or ends."""
    came = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while True:
            async with asyncio.timeout(QUIET_SECONDS if came else ANSWER_SECONDS):
                more = await reader.read(1 << 16)
            if not more:
                break
            came += more
    return parse_answers(came)


def parse_answers(came: bytes) -> list[Answer]:
    found = []
    while came:
        head, _, came = came.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        match = re.match(r"HTTP/\d\.\d (\d{3})", first)
        assert match, first
        headers: dict[str, list[str]] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            headers.setdefault(name.lower(), []).append(value)
        length = int(headers.get("content-length", ["0"])[0])
        found.append(Answer(int(match[1]), headers, came[:length]))
        came = came[length:]
    return found


@contextlib.asynccontextmanager
async def connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def ask(port: int, request: bytes) -> list[Answer]:
    """Send these bytes, and hear everything that comes back."""
    async with connection(port) as (reader, writer):
        writer.write(request)
        return await read_answers(reader)


async def ask_once(port: int, request: bytes) -> Answer:
    (answer,) = await ask(port, request)
    return answer


def request_bytes(line: str, *headers: str, host: str | None = "inbox.example", body: bytes = b"") -> bytes:
    of_host = [] if host is None else [f"Host: {host}"]
    return "\r\n".join([f"{line} HTTP/1.1", *of_host, *headers, "", ""]).encode("latin-1") + body


def code_of(answer: Answer) -> str:
    assert answer.headers["content-type"] == ["application/problem+json"]
    match = re.search(rb'"code":"(\w+)"', answer.body)
    assert match
    return match[1].decode()


async def free_socket() -> socket.socket:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound


def signed_delivery(url: str, clock: Clock, text: str = "opaque", more: bytes = b"") -> tuple[bytes, str]:
    """A delivery from Alice to Bob that the server takes: body and token. `more` are further members of the body."""
    body = b'{"message_id":"%b"%b}' % (text.encode(), more)
    return body, deliver_token(ALICE, body, sender=ALICE.public, recipient=BOB.public, app=APP, inbox=url, now=clock())


async def claim_bob(server: LiveServer, clock: Clock, *, url: str | None = None) -> None:
    """Bob's inbox, open to any key; `url` is the public one when it is not the address."""
    body = b'{"accept":"anyone"}'
    token = owner_token(BOB, scope="settings", app=APP, inbox=url or server.url, now=clock(), body=body)
    headers = {"Authorization": f"Bearer {token}"}
    async with server.session.put(f"{server.url}/v1/inbox", data=body, headers=headers) as response:
        assert response.status == 201


def assert_usual(answer: Answer) -> None:
    assert {key: answer.headers.get(key) for key in EVERY_ANSWER} == {k: [v] for k, v in EVERY_ANSWER.items()}
    assert len(answer.headers["date"]) == 1
    assert not {"set-cookie", "access-control-allow-credentials", "x-powered-by", "via"} & answer.headers.keys()
    assert answer.headers["cache-control"] in (["no-store"], ["max-age=300"])
    if answer.status == 204:
        assert "content-type" not in answer.headers
    else:
        is_problem = answer.status >= 400
        assert answer.headers["content-type"] == ["application/problem+json" if is_problem else "application/json"]
