"""Whose host a request may name."""

from pathlib import Path
from typing import Final

import pytest

from inbox_server.http.admin import make_admin_app
from inbox_server.http.app_keys import CLOCK_GUARD, METRICS
from inbox_server.http.hosts import hosts_of
from inbox_server.http.listening import listening
from inbox_server.metrics import Metrics
from tests.support.edges import PUBLIC, LiveServer, ask_once, code_of, free_socket, make_config, request_bytes

ROUTES: Final = (
    "GET /.well-known/message-inbox",
    "PUT /v1/inbox",
    "GET /v1/inbox",
    "DELETE /v1/inbox",
    "POST /v1/messages",
    "GET /v1/messages",
    "POST /v1/messages/ack",
    "GET /v1/events",
    "GET /v1/inbox/push",
    "PUT /v1/inbox/push",
    "DELETE /v1/inbox/push",
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


async def test_head_is_answered_as_get_without_a_body(server: LiveServer) -> None:
    path = "/.well-known/message-inbox"
    whole, head = [await ask_once(server.port, request_bytes(f"{method} {path}")) for method in ("GET", "HEAD")]
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]
    assert (await ask_once(server.port, request_bytes(f"HEAD {path}", host="evil.example"))).status == 421


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


async def test_the_admin_listener_answers_to_the_names_that_the_operator_gave_it(server: LiveServer) -> None:
    admin_app = make_admin_app(server.store, Metrics(), server.app[CLOCK_GUARD], ["inbox-server"])
    async with listening(admin_app, await free_socket()) as (url,):
        port = int(url.rpartition(":")[2])
        for host, status in (
            ("inbox-server", 200),
            ("Inbox-Server:8711", 200),
            ("localhost", 200),
            ("evil.example", 421),
            ("inbox-server.evil.example", 421),
        ):
            assert (await ask_once(port, request_bytes("GET /health", host=host))).status == status


async def test_what_the_parser_refuses_is_counted(server: LiveServer) -> None:
    for request in (b"\x00\r\n\r\n", b"GET http://xn--a/ HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        assert (await ask_once(server.port, request)).status == 400
    assert b'inbox_refusals_total{code="bad_request"} 3.0' in server.app[METRICS].text()


async def test_the_admin_listener_answers_to_numbers_and_localhost_only(server: LiveServer) -> None:
    async with listening(make_admin_app(server.store, Metrics(), server.app[CLOCK_GUARD]), await free_socket()) as (
        url,
    ):
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


def test_an_ipv6_address_that_is_listened_on_is_ours(tmp_path: Path) -> None:
    is_ours = hosts_of(make_config(tmp_path, 1, server__public_url=PUBLIC, server__listen="[::1]:8710"))
    assert is_ours("[::1]:8710")
    assert not is_ours("::1:8710")
    assert not is_ours("[::1]")
