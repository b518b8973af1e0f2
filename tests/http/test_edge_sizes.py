"""Tokens that come twice, headers and bodies that are too large or encoded."""

import gzip
import logging
from typing import Final

import pytest

from inbox_server.protocol.requests import MAX_DELIVERY_BYTES, MAX_OWNER_BYTES
from tests.conftest import HandClock
from tests.support.edges import (
    PUBLIC,
    LiveServer,
    ask_once,
    assert_usual,
    claim_bob,
    code_of,
    request_bytes,
    signed_delivery,
)


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
