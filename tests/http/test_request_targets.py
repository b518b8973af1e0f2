"""Request targets that aiohttp cannot make a request of: an answer and an end, not a connection held for ever."""

import asyncio
import json

import pytest

from inbox_server.world.local_world import World

TARGETS = (
    "GET http://xn--a/ HTTP/1.1",
    "GET http://xn--/ HTTP/1.1",
    "GET http://xn--zz.zz/.well-known/message-inbox HTTP/1.1",
    "GET ws://xn--a/ HTTP/1.1",
    "CONNECT xn--a:443 HTTP/1.1",
)


@pytest.mark.parametrize("line", TARGETS)
async def test_a_target_whose_host_cannot_be_read_is_answered_and_closed(world: World, line: str) -> None:
    host = world.inbox_url.removeprefix("http://")
    reader, writer = await asyncio.open_connection(*host.split(":"))
    writer.write(f"{line}\r\nHost: {host}\r\n\r\n".encode())
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"Access-Control-Allow-Origin: *" in head
    assert json.loads(body)["code"] == "bad_request"
    assert b"xn--" not in answer
