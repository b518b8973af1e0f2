"""An inbox server behind a proxy that does one thing wrong, and servers that are none."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from multidict import CIMultiDict

from inbox_server.clock import Clock, system_clock
from inbox_server.config.file import parse_config
from inbox_server.http.listening import listening
from inbox_server.server import open_app
from inbox_server.world.local_world import free_socket
from tests.support.requests import SECRET
from tests.support.stores import row_counts

Headers = CIMultiDict[str]
_HOP_BY_HOP = ("Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length", "Content-Encoding")

_WORTH_SQUEEZING_BYTES = 512  # Caddy's `minimum_length`


def _as_it_is(_: Headers) -> None:
    """Bends nothing."""


@dataclass(slots=True)
class Bend:
    """What the proxy does wrong: to a request's headers, to an answer's, or with whole answers."""

    request: Callable[[Headers], None] = _as_it_is
    answer: Callable[[Headers], None] = _as_it_is
    methods: frozenset[str] = frozenset({"GET", "POST", "PUT", "DELETE", "OPTIONS"})
    buffers: bool = False
    squeezes: bool = False
    """As a compressor that never flushes: what follows a large piece of a stream is kept until its end."""
    delay_seconds: float = 0.0
    """Each piece of a stream comes so much later."""
    caches: bool = False
    holds: str = ""
    """A path that is never answered,"""
    holds_query: str = ""
    """with this parameter, if one is named."""


@dataclass(slots=True)
class Behind:
    """The proxy's URL, and the folder of the server behind it."""

    url: str
    data: Path
    bend: Bend
    upstream: str = ""
    kept: dict[str, web.Response] = field(default_factory=dict)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a request is held."""

    def inboxes(self) -> int:
        return row_counts(self.data)["inbox"]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == self.bend.holds and (not self.bend.holds_query or self.bend.holds_query in request.query):
            self.held.set()
            await asyncio.Event().wait()
        if request.method not in self.bend.methods:
            return web.Response(status=405, text="<h1>Not here</h1>", content_type="text/html")
        key = f"{request.method} {request.path_qs}"
        if key in self.kept:
            kept = self.kept[key]
            return web.Response(status=kept.status, body=kept.body, headers=kept.headers)
        headers = request.headers.copy()
        self.bend.request(headers)
        async with (
            aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None)) as session,
            session.request(
                request.method, self.upstream + request.path_qs, data=await request.read(), headers=headers
            ) as response,
        ):
            return await self._pass_on(request, response, key)

    async def _pass_on(self, request: web.Request, response: aiohttp.ClientResponse, key: str) -> web.StreamResponse:
        headers = CIMultiDict(response.headers)
        for name in _HOP_BY_HOP:
            headers.popall(name, None)
        self.bend.answer(headers)
        if self.bend.buffers or not response.headers.get("Content-Type", "").startswith("text/event-stream"):
            whole = web.Response(status=response.status, body=await response.read(), headers=headers)
            if self.bend.caches and request.method == "GET" and response.status == 200:
                self.kept[key] = web.Response(status=whole.status, body=whole.body, headers=headers)
            return whole
        stream = web.StreamResponse(status=response.status, headers=headers)
        await stream.prepare(request)
        squeezes, kept = self.bend.squeezes and "gzip" in request.headers.get("Accept-Encoding", ""), b""
        async for chunk in response.content.iter_any():
            if squeezes and (kept or len(chunk) >= _WORTH_SQUEEZING_BYTES):
                kept += chunk
                continue
            await asyncio.sleep(self.bend.delay_seconds)
            await stream.write(chunk)
        await stream.write(kept)
        return stream


@contextlib.asynccontextmanager
async def behind(
    folder: Path,
    bend: Bend | None = None,
    *,
    clock: Clock = system_clock,
    public_url: str | None = None,
    registration: Mapping[str, Any] | None = None,
) -> AsyncIterator[Behind]:
    """A server, open to every key unless said otherwise, with the proxy's URL as its own."""
    with free_socket() as front, free_socket() as back:
        url = f"http://127.0.0.1:{front.getsockname()[1]}"
        proxy = Behind(url, folder / "data", bend or Bend(), f"http://127.0.0.1:{back.getsockname()[1]}")
        document = {
            "server": {"public_url": public_url or url, "data_dir": str(proxy.data), "admin_listen": ""},
            "names": {"services": []},
            "registration": registration or {"mode": "open", "open_to_keys": True},
        }
        config = parse_config(document, folder)
        async with (
            open_app(config, SECRET, clock=clock) as (inbox, _),
            listening(inbox, back),
            served(proxy.answer, front),
        ):
            yield proxy


@contextlib.asynccontextmanager
async def served(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], bound: Any, context: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """A server that answers everything in one way."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.SockSite(runner, bound, ssl_context=context).start()
        yield
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def answering(
    *, status: int = 200, body: str = "", context: ssl.SSLContext | None = None, **headers: str
) -> AsyncIterator[str]:
    """The URL of a server that is no inbox server and answers everything so."""

    async def answer(_: web.Request) -> web.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body.encode(), headers=named)

    with free_socket() as bound:
        async with served(answer, bound, context):
            yield f"{'https' if context else 'http'}://127.0.0.1:{bound.getsockname()[1]}"


def capability_document(**members: Any) -> str:
    return json.dumps({"protocol": "message-inbox", "version": 1, "registration": "open", **members})


def self_signed(folder: Path) -> ssl.SSLContext:
    """A certificate of 127.0.0.1 that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    begun = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begun)
        .not_valid_after(begun + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "tls.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
