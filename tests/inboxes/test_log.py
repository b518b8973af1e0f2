"""The log of an inbox over HTTP: what an owner is shown, that it is signed, and that nobody else is shown it."""

from typing import Any

import pytest

from inbox_server.clock import DAY_SECONDS
from inbox_server.identity.keys import PublicKey, parse_key
from inbox_server.inbox_log import HEAD_TYPE, LogEntry, LogPoint, fold
from inbox_server.protocol.base64url import decode, encode
from inbox_server.protocol.receipts import RECEIPT_TYPE
from inbox_server.protocol.signed import NotSigned, read_signed
from inbox_server.world.local_world import World
from tests.conftest import HandClock
from tests.support.requests import LEFT_OUT, Caller, at, caller, check_common_headers, check_problem, id_of

NONCE = encode(b"0123456789abcdef")


@pytest.fixture
async def owner(world: World) -> Caller:
    owner = caller(world)
    assert (await owner.claim({"accept": "anyone"})).status == 201
    return owner


@pytest.fixture
async def key(owner: Caller) -> PublicKey:
    return parse_key((await owner.send("GET", "/.well-known/message-inbox")).json()["receipts"]["key"])


def point(document: dict[str, Any]) -> LogPoint:
    return LogPoint(document["n"], decode(document["head"]))


async def test_an_owner_sees_every_delivery_in_a_chain_that_leads_to_a_signed_head(
    owner: Caller, key: PublicKey
) -> None:
    sender = at(owner)
    for text in ("first", "second", "second", "third"):
        await sender.deliver(text, recipient=owner.key.public)
    await sender.deliver("a signal", recipient=owner.key.public, ttl=60)
    await owner.acknowledge(id_of("second"))
    answer = await owner.log(nonce=NONCE)
    assert answer.status == 200
    check_common_headers(answer)
    log = answer.json()
    assert list(log) == ["base", "entries", "more", "head", "signed"]
    assert [entry["id"] for entry in log["entries"]] == [id_of(text) for text in ("first", "second", "third")]
    entries = [LogEntry(entry["n"], decode(entry["id"])) for entry in log["entries"]]
    assert fold(point(log["base"]), entries) == point(log["head"])
    assert read_signed(log["signed"], key, HEAD_TYPE) == {
        "iss": owner.url,
        "sub": owner.key.address,
        "base": log["base"],
        "head": log["head"],
        "nonce": NONCE,
        "iat": owner.clock(),
    }
    with pytest.raises(NotSigned):
        read_signed(log["signed"], key, RECEIPT_TYPE)


async def test_pages_follow_on_and_each_says_base_and_head_of_the_whole(owner: Caller) -> None:
    for number in range(5):
        await at(owner).deliver(f"entry {number}", recipient=owner.key.public)
    whole = (await owner.log()).json()
    first, *_, last = (entry["n"] for entry in whole["entries"])
    pages = [(await owner.log(limit=2, after=after)).json() for after in (0, first + 1, first + 3, last, last + 100)]
    assert [[entry["n"] - first for entry in page["entries"]] for page in pages] == [[0, 1], [2, 3], [4], [], []]
    assert [page["more"] for page in pages] == [True, True, False, False, False]
    assert [(page["base"], page["head"]) for page in pages] == [(whole["base"], whole["head"])] * 5


async def test_logs_begin_at_random_places_and_anew_with_each_claim(owner: Caller) -> None:
    bases = []
    for each in (owner, at(owner)):
        for _ in range(2):
            assert (await each.claim({"accept": "anyone"})).status in (200, 201)
            await at(owner).deliver("entry", recipient=each.key.public)
            log = (await each.log()).json()
            assert len(log["entries"]) == 1
            bases.append(log["base"])
            assert (await each.give_up()).status == 204
    assert len({base["n"] for base in bases}) == len({base["head"] for base in bases}) == len(bases)
    assert all(0 <= base["n"] < 1 << 40 for base in bases)


async def test_the_log_is_only_its_owners(owner: Caller) -> None:
    await at(owner).deliver("entry", recipient=owner.key.public)
    check_problem(await at(owner).log(), "no_inbox")
    path = f"/v1/inbox/log?nonce={NONCE}"
    check_problem(await owner.send("GET", path), "no_token")
    for scope in ("ack", "settings"):
        token = owner.owner_token(scope)
        check_problem(await owner.send("GET", path, token=token), "bad_token", "scope")
    token = owner.deliver_token(b"", owner.key.public, owner.key.public)
    check_problem(await owner.send("GET", path, token=token), "bad_token", "typ")
    check_problem(await owner.log(bend={"exp": LEFT_OUT}), "bad_token", "exp")
    check_problem(await owner.send("POST", path, token=owner.owner_token("read")), "wrong_method")


@pytest.mark.parametrize(
    ("query", "member"),
    [
        ("", "nonce"),
        ("nonce=", "nonce"),
        (f"nonce={NONCE[:-1]}", "nonce"),
        (f"nonce={NONCE}A", "nonce"),
        (f"nonce={NONCE[:-1]}B", "nonce"),
        (f"nonce={'=' * 22}", "nonce"),
        (f"nonce={NONCE}&nonce={NONCE}", "query"),
        (f"nonce={NONCE}&wait=1", "query"),
        (f"nonce={NONCE}&limit=0", "limit"),
        (f"nonce={NONCE}&limit=1001", "limit"),
        (f"nonce={NONCE}&after=-1", "after"),
        (f"nonce={NONCE}&after=", "after"),
        (f"nonce={NONCE}&after=1.0", "after"),
        (f"nonce={NONCE}&after={1 << 53}", "after"),
        (f"nonce={NONCE}&after={'9' * 100}", "after"),
    ],
)
async def test_a_query_that_is_not_of_the_protocol_is_refused_and_its_member_named(
    owner: Caller, query: str, member: str
) -> None:
    answer = await owner.send("GET", f"/v1/inbox/log?{query}", token=owner.owner_token("read"))
    check_problem(answer, "bad_request", member)


async def test_a_query_at_its_limits_is_answered(owner: Caller) -> None:
    queries: list[dict[str, Any]] = [{"limit": 1}, {"limit": 1000}, {"after": 0}, {"after": (1 << 53) - 1}]
    for query in queries:
        assert (await owner.log(**query)).status == 200


async def test_a_base_moves_only_when_the_longest_retention_is_over(owner: Caller, clock: HandClock) -> None:
    await at(owner).deliver("for a day", recipient=owner.key.public, ttl=DAY_SECONDS)
    before = (await owner.log()).json()
    clock.advance(89 * DAY_SECONDS)
    await at(owner).deliver("later", recipient=owner.key.public)
    log = (await owner.log()).json()
    assert (log["base"], [entry["id"] for entry in log["entries"]]) == (
        before["base"],
        [id_of("for a day"), id_of("later")],
    )
