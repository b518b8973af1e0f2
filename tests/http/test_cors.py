"""Browser apps on any origin can call the server and read every answer, also a refusal."""

from collections.abc import Awaitable, Callable

import pytest

from inbox_server.world.local_world import World
from tests.support.requests import Answer, Caller, caller, check_common_headers

ORIGIN = {"Origin": "https://chat.example"}


@pytest.fixture
async def owner(world: World) -> Caller:
    owner = caller(world)
    await owner.claim()
    return owner


ANSWERS: dict[str, Callable[[Caller], Awaitable[Answer]]] = {
    "200": lambda owner: owner.unread(),
    "201": lambda owner: owner.deliver(recipient=owner.key.address),
    "204": lambda owner: owner.acknowledge(),
    "400": lambda owner: owner.unread(limit=0),
    "401": lambda owner: owner.send("GET", "/v1/inbox", headers=ORIGIN),
    "403": lambda owner: owner.deliver(recipient=owner.key.address, bend={"app": "https://x.example"}),
    "404": lambda owner: owner.send("GET", "/nowhere", headers=ORIGIN),
    "405": lambda owner: owner.send("PATCH", "/v1/inbox", headers=ORIGIN),
    "413": lambda owner: owner.send("PUT", "/v1/inbox", b"x" * 100_000, headers=ORIGIN),
    "421": lambda owner: owner.send("GET", "/v1/inbox", headers={"Host": "evil.example", **ORIGIN}),
}


@pytest.mark.parametrize(("status", "ask"), ANSWERS.items(), ids=ANSWERS.keys())
async def test_an_answer_of_any_status_can_be_read_by_a_page_of_any_origin(
    owner: Caller, status: str, ask: Callable[[Caller], Awaitable[Answer]]
) -> None:
    answer = await ask(owner)
    assert answer.status == int(status)
    check_common_headers(answer)


@pytest.mark.parametrize("path", ["/v1/inbox", "/v1/messages", "/v1/messages/ack", "/.well-known/message-inbox"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_a_preflight_allows_what_the_protocol_needs(owner: Caller, path: str, method: str) -> None:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization,content-type"}
    answer = await owner.send("OPTIONS", path, headers=ORIGIN | asked)
    assert (answer.status, answer.body) == (204, b"")
    check_common_headers(answer)
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST, PUT, DELETE, OPTIONS"
    assert answer.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type, Last-Event-ID"
    assert int(answer.headers["Access-Control-Max-Age"]) <= 7200  # browsers cap it there
    assert "Content-Type" not in answer.headers


async def test_a_preflight_needs_no_token_and_says_nothing_of_an_inbox(owner: Caller) -> None:
    known = await owner.send("OPTIONS", "/v1/inbox", headers=ORIGIN)
    await owner.give_up()
    assert known.seen() == (await owner.send("OPTIONS", "/v1/inbox", headers=ORIGIN)).seen()


async def test_the_origin_of_a_page_opens_nothing(owner: Caller) -> None:
    for origin in ("https://evil.example", owner.url, "null"):
        answer = await owner.send("GET", "/v1/messages", headers={"Origin": origin})
        assert answer.status == 401
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
