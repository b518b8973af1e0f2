"""Reading over HTTP: the list, the changes, acknowledging, and what an owner's token may do."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from inbox_server.protocol.feed_json import DEFAULT_PAGE_ENTRIES, MAX_PAGE_ENTRIES
from inbox_server.protocol.tokens import CLOCK_SKEW_SECONDS, ReadTokens
from inbox_server.store.contract import TOMBSTONE_SECONDS
from inbox_server.world.local_world import World
from tests.conftest import APP, START, HandClock
from tests.support.requests import (
    LEFT_OUT,
    Answer,
    Caller,
    at,
    caller,
    check_common_headers,
    check_problem,
    id_of,
    new_key,
)
from tests.support.stores import read_rows


@pytest.fixture
async def owner(world: World) -> Caller:
    """The owner of an inbox that takes deliveries of any key."""
    owner = caller(world)
    await owner.claim({"accept": "anyone"})
    return owner


async def _fill(owner: Caller, *texts: str, **more: Any) -> None:
    sender = at(owner)
    for text in texts:
        assert (await sender.deliver(text, recipient=owner.key.address, **more)).status == 201


async def test_an_empty_inbox_lists_nothing(owner: Caller) -> None:
    answer = await owner.unread()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    check_common_headers(answer)
    document = answer.json()
    assert document == {"messages": [], "cursor": document["cursor"], "more": False}


async def test_the_list_has_what_waits_in_order(owner: Caller) -> None:
    await _fill(owner, "b", "a", "c")
    messages = (await owner.unread()).json()["messages"]
    assert [entry["message_id"] for entry in messages] == ["b", "a", "c"]
    assert all(entry.keys() == {"id", "message_id", "expires"} for entry in messages)
    assert [entry["id"] for entry in messages] == [id_of(text) for text in ("b", "a", "c")]


async def test_any_printable_text_is_listed_as_it_was_delivered(owner: Caller) -> None:
    texts = ['"', "\\", 'a "quoted" \\"text\\\\', "</script>", "{}[],:", " ", "~!@#$%^&*()_+`'"]
    await _fill(owner, *texts)
    assert await owner.texts() == texts


async def test_acknowledging_takes_entries_off_the_list(owner: Caller) -> None:
    await _fill(owner, "a", "b", "c")
    answer = await owner.acknowledge(id_of("a"), id_of("c"))
    assert (answer.status, answer.body) == (204, b"")
    check_common_headers(answer)
    assert "Content-Type" not in answer.headers
    assert await owner.texts() == ["b"]


async def test_acknowledging_again_or_the_unknown_is_no_error(owner: Caller) -> None:
    await _fill(owner, "a")
    for ids in ([id_of("a")], [id_of("a")], [id_of("never seen")], []):
        assert (await owner.acknowledge(*ids)).status == 204


async def test_another_device_hears_what_changed(owner: Caller) -> None:
    await _fill(owner, "a", "b")
    cursor = (await owner.unread()).json()["cursor"]
    await _fill(owner, "c")
    await owner.acknowledge(id_of("a"))
    document = (await owner.unread(after=cursor)).json()
    assert [entry["message_id"] for entry in document["messages"]] == ["c"]
    assert (document["read"], document["more"]) == ([id_of("a")], False)
    assert (await owner.unread(after=document["cursor"])).json() == {
        "messages": [],
        "read": [],
        "cursor": document["cursor"],
        "more": False,
    }


async def test_pages_follow_each_other(owner: Caller) -> None:
    texts = [f"entry {number}" for number in range(7)]
    await _fill(owner, *texts)
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 3}
    for more in (True, True, False):
        document = (await owner.unread(**query)).json()
        assert document["more"] is more
        seen += [entry["message_id"] for entry in document["messages"]]
        query["after"] = document["cursor"]
    assert seen == texts


async def test_pages_follow_each_other_though_an_old_acknowledgement_is_forgotten(
    world: World, owner: Caller, clock: HandClock
) -> None:
    texts = [f"entry {number}" for number in range(5)]
    await _fill(owner, *texts)
    await _fill(owner, "short", ttl=10)
    await owner.acknowledge(id_of("short"))
    clock.advance(TOMBSTONE_SECONDS)
    await world.store.sweep(clock())
    first = (await owner.unread(limit=3)).json()
    second = (await owner.unread(limit=3, after=first["cursor"])).json()
    listed = [entry["message_id"] for page in (first, second) for entry in page["messages"]]
    assert (listed, second["more"]) == (texts, False)


async def test_a_page_has_a_hundred_entries_unless_asked_otherwise(owner: Caller) -> None:
    await _fill(owner, *(f"entry {number}" for number in range(DEFAULT_PAGE_ENTRIES + 1)))
    assert len((await owner.unread()).json()["messages"]) == DEFAULT_PAGE_ENTRIES
    assert len((await owner.unread(limit=MAX_PAGE_ENTRIES)).json()["messages"]) == DEFAULT_PAGE_ENTRIES + 1
    assert len((await owner.unread(limit=1)).json()["messages"]) == 1


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "1.5", "", "ten", "+1", " 1", "1_0", "\u0663", "99999999999999"])
async def test_a_limit_that_is_no_number_of_entries_is_refused(owner: Caller, limit: str) -> None:
    check_problem(await owner.unread(limit=limit), "bad_request", "limit")


@pytest.mark.parametrize("cursor", ["", "0", "x" * 22, "%00", "AAAA", "A" * 100, "../..", "null"])
async def test_what_is_no_cursor_is_refused(owner: Caller, cursor: str) -> None:
    check_problem(await owner.unread(after=cursor), "bad_cursor", "after")


async def test_the_cursor_of_another_inbox_is_gone(owner: Caller) -> None:
    other = at(owner)
    await other.claim()
    cursor = (await other.unread()).json()["cursor"]
    check_problem(await owner.unread(after=cursor), "cursor_gone")


async def test_the_cursor_of_an_inbox_that_was_claimed_anew_is_gone(owner: Caller) -> None:
    cursor = (await owner.unread()).json()["cursor"]
    await owner.give_up()
    await owner.claim()
    check_problem(await owner.unread(after=cursor), "cursor_gone")


@pytest.mark.parametrize(
    "query", ["?unknown=1", "?after=a&after=b", "?limit=1&limit=1", "?inbox=alice.id", "?limit=1&unknown", "?=1"]
)
async def test_a_parameter_that_is_unknown_or_there_twice_is_refused(owner: Caller, query: str) -> None:
    answer = await owner.send("GET", f"/v1/messages{query}", token=owner.owner_token("read"))
    check_problem(answer, "bad_request", "query")


@pytest.mark.parametrize(
    ("body", "member"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b'{"ids":[],"all":true}', "body"),
        (b"{}", "ids"),
        (b'{"ids":"all"}', "ids"),
        (b'{"ids":[7]}', "ids"),
        (b'{"ids":["short"]}', "ids"),
        (b'{"ids":["%s="]}' % id_of("a").encode(), "ids"),
        (json.dumps({"ids": [id_of("a")] * 1001}).encode(), "ids"),
    ],
)
async def test_an_acknowledgement_that_breaks_a_rule_is_refused(owner: Caller, body: bytes, member: str) -> None:
    await _fill(owner, "a")
    answer = await owner.send("POST", "/v1/messages/ack", body, token=owner.owner_token("ack", body))
    check_problem(answer, "bad_request", member)
    assert await owner.texts() == ["a"]


async def test_a_thousand_ids_are_acknowledged_at_once(owner: Caller) -> None:
    await _fill(owner, "a")
    ids = [id_of(f"{number}") for number in range(999)]
    assert (await owner.acknowledge(*ids, id_of("a"))).status == 204
    assert await owner.texts() == []


Ask = Callable[[Caller, dict[str, Any]], Awaitable[Answer]]
ASKS: dict[str, Ask] = {
    "read": lambda owner, bend: owner.unread(bend=bend),
    "read settings": lambda owner, bend: owner.settings(bend=bend),
    "ack": lambda owner, bend: owner.acknowledge(id_of("a"), bend=bend),
    "settings": lambda owner, bend: owner.claim({"accept": "nobody"}, bend=bend),
    "give up": lambda owner, bend: owner.give_up(bend=bend),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS.keys())
async def test_a_bent_token_of_an_owner_is_refused_and_does_nothing(world: World, owner: Caller, ask: Ask) -> None:
    await _fill(owner, "a")
    now = owner.clock()
    before = [read_rows(world.data_dir, f"SELECT * FROM {table}") for table in ("inbox", "message")]
    bends: list[tuple[dict[str, Any], str]] = [
        ({"aud": "https://other.example"}, "aud"),
        ({"scope": "everything"}, "scope"),
        ({"scope": LEFT_OUT}, "scope"),
        ({"iss": new_key().public}, "signature"),
        ({"iss": "bob.id"}, "iss"),
        ({"app": "chat.example"}, "app"),
        ({"sub": owner.key.address}, "claims"),
        ({"exp": now + 3601}, "exp"),
        ({"iat": now - 400, "exp": now - 100}, "exp"),
        ({"iat": now + 100, "exp": now + 400}, "iat"),
    ]
    for bend, member in bends:
        check_problem(await ask(owner, bend), "bad_token", member)
    assert [read_rows(world.data_dir, f"SELECT * FROM {table}") for table in ("inbox", "message")] == before


@pytest.mark.parametrize("needed", ["read", "ack", "settings"])
@pytest.mark.parametrize("given", ["read", "ack", "settings"])
async def test_a_token_of_one_scope_does_nothing_else(owner: Caller, needed: str, given: str) -> None:
    await _fill(owner, "a")
    method, path, body = {
        "read": ("GET", "/v1/messages", b""),
        "ack": ("POST", "/v1/messages/ack", b'{"ids":[]}'),
        "settings": ("PUT", "/v1/inbox", b"{}"),
    }[needed]
    answer = await owner.send(method, path, body, token=owner.owner_token(given, body))
    if needed == given:
        assert answer.status in (200, 204)
    else:
        check_problem(answer, "bad_token", "scope")


async def test_a_token_to_read_lasts_an_hour_and_others_five_minutes(owner: Caller) -> None:
    hour = {"exp": owner.clock() + 3600}
    assert (await owner.unread(bend=hour)).status == 200
    check_problem(await owner.acknowledge(bend=hour), "bad_token", "exp")
    check_problem(await owner.claim(bend=hour), "bad_token", "exp")


async def test_a_token_that_was_used_before_passes_with_its_time(owner: Caller, clock: HandClock) -> None:
    token = owner.owner_token("read")
    for _ in range(2):
        assert (await owner.send("GET", "/v1/messages", token=token)).status == 200
    clock.advance(300 + CLOCK_SKEW_SECONDS)
    assert check_problem(await owner.send("GET", "/v1/messages", token=token), "bad_token", "exp")["now"] == clock()
    clock.advance(-2 * (300 + CLOCK_SKEW_SECONDS))
    check_problem(await owner.send("GET", "/v1/messages", token=token), "bad_token", "iat")


async def test_a_token_that_was_used_before_is_bent_by_any_change(owner: Caller) -> None:
    token = owner.owner_token("read")
    assert (await owner.send("GET", "/v1/messages", token=token)).status == 200
    first = "A" if token[-10] != "A" else "B"
    check_problem(
        await owner.send("GET", "/v1/messages", token=f"{token[:-10]}{first}{token[-9:]}"), "bad_token", "signature"
    )
    assert (await owner.send("POST", "/v1/messages/ack", b'{"ids":[]}', token=token)).status == 401


def test_few_tokens_to_read_are_remembered() -> None:
    key, now = new_key(), START
    tokens = ReadTokens(audience="https://inbox.example", most=2)
    for life in (10, 20, 30, 10):
        claims = {"iss": key.public, "app": APP, "aud": "https://inbox.example", "scope": "read", "iat": now}
        token = key.token(claims | {"exp": now + life}, "inbox-owner+jwt")
        assert tokens.read(f"Bearer {token}", now).expires == now + life
        assert len(tokens) <= 2


async def test_a_token_to_read_has_no_digest_and_others_must(owner: Caller) -> None:
    check_problem(await owner.unread(bend={"digest": id_of("")}), "bad_token", "claims")
    check_problem(await owner.acknowledge(bend={"digest": LEFT_OUT}), "bad_token", "digest")
    check_problem(await owner.acknowledge(bend={"digest": id_of("another body")}), "bad_token", "digest")


async def test_a_token_to_deliver_does_not_read(owner: Caller) -> None:
    token = owner.deliver_token(b"", owner.key.public, owner.key.address)
    check_problem(await owner.send("GET", "/v1/messages", token=token), "bad_token", "typ")


async def test_whoever_signs_sees_the_inbox_of_the_own_key_only(owner: Caller) -> None:
    await _fill(owner, "a")
    stranger = at(owner)
    for answer in (await stranger.unread(), await stranger.settings(), await stranger.acknowledge(id_of("a"))):
        check_problem(answer, "no_inbox")
    await stranger.claim()
    assert await stranger.texts() == []
    await stranger.acknowledge(id_of("a"))
    assert await owner.texts() == ["a"]


async def test_reading_needs_no_look_up(world: World, owner: Caller) -> None:
    before = world.register.look_ups
    await owner.unread()
    await owner.settings()
    await owner.acknowledge(id_of("a"))
    assert world.register.look_ups == before


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/inbox"])
async def test_reading_without_a_token_is_refused(owner: Caller, path: str) -> None:
    check_problem(await owner.send("GET", path), "no_token")


@pytest.mark.parametrize("with_cursor", [False, True])
async def test_a_poll_that_is_repeated_sees_every_change(owner: Caller, with_cursor: bool) -> None:
    token = owner.owner_token("read")

    async def poll(path: str) -> tuple[list[str], list[str]]:
        document = (await owner.send("GET", path, token=token)).json()
        return [entry["message_id"] for entry in document["messages"]], document.get("read", [])

    cursor = (await owner.unread()).json()["cursor"]
    path = f"/v1/messages?after={cursor}" if with_cursor else "/v1/messages"
    for _ in range(4):
        assert await poll(path) == ([], [])
    await _fill(owner, "a")
    for _ in range(4):
        assert await poll(path) == (["a"], [])
    await owner.acknowledge(id_of("a"))
    for _ in range(4):
        assert await poll(path) == ([], [id_of("a")] if with_cursor else [])
    await owner.give_up()
    check_problem(await owner.send("GET", path, token=token), "no_inbox")


async def test_a_poll_that_is_repeated_is_refused_when_its_token_is_over(owner: Caller, clock: HandClock) -> None:
    token = owner.owner_token("read")
    for _ in range(4):
        assert (await owner.send("GET", "/v1/messages", token=token)).status == 200
    clock.advance(300 + CLOCK_SKEW_SECONDS)
    check_problem(await owner.send("GET", "/v1/messages", token=token), "bad_token", "exp")


async def test_a_poll_is_answered_to_its_own_token_and_target_only(owner: Caller) -> None:
    token, stranger = owner.owner_token("read"), at(owner)
    for _ in range(4):
        assert (await owner.send("GET", "/v1/messages", token=token)).status == 200
    check_problem(await owner.send("GET", "/v1/messages", token=stranger.owner_token("read")), "no_inbox")
    check_problem(await owner.send("GET", "/v1/messages?limit=0", token=token), "bad_request", "limit")
    check_problem(await owner.send("GET", "/v1/messages"), "no_token")
