"""What stands on every answer, and what does not."""

import logging
from collections.abc import Mapping
from typing import Final

import pytest
from aiohttp import web

from inbox_server.client.tokens_and_cards import owner_token
from inbox_server.http.app_keys import IS_OURS, METRICS
from inbox_server.http.edge import edge
from inbox_server.http.listening import listening
from inbox_server.metrics import Metrics
from tests.conftest import APP, HandClock
from tests.support.edges import (
    BOB,
    PUBLIC,
    Answer,
    LiveServer,
    ask_once,
    assert_usual,
    code_of,
    free_socket,
    request_bytes,
    signed_delivery,
)

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


async def test_a_bug_is_answered_with_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_: web.Request) -> web.Response:
        raise RuntimeError("SECRET")

    app = web.Application(middlewares=[edge])
    app[IS_OURS], app[METRICS] = lambda _: True, Metrics()
    app.router.add_get("/", fail)
    with caplog.at_level(logging.DEBUG):
        async with listening(app, await free_socket()) as (url,):
            answer = await ask_once(int(url.rpartition(":")[2]), request_bytes("GET /", "Authorization: Bearer SECRET"))
    assert_usual(answer)
    assert (answer.status, code_of(answer)) == (500, "internal")
    assert b"SECRET" not in answer.body
    assert "RuntimeError" in caplog.text
    assert "SECRET" not in caplog.text
