"""The HTTP edge over real sockets: whose host it answers to, what every answer has, and what cuts a client off."""

import asyncio
import contextlib
import gzip
import logging
import re
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web

from inbox_server.admin import make_admin_app
from inbox_server.bodies import MAX_DELIVERY_BYTES, MAX_OWNER_BYTES
from inbox_server.client.appkey import AppKey
from inbox_server.client.protocol import deliver_token, owner_token
from inbox_server.clock import Clock
from inbox_server.config import BadConfig, Config
from inbox_server.config_file import parse_config
from inbox_server.listening import listening
from inbox_server.metrics import Metrics
from inbox_server.peer import hosts_of, network_of
from inbox_server.server import open_app
from inbox_server.store.contract import Store
from inbox_server.web import IS_OURS, edge
from tests.conftest import APP, HandClock
from tests.serving import deploy

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
    """An inbox server that listens on loopback, and a client's session."""

    url: str
    port: int
    config: Config
    store: Store
    session: aiohttp.ClientSession


@contextlib.asynccontextmanager
async def serving(folder: Path, *, clock: Clock, **settings: Any) -> AsyncIterator[LiveServer]:
    """A server that takes everyone and limits nobody; `settings` override keys, as `section__key`."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        config = make_config(folder, port, **settings)
        async with (
            open_app(config, SECRET, clock=clock) as (public, store),
            listening(public, bound),
            aiohttp.ClientSession() as session,
        ):
            yield LiveServer(f"http://127.0.0.1:{port}", port, config, store, session)


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


@pytest.fixture
async def server(tmp_path: Path, clock: HandClock) -> AsyncIterator[LiveServer]:
    """Behind another name than its address, as in real life."""
    async with serving(
        tmp_path, clock=clock, server__public_url=PUBLIC, server__hosts=["other.example:8443"]
    ) as server:
        yield server


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


# Whose host.

ROUTES: Final = (
    "GET /.well-known/message-inbox",
    "PUT /v1/inbox",
    "GET /v1/inbox",
    "DELETE /v1/inbox",
    "POST /v1/messages",
    "GET /v1/messages",
    "POST /v1/messages/ack",
    "OPTIONS /v1/inbox",
    "OPTIONS /v1/messages",
    "OPTIONS /nothing",
    "GET /nothing",
    "PATCH /v1/inbox",
)


@pytest.mark.parametrize("line", ROUTES)
async def test_another_host_is_refused_on_every_route(server: LiveServer, line: str) -> None:
    answer = await ask_once(server.port, request_bytes(line, host="evil.example"))
    assert (answer.status, code_of(answer)) == (421, "wrong_host")
    assert b"evil" not in answer.body
    assert "access-control-allow-methods" not in answer.headers


OURS: Final = ("inbox.example", "INBOX.Example", "inbox.example:443", "other.example:8443", "127.0.0.1:{port}")
NOT_OURS: Final = (
    "evil.example",
    "other.example",
    "inbox.example:80",
    "inbox.example:8443",
    "inbox.example.",
    "inbox.example.evil.example",
    "evil-inbox.example",
    "user@inbox.example",
    "inbox.example@evil.example",
    "inbox.example,evil.example",
    "inbox.example evil.example",
    "localhost:{port}",
    "127.0.0.1",
    "127.0.0.2:{port}",
    "[::1]:{port}",
    "0.0.0.0:{port}",
    "",
    "\xff",
)


@pytest.mark.parametrize("host", OURS)
async def test_our_hosts_are_answered(server: LiveServer, host: str) -> None:
    line = "GET /.well-known/message-inbox"
    assert (await ask_once(server.port, request_bytes(line, host=host.format(port=server.port)))).status == 200


@pytest.mark.parametrize("host", NOT_OURS)
async def test_no_other_host_is_answered(server: LiveServer, host: str) -> None:
    line = "GET /.well-known/message-inbox"
    answer = await ask_once(server.port, request_bytes(line, host=host.format(port=server.port)))
    assert answer.status in (400, 421)


async def test_a_request_without_a_host_or_with_two_is_refused(server: LiveServer) -> None:
    line = "GET /.well-known/message-inbox"
    for request in (
        request_bytes(line, host=None),
        request_bytes(line, "Host: evil.example"),
        request_bytes(line, "Host: inbox.example", host="evil.example"),
        request_bytes(line, "Host: inbox.example"),
        b"GET /.well-known/message-inbox HTTP/1.0\r\n\r\n",
    ):
        answer = await ask_once(server.port, request)
        assert (answer.status, code_of(answer)) in [(400, "bad_request"), (421, "wrong_host")]


async def test_a_target_that_names_another_host_is_refused(server: LiveServer) -> None:
    answer = await ask_once(server.port, request_bytes("GET http://evil.example/.well-known/message-inbox"))
    assert answer.status in (400, 421)


async def test_the_admin_listener_answers_to_numbers_and_localhost_only(server: LiveServer) -> None:
    async with listening(make_admin_app(server.store, Metrics()), await free_socket()) as (url,):
        port = int(url.rpartition(":")[2])
        for host in (
            f"127.0.0.1:{port}",
            "127.0.0.1",
            f"[::1]:{port}",
            "[::1]",
            "10.1.2.3",
            "localhost",
            "localhost:1",
        ):
            for path in ("/health", "/ready"):
                assert (await ask_once(port, request_bytes(f"GET {path}", host=host))).status == 200
        for host in ("inbox.example", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "1.2.3.4.5"):
            for line in ("GET /health", "GET /ready", "OPTIONS /health"):
                answer = await ask_once(port, request_bytes(line, host=host))
                assert (answer.status, code_of(answer)) == (421, "wrong_host")


async def free_socket() -> socket.socket:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound


def test_an_ipv6_address_that_is_listened_on_is_ours(tmp_path: Path) -> None:
    is_ours = hosts_of(make_config(tmp_path, 1, server__public_url=PUBLIC, server__listen="[::1]:8710"))
    assert is_ours("[::1]:8710")
    assert not is_ours("::1:8710")
    assert not is_ours("[::1]")


# What stands on every answer.

ANSWERS: Final[Mapping[str, tuple[bytes, int]]] = {
    "capabilities": (request_bytes("GET /.well-known/message-inbox"), 200),
    "preflight": (request_bytes("OPTIONS /v1/messages", "Origin: https://chat.example"), 204),
    "no token": (request_bytes("GET /v1/messages"), 401),
    "a bad query": (request_bytes("GET /v1/messages?limit=0"), 400),
    "a bad body": (request_bytes("POST /v1/messages", "Content-Length: 2", body=b"[]"), 400),
    "no route": (request_bytes("GET /nothing"), 404),
    "the wrong method": (request_bytes("PATCH /v1/inbox"), 405),
    "HEAD": (request_bytes("HEAD /v1/inbox"), 405),
    "CONNECT": (request_bytes("CONNECT inbox.example:443"), 404),
    "TRACE": (request_bytes("TRACE /v1/inbox", "Authorization: Bearer SECRET"), 405),
    "too large": (request_bytes("POST /v1/messages", "Content-Length: 9999999"), 413),
    "wrong host": (request_bytes("GET /v1/inbox", host="evil.example"), 421),
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "an unknown method": (request_bytes("BREW /v1/inbox"), 400),
    "an unknown encoding": (
        request_bytes("POST /v1/messages", "Content-Encoding: x", "Content-Length: 2", body=b"{}"),
        400,
    ),
    "an unknown expectation": (
        request_bytes("POST /v1/messages", "Expect: SECRET", "Content-Length: 2", body=b"{}"),
        400,
    ),
    "an unknown expectation at no route": (request_bytes("GET /nothing", "Expect: SECRET"), 400),
    "an unknown expectation by a wrong method": (request_bytes("PATCH /v1/inbox", "Expect: SECRET"), 400),
    "an expectation at another host": (request_bytes("GET /v1/inbox", "Expect: SECRET", host="evil.example"), 400),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_every_answer_has_the_headers(server: LiveServer, name: str) -> None:
    request, status = ANSWERS[name]
    answer = await ask_once(server.port, request)
    assert_usual(answer)
    assert answer.status == status
    assert b"SECRET" not in answer.body


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


async def test_taken_requests_have_the_headers_too(server: LiveServer, clock: HandClock) -> None:
    url = f"http://127.0.0.1:{server.port}"
    body = b'{"accept":"anyone"}'
    delivery = signed_delivery(PUBLIC, clock)
    claim = owner_token(BOB, scope="settings", app=APP, inbox=PUBLIC, now=clock(), body=body)
    for method, path, content, token in (
        ("PUT", "/v1/inbox", body, claim),
        ("POST", "/v1/messages", *delivery),
        ("POST", "/v1/messages", *delivery),
    ):
        headers = {"Authorization": f"Bearer {token}"}
        async with server.session.request(method, url + path, data=content, headers=headers) as response:
            got = {key.lower(): response.headers.getall(key) for key in response.headers}
            assert response.status in (200, 201)
            assert_usual(Answer(response.status, got, await response.read()))


def signed_delivery(url: str, clock: Clock, text: str = "opaque") -> tuple[bytes, str]:
    """A delivery from Alice to Bob that the server takes: body and token."""
    body = b'{"message_id":"%s"}' % text.encode()
    return body, deliver_token(ALICE, body, sender=ALICE.public, recipient=BOB.public, app=APP, inbox=url, now=clock())


async def test_a_bug_is_answered_with_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_: web.Request) -> web.Response:
        raise RuntimeError("SECRET")

    app = web.Application(middlewares=[edge])
    app[IS_OURS] = lambda _: True
    app.router.add_get("/", fail)
    with caplog.at_level(logging.DEBUG):
        async with listening(app, await free_socket()) as (url,):
            answer = await ask_once(int(url.rpartition(":")[2]), request_bytes("GET /", "Authorization: Bearer SECRET"))
    assert_usual(answer)
    assert (answer.status, code_of(answer)) == (500, "internal")
    assert b"SECRET" not in answer.body
    assert "RuntimeError" in caplog.text
    assert "SECRET" not in caplog.text


# Tokens and sizes.


async def test_two_authorization_headers_are_refused_even_when_they_are_equal(
    server: LiveServer, clock: HandClock
) -> None:
    await claim_bob(server, clock, url=PUBLIC)
    body, good = signed_delivery(PUBLIC, clock)
    length = f"Content-Length: {len(body)}"
    for other in (good, "x", ""):
        for first, second in ((good, other), (other, good)):
            headers = (f"Authorization: Bearer {first}", f"Authorization: Bearer {second}", length)
            answer = await ask_once(server.port, request_bytes("POST /v1/messages", *headers, body=body))
            assert (answer.status, code_of(answer)) == (401, "bad_token")
    once = await ask_once(
        server.port, request_bytes("POST /v1/messages", f"authorization: bearer {good}", length, body=body)
    )
    assert once.status == 201


async def claim_bob(server: LiveServer, clock: Clock, *, url: str | None = None) -> None:
    """Bob's inbox, open to any key; `url` is the public one when it is not the address."""
    body = b'{"accept":"anyone"}'
    token = owner_token(BOB, scope="settings", app=APP, inbox=url or server.url, now=clock(), body=body)
    headers = {"Authorization": f"Bearer {token}"}
    async with server.session.put(f"{server.url}/v1/inbox", data=body, headers=headers) as response:
        assert response.status == 201


TOO_MUCH: Final = {
    "a long header": ("GET /v1/inbox", [f"Authorization: Bearer SECRET{'a' * 9000}"]),
    "a long header name": ("GET /v1/inbox", [f"SECRET{'a' * 9000}: x"]),
    "many headers": ("GET /v1/inbox", [f"X-{number}: SECRET" for number in range(200)]),
    "a long target": (f"GET /v1/messages?after=SECRET{'a' * 9000}", []),
    "a control character": ("GET /v1/inbox", ["Authorization: Bearer SECRET\x01SECRET"]),
    "a header without a colon": ("GET /v1/inbox", ["Authorization SECRET"]),
    "a space before the colon": ("GET /v1/inbox", ["Authorization : Bearer SECRET"]),
    "a folded header": ("GET /v1/inbox", ["Authorization: Bearer\r\n SECRET"]),
}


@pytest.mark.parametrize("name", TOO_MUCH)
async def test_headers_beyond_the_limits_are_a_problem_that_repeats_nothing(
    server: LiveServer, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    line, headers = TOO_MUCH[name]
    with caplog.at_level(logging.DEBUG):
        answer = await ask_once(server.port, request_bytes(line, *headers))
    assert_usual(answer)
    assert (answer.status, code_of(answer)) == (400, "bad_request")
    assert b"SECRET" not in answer.body
    assert "SECRET" not in caplog.text
    assert "127.0.0.1" not in caplog.text


@pytest.mark.parametrize(
    ("line", "most"),
    [
        ("POST /v1/messages", MAX_DELIVERY_BYTES),
        ("POST /v1/messages/ack", MAX_OWNER_BYTES),
        ("PUT /v1/inbox", MAX_OWNER_BYTES),
        ("DELETE /v1/inbox", MAX_OWNER_BYTES),
    ],
)
async def test_a_body_may_have_its_limit_and_not_one_byte_more(server: LiveServer, line: str, most: int) -> None:
    for size, refusals in ((most, {400}), (most + 1, {413})):
        body = b" " * size
        sized = request_bytes(line, f"Content-Length: {size}", body=body)
        chunked = request_bytes(line, "Transfer-Encoding: chunked", body=b"%x\r\n%s\r\n0\r\n\r\n" % (size, body))
        for request in (sized, chunked):
            assert (await ask_once(server.port, request)).status in refusals


COMPRESSED: Final = {
    "garbage": ("gzip", b"not gzip at all"),
    "deflated garbage": ("deflate", b"\xff\xff\xff\xff"),
    "cut": ("gzip", gzip.compress(b'{"message_id":"x"}')[:-9]),
    "a bomb": ("gzip", gzip.compress(bytes(30_000_000))[: MAX_OWNER_BYTES - 1]),
    "a small bomb": ("gzip", gzip.compress(bytes(3_000_000))),
}


@pytest.mark.parametrize("name", COMPRESSED)
async def test_a_compressed_body_is_refused_and_is_no_fault_of_the_server(
    server: LiveServer, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    encoding, body = COMPRESSED[name]
    headers = (f"Content-Encoding: {encoding}", f"Content-Length: {len(body)}")
    with caplog.at_level(logging.DEBUG):
        answer = await ask_once(server.port, request_bytes("PUT /v1/inbox", *headers, body=body))
    assert_usual(answer)
    assert 400 <= answer.status < 500
    assert "Traceback" not in caplog.text


# Slow clients.


async def until_closed(
    port: int, first: bytes, drip: Callable[[], bytes], *, most_seconds: float
) -> tuple[float, list[Answer]]:
    """Send `first`, then a drip each second, until the server hangs up: after how long, and what it said."""
    start, came = time.monotonic(), b""
    async with connection(port) as (reader, writer):
        writer.write(first)
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - start < most_seconds:
                try:
                    async with asyncio.timeout(1):
                        more = await reader.read(1 << 16)
                except TimeoutError:
                    writer.write(drip())
                    continue
                if not more:
                    break
                came += more
    return time.monotonic() - start, parse_answers(came)


async def test_slow_clients_are_cut_off(server: LiveServer) -> None:
    half = request_bytes("POST /v1/messages", "Content-Length: 100", body=b'{"message_id"')
    chunk = request_bytes("POST /v1/messages", "Transfer-Encoding: chunked", body=b"1\r\n{\r\n")
    bad = request_bytes("POST /v1/messages", "Transfer-Encoding: chunked", body=b"2\r\n{}\r\n")
    (silent, nothing), (dripping, still_nothing), (turned_bad, refused), *bodies = await asyncio.gather(
        until_closed(server.port, b"", lambda: b"", most_seconds=15),
        until_closed(server.port, b"GET /v1/inbox HTTP/1.1\r\nHost:", lambda: b"i", most_seconds=15),
        first_answer(server.port, bad, lambda: b"zz\r\n\r\n"),
        first_answer(server.port, half, lambda: b""),
        first_answer(server.port, half, lambda: b"x"),
        first_answer(server.port, chunk, lambda: b"1\r\n \r\n"),
    )
    assert nothing == still_nothing == []
    assert 8 < silent < 14
    assert 8 < dripping < 14
    assert turned_bad < 14
    assert code_of(refused) in ("bad_request", "too_slow")
    for seconds, answer in bodies:
        assert 8 < seconds < 14
        assert (answer.status, code_of(answer)) == (408, "too_slow")
        assert_usual(answer)


async def first_answer(port: int, first: bytes, drip: Callable[[], bytes]) -> tuple[float, Answer]:
    """Send `first`, then a drip each second, until the server answers: after how long, and what."""
    start = time.monotonic()
    async with connection(port) as (reader, writer):
        writer.write(first)
        while True:
            try:
                async with asyncio.timeout(1):
                    came = await reader.read(1 << 16)
                break
            except TimeoutError:
                writer.write(drip())
    (answer,) = parse_answers(came)
    return time.monotonic() - start, answer


async def test_a_slow_client_is_cut_off_after_its_first_request_too(server: LiveServer) -> None:
    """Keep-alive must not be the way around the limit for headers, nor a late body hold the connection on."""
    whole, part = request_bytes("GET /.well-known/message-inbox"), b"GET /v1/inbox HTTP/1.1\r\nHost:"
    half = request_bytes("POST /v1/messages", "Content-Length: 100", body=b'{"message_id"')
    (second, answers), (body, _) = await asyncio.gather(
        until_closed(server.port, whole + part, lambda: b"i", most_seconds=16),
        until_closed(server.port, half, lambda: b"", most_seconds=16),
    )
    assert [answer.status for answer in answers] == [200]
    assert second < 14
    assert body < 14


# Who may listen, and whom a proxy may name.


@pytest.mark.parametrize("key", ["listen", "admin_listen"])
@pytest.mark.parametrize(
    "listen", ["0.0.0.0:8710", "[::]:8710", "192.0.2.1:8710", "inbox.example:8710", "[2001:db8::1]:1"]
)
def test_listening_beyond_loopback_needs_a_proxy_in_front(tmp_path: Path, key: str, listen: str) -> None:
    with pytest.raises(BadConfig, match=rf"^server\.{key}: is not loopback.*behind_proxy = true"):
        make_config(tmp_path, 1, **{f"server__{key}": listen})
    assert make_config(tmp_path, 1, **{f"server__{key}": listen}, server__behind_proxy=True).behind_proxy


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:8710", "127.9.9.9:8710", "[::1]:8710", "localhost:8710", "unix:/run/inbox"]
)
def test_listening_on_this_machine_needs_no_proxy(tmp_path: Path, listen: str) -> None:
    assert not make_config(tmp_path, 1, server__listen=listen).behind_proxy


async def test_serve_refuses_a_public_address_and_exits_with_2(tmp_path: Path) -> None:
    deployment = deploy(tmp_path, server__listen="0.0.0.0:0")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "inbox_server", "serve", "--config", deployment.folder / "config.toml"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 2
    assert b"behind_proxy" in said


@pytest.mark.parametrize(
    "name", ["X-Forwarded-For", "x-forwarded-for", "Forwarded", "Authorization", "Host", "X Y", "X:"]
)
def test_headers_that_clients_write_cannot_be_the_proxys(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadConfig, match=r"^server\.proxy_header: "):
        make_config(tmp_path, 1, server__proxy_header=name)


V4, V6 = bytes([203, 0, 113, 7]), bytes.fromhex("20010db800010002")


@pytest.mark.parametrize(
    ("remote", "told", "network"),
    [
        ("203.0.113.7", None, V4),
        ("203.0.113.7", "198.51.100.1", V4),  # not from this machine, so not from the proxy
        ("2001:db8:1:2:3:4:5:6", None, V6),
        ("2001:db8:1:2:ffff::1", None, V6),
        ("::ffff:203.0.113.7", None, V4),
        ("fe80::1%eth0", None, bytes.fromhex("fe80000000000000")),
        ("127.0.0.1", None, None),
        ("::1", None, None),
        ("127.0.0.1", "203.0.113.7", V4),
        ("::1", "203.0.113.7", V4),
        ("::ffff:127.0.0.1", "203.0.113.7", V4),  # loopback, as a socket for both kinds tells it
        ("::ffff:127.0.0.1", None, None),
        (None, "203.0.113.7", V4),  # a Unix socket
        ("", "2001:db8:1:2::9", V6),
        ("127.0.0.1", "::ffff:203.0.113.7", V4),
        ("127.0.0.1", "203.0.113.7, 198.51.100.1", None),
        ("127.0.0.1", "203.0.113.7:1234", None),
        ("127.0.0.1", "unknown", None),
        ("127.0.0.1", "", None),
    ],
)
def test_a_network_is_the_peers_or_what_a_proxy_on_this_machine_tells(
    tmp_path: Path, remote: str | None, told: str | None, network: bytes | None
) -> None:
    config = make_config(tmp_path, 1, server__proxy_header="X-Real-IP")
    headers = {"X-Forwarded-For": "192.0.2.99", "Forwarded": "for=192.0.2.99"}
    assert network_of(remote, headers if told is None else {**headers, "X-Real-IP": told}, config) == network


def test_no_header_is_believed_when_none_is_configured(tmp_path: Path) -> None:
    headers = {"X-Real-IP": "192.0.2.1", "X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1", "": "192.0.2.1"}
    assert network_of("127.0.0.1", headers, make_config(tmp_path, 1)) is None


async def test_only_the_configured_header_moves_the_limit_by_network(tmp_path: Path, clock: HandClock) -> None:
    limits = {"server__proxy_header": "X-Real-IP", "limits__network_per_hour": 2}
    async with serving(tmp_path, clock=clock, **limits) as server:
        await claim_bob(server, clock)

        async def deliver(**headers: str) -> int:
            body, token = signed_delivery(server.url, clock)
            sent = {"Authorization": f"Bearer {token}"} | {key.replace("_", "-"): told for key, told in headers.items()}
            async with server.session.post(f"{server.url}/v1/messages", data=body, headers=sent) as response:
                return response.status

        told = [await deliver(X_Real_IP="203.0.113.7", X_Forwarded_For=f"198.51.100.{number}") for number in range(4)]
        assert told == [201, 200, 429, 429]
        assert await deliver(X_Real_IP="203.0.113.8") == 200
        forwarded = [await deliver(X_Forwarded_For="203.0.113.7", Forwarded="for=203.0.113.7") for _ in range(4)]
        assert forwarded == [200] * 4


# Smuggling: what two readers of the same bytes could take for two requests.

BODY: Final = b'{"message_id":"smuggled"}'
CHUNKS: Final = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
LENGTH: Final = f"Content-Length: {len(BODY)}"
CHUNKED: Final = "Transfer-Encoding: chunked"
INNER: Final = request_bytes("GET /.well-known/message-inbox")

SMUGGLED: Final[Mapping[str, tuple[tuple[str, ...], bytes]]] = {
    "CL and TE": ((LENGTH, CHUNKED), CHUNKS),
    "TE and CL": ((CHUNKED, LENGTH), CHUNKS),
    "CL.TE with a request behind": (("Content-Length: 5", CHUNKED), b"0\r\n\r\n" + INNER),
    "TE.CL with a request within": ((CHUNKED, "Content-Length: 4"), b"%x\r\n%s\r\n0\r\n\r\n" % (len(INNER), INNER)),
    "TE folded": (("Transfer-Encoding:\r\n chunked",), CHUNKS),
    "TE folded with a tab": (("Transfer-Encoding:\r\n\tchunked", LENGTH), BODY),
    "TE with a space before the colon": (("Transfer-Encoding : chunked", LENGTH), BODY),
    "TE with a vertical tab": (("Transfer-Encoding: \x0bchunked", LENGTH), BODY),
    "TE misspelt": (("Transfer-Encoding: xchunked",), CHUNKS),
    "TE in quotes": (('Transfer-Encoding: "chunked"',), CHUNKS),
    "TE empty": (("Transfer-Encoding:", LENGTH), BODY),
    "TE twice": ((CHUNKED, "Transfer-Encoding: identity"), CHUNKS),
    "TE twice, the other way": (("Transfer-Encoding: identity", CHUNKED), CHUNKS),
    "TE chunked twice": ((CHUNKED, CHUNKED), CHUNKS),
    "TE chunked, then identity": (("Transfer-Encoding: chunked, identity",), CHUNKS),
    "TE identity, then chunked": (("Transfer-Encoding: identity, chunked",), CHUNKS),
    "TE gzip, then chunked": (("Transfer-Encoding: gzip, chunked",), CHUNKS),
    "TE identity": (("Transfer-Encoding: identity", LENGTH), BODY),
    "TE behind a bare CR": ((f"X: a\r{CHUNKED}", LENGTH), BODY),
    "TE behind a bare LF": ((f"X: a\n{CHUNKED}", LENGTH), BODY),
    "two CLs": ((LENGTH, "Content-Length: 5"), BODY),
    "two equal CLs": ((LENGTH, LENGTH), BODY),
    "a list of CLs": ((f"{LENGTH}, {len(BODY)}",), BODY),
    "a CL with a sign": ((f"Content-Length: +{len(BODY)}",), BODY),
    "a negative CL": (("Content-Length: -1",), BODY),
    "a CL in hex": ((f"Content-Length: {len(BODY):#x}",), BODY),
    "a CL with an underscore": (("Content-Length: 2_5",), BODY),
    "a CL that is folded": ((f"Content-Length:\r\n {len(BODY)}",), BODY),
    "a huge CL": ((f"Content-Length: {1 << 64}",), BODY),
    "a chunk size with 0x": ((CHUNKED,), b"0x" + CHUNKS),
    "a chunk size with a sign": ((CHUNKED,), b"+" + CHUNKS),
    "a negative chunk size": ((CHUNKED,), b"-" + CHUNKS),
    "a chunk size with an underscore": ((CHUNKED,), b"0_" + CHUNKS),
    "a chunk size with a space before": ((CHUNKED,), b" " + CHUNKS),
    "a chunk size beyond 64 bits": ((CHUNKED,), b"1" + b"0" * 16 + CHUNKS),
    "a chunk that is too short": ((CHUNKED,), b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY) + 1, BODY)),
    "a chunk that is too long": ((CHUNKED,), b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY) - 1, BODY)),
    "a chunk that ends in LF": ((CHUNKED,), CHUNKS.replace(b"\r\n", b"\n")),
    "a chunk extension with a LF": ((CHUNKED,), CHUNKS.replace(b"\r\n", b";a=\n\r\n", 1)),
    "a header behind a LF": ((f"X: a\n{LENGTH}",), BODY),
}


@pytest.mark.parametrize("name", SMUGGLED)
async def test_what_could_be_read_as_two_requests_gets_one_answer_and_is_not_done(
    server: LiveServer, clock: HandClock, name: str
) -> None:
    await claim_bob(server, clock, url=PUBLIC)
    headers, body = SMUGGLED[name]
    token = deliver_token(ALICE, BODY, sender=ALICE.public, recipient=BOB.public, app=APP, inbox=PUBLIC, now=clock())
    answers = await ask(
        server.port, request_bytes("POST /v1/messages", f"Authorization: Bearer {token}", *headers, body=body)
    )
    assert len(answers) <= 1
    assert all(400 <= answer.status < 500 for answer in answers)


async def test_the_smuggled_delivery_is_taken_when_nothing_is_wrong_with_it(
    server: LiveServer, clock: HandClock
) -> None:
    """The control: only the framing stands between those requests and a 201."""
    await claim_bob(server, clock, url=PUBLIC)
    token = deliver_token(ALICE, BODY, sender=ALICE.public, recipient=BOB.public, app=APP, inbox=PUBLIC, now=clock())
    for headers, body in (((LENGTH,), BODY), ((CHUNKED,), CHUNKS)):
        line = request_bytes("POST /v1/messages", f"Authorization: Bearer {token}", *headers, body=body)
        assert (await ask_once(server.port, line)).status in (200, 201)
