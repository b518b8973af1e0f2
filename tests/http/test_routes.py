"""The HTTP edge: every code in one shape, wrong methods and paths, large bodies, and bytes that are no HTTP."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from inbox_server.clock_guard import ClockGuard
from inbox_server.config.config import Tcp
from inbox_server.errors import CODES
from inbox_server.http.admin import make_admin_app
from inbox_server.http.listening import listening
from inbox_server.metrics import Metrics
from inbox_server.protocol.requests import MAX_DELIVERY_BYTES, MAX_OWNER_BYTES
from inbox_server.world.local_world import World
from tests.support.requests import Answer, Caller, caller, check_common_headers, check_problem

TOKEN = "eyJhbGciOiJFUzI1NksifQ.c2VjcmV0.c2lnbmF0dXJl"
METHODS = {
    "/.well-known/message-inbox": {"GET", "HEAD"},
    "/v1/inbox": {"GET", "PUT", "DELETE"},
    "/v1/messages": {"GET", "POST"},
    "/v1/messages/ack": {"POST"},
}
TOO_LARGE = [
    ("POST", "/v1/messages", MAX_DELIVERY_BYTES),
    ("POST", "/v1/messages/ack", MAX_OWNER_BYTES),
    ("PUT", "/v1/inbox", MAX_OWNER_BYTES),
]


@pytest.fixture
def someone(world: World) -> Caller:
    return caller(world)


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/inbox/", "//v1/inbox", "/V1/inbox", "/v1/messages/alice.id", "/health", "/ready"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_path_that_is_none_of_the_protocol_is_not_found(someone: Caller, method: str, path: str) -> None:
    document = check_problem(await someone.send(method, path), "not_found")
    assert path == "/" or path not in json.dumps(document)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", METHODS)
async def test_a_method_that_a_path_does_not_take_is_refused(someone: Caller, method: str, path: str) -> None:
    answer = await someone.send(method, path)
    if method in METHODS[path]:
        assert answer.status in (200, 400, 401)
        return
    assert answer.status == 405
    assert answer.headers["Allow"] == ", ".join(sorted(METHODS[path] | {"OPTIONS"}))
    if method == "HEAD":
        assert answer.body == b""
        check_common_headers(answer)
    else:
        check_problem(answer, "wrong_method")


@pytest.mark.parametrize(("method", "path", "most"), TOO_LARGE)
async def test_a_body_that_is_too_large_is_refused_by_its_length(
    someone: Caller, method: str, path: str, most: int
) -> None:
    answer = await someone.send(method, path, b"x" * (most + 1))
    assert str(most) in check_problem(answer, "too_large")["detail"]
    assert (await someone.send(method, path, b"x" * most)).status != 413


@pytest.mark.parametrize("size", [1, 20_000, 10 * MAX_OWNER_BYTES])
@pytest.mark.parametrize(("method", "path", "most"), TOO_LARGE)
async def test_a_body_that_is_too_large_is_refused_when_no_length_was_said(
    someone: Caller, method: str, path: str, most: int, size: int
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(most + size, 0, -8192):
            yield b"x" * 8192

    async with someone.session.request(method, someone.url + path, data=pieces()) as response:
        answer = Answer(response.status, response.headers, await response.read())
    assert str(most) in check_problem(answer, "too_large")["detail"]


async def _exchange(url: str, *pieces: bytes) -> Answer:
    """The answer to raw bytes, after which the server closes or the request said so."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = CIMultiDict[str]()
        for line in filter(None, lines):
            name, _, value = line.partition(": ")
            headers.add(name, value)
        body = await reader.readexactly(int(headers.get("Content-Length", "0")))
    finally:
        writer.close()
        await writer.wait_closed()
    return Answer(int(first.split()[1]), CIMultiDictProxy(headers), body)


HEAD = b"POST /v1/messages HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n"
MALFORMED: dict[str, bytes] = {
    "no HTTP at all": b"\x16\x03\x01\x02\x00" + TOKEN.encode() + b"\r\n\r\n",
    "words": b"hello " + TOKEN.encode() + b"\r\n\r\n",
    "a version that is not": b"GET / HTTP/9.9" + TOKEN.encode() + b"\r\nHost: %s\r\n\r\n",
    "a header without a colon": HEAD + b"Bearer " + TOKEN.encode() + b"\r\n\r\n",
    "a header name with a space": HEAD + b"X " + TOKEN.encode() + b": 1\r\n\r\n",
    "a control character": HEAD + b"X: \x01" + TOKEN.encode() + b"\r\n\r\n",
    "a folded header": HEAD + b"X: 1\r\n " + TOKEN.encode() + b"\r\n\r\n",
    "a length that is no number": HEAD + b"Content-Length: " + TOKEN.encode() + b"\r\n\r\n",
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a length and chunks": HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown transfer": HEAD + b"Transfer-Encoding: " + TOKEN.encode() + b"\r\n\r\n",
    "a chunk size that is no number": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + TOKEN.encode() + b"\r\n",
    "a chunk without its end": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc" + TOKEN.encode() + b"\r\n",
    "a header line too long": HEAD + b"X: " + TOKEN.encode() * 1000 + b"\r\n\r\n",
    "a target too long": b"GET /" + TOKEN.encode() * 1000 + b" HTTP/1.1\r\nHost: %s\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED.keys())
async def test_bytes_that_are_no_http_get_a_problem_that_repeats_none_of_them(
    someone: Caller, caplog: pytest.LogCaptureFixture, request_bytes: bytes
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = await _exchange(someone.url, _to(someone, request_bytes))
    check_problem(answer, "bad_request")
    for text in (answer.body.decode(), caplog.text):
        assert "c2VjcmV0" not in text
        assert "127.0.0.1" not in text


def _to(someone: Caller, request_bytes: bytes) -> bytes:
    return request_bytes.replace(b"%s", urlsplit(someone.url).netloc.encode())


async def test_an_expectation_that_nobody_knows_gets_a_problem(someone: Caller) -> None:
    head = _to(someone, HEAD + b"Expect: " + TOKEN.encode() + b"\r\nContent-Length: 0\r\n\r\n")
    answer = await _exchange(someone.url, head)
    assert answer.status in (400, 417)
    check_common_headers(answer)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert b"c2VjcmV0" not in answer.body


async def test_a_body_may_wait_for_the_server_to_ask_for_it(someone: Caller) -> None:
    async with someone.session.put(f"{someone.url}/v1/inbox", data=b"{}", expect100=True) as response:
        assert response.status == 401


async def test_the_capability_document_says_what_an_app_must_know(someone: Caller) -> None:
    answer = await someone.send("GET", "/.well-known/message-inbox")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    check_common_headers(answer, cache="max-age=300")
    document = answer.json()
    assert {"protocol", "version", "origin", "registration", "features", "limits", "software"} <= document.keys()
    assert (document["protocol"], document["version"]) == ("message-inbox", 1)
    assert (document["origin"], document["registration"]) == (someone.url, "open")
    assert all(isinstance(limit, int) for limit in document["limits"].values())


async def test_the_admin_listener_tells_health_and_readiness(world: World) -> None:
    async with listening(
        make_admin_app(world.store, Metrics(), ClockGuard(world.clock, world.clock, None)), Tcp("127.0.0.1", 0)
    ) as (url,):
        admin = Caller(world.session, url, caller(world).key, world.clock)
        health, ready = await admin.send("GET", "/health"), await admin.send("GET", "/ready")
        assert (health.status, health.json()["status"]) == (200, "ok")
        assert (ready.status, ready.json()) == (200, {"status": "ready"})  # SQLite has no standby
        check_problem(await admin.send("GET", "/v1/inbox"), "not_found")
        check_problem(await admin.send("POST", "/health"), "wrong_method")
        check_problem(await admin.send("GET", "/health", headers={"Host": "evil.example"}), "wrong_host")


async def test_every_answer_carries_the_time_of_its_own_moment(someone: Caller) -> None:
    answers = [await someone.send("GET", path) for path in ("/.well-known/message-inbox", "/nowhere", "/v1/inbox")]
    assert all(answer.headers["Date"].endswith("GMT") for answer in answers)
    assert len({answer.headers["Content-Length"] for answer in answers}) == 3


def test_every_code_of_the_table_is_an_error_with_a_title_and_a_remedy() -> None:
    for name, code in CODES.items():
        assert name.islower()
        assert 400 <= code.status <= 599
        assert code.title
        assert code.remedy.endswith(".")
