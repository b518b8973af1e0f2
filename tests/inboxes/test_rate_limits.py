"""Limits by the hour: what they allow, what `Retry-After` promises, and that nothing remembers who."""

import gc
import itertools
import mmap
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.client.tokens_and_cards import deliver_token, owner_token
from inbox_server.errors import CODES, Refused
from inbox_server.inboxes.rate_limits import HOUR_SECONDS, Kind, RateLimits
from tests.conftest import APP, HandClock
from tests.support.edges import LiveServer, serving

Limit = tuple[Kind, bytes, int]


class Salts:
    """Random bytes, and what was asked for."""

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def __call__(self, size: int) -> bytes:
        self.given.append(secrets.token_bytes(size))
        return self.given[-1]


@pytest.fixture
def clock() -> HandClock:
    """At the start of an hour."""
    clock = HandClock()
    clock.advance(-clock() % HOUR_SECONDS)
    return clock


@pytest.fixture
def salts() -> Salts:
    return Salts()


@pytest.fixture
def rates(clock: HandClock, salts: Salts) -> RateLimits:
    return RateLimits(clock, salts)


def taken(rates: RateLimits, what: bytes, most: int, *, tries: int) -> int:
    """How many of so many tries are allowed."""
    return sum(wait_of(rates, ("sender", what, most)) is None for _ in range(tries))


def wait_of(rates: RateLimits, *limits: Limit) -> int | None:
    """None when it is allowed, else its Retry-After."""
    try:
        rates.check(*limits)
    except Refused as refusal:
        return refusal.retry_after if refusal.code == "too_many" else 0
    return None


@pytest.mark.parametrize("most", [1, 2, 60, 600])
def test_as_many_are_allowed_as_the_limit_says(rates: RateLimits, most: int) -> None:
    assert taken(rates, b"alice", most, tries=most + 5) == most
    assert wait_of(rates, ("sender", b"bob", most)) is None


def test_zero_is_no_limit(rates: RateLimits) -> None:
    assert taken(rates, b"alice", 0, tries=1000) == 1000
    assert taken(rates, b"alice", 10, tries=20) == 10  # and nothing was counted meanwhile


@pytest.mark.parametrize("most", [1, 2, 3, 7, 60])
@pytest.mark.parametrize("start", [0, 1, 1799, 3598, 3599])
@pytest.mark.parametrize("before", [0, 1, 2, 7, 60])
def test_after_waiting_as_long_as_told_it_is_allowed(clock: HandClock, most: int, start: int, before: int) -> None:
    rates = RateLimits(clock, secrets.token_bytes)
    taken(rates, b"alice", before, tries=before)
    clock.advance(HOUR_SECONDS + start)
    taken(rates, b"alice", most, tries=most)
    for _ in range(3):
        wait = wait_of(rates, ("sender", b"alice", most))
        if wait is None:
            continue
        assert 1 <= wait <= 2 * HOUR_SECONDS + 1
        clock.advance(wait)
        assert wait_of(rates, ("sender", b"alice", most)) is None


def test_the_limit_slides_over_the_hour(rates: RateLimits, clock: HandClock) -> None:
    clock.advance(HOUR_SECONDS - 1)
    assert taken(rates, b"alice", 60, tries=70) == 60
    clock.advance(1)
    assert taken(rates, b"alice", 60, tries=70) == 0  # a new hour is not a new allowance
    clock.advance(HOUR_SECONDS // 2)
    assert taken(rates, b"alice", 60, tries=70) == 30
    clock.advance(2 * HOUR_SECONDS)
    assert taken(rates, b"alice", 60, tries=70) == 60


def test_never_more_than_the_limit_passes_in_any_hour_beyond_what_fading_lets_through(clock: HandClock) -> None:
    """Whoever tries all the time gets little more than the limit in any 60 minutes, and in the long run not more."""
    rates, most, passed = RateLimits(clock, secrets.token_bytes), 30, []
    for minute in range(10 * 60):
        passed += [minute] * taken(rates, b"alice", most, tries=5)
        clock.advance(60)
    assert max(sum(start <= minute < start + 60 for minute in passed) for start in range(9 * 60)) <= 2 * most
    assert len(passed) <= 11 * most


def test_what_is_refused_is_not_counted(rates: RateLimits) -> None:
    alice: Limit = ("sender", b"alice", 10)
    inbox: Limit = ("inbox", b"inbox", 1)
    assert wait_of(rates, inbox) is None
    for limits in ((alice, inbox), (inbox, alice)):
        for _ in range(10):
            assert wait_of(rates, *limits) is not None
    assert taken(rates, b"alice", 10, tries=20) == 10


def test_one_busy_sender_does_not_hit_5000_others(rates: RateLimits) -> None:
    assert taken(rates, b"busy", 600, tries=1000) == 600
    others = [number.to_bytes(4, "big") for number in range(5000)]
    assert [other for other in others if wait_of(rates, ("sender", other, 60)) is not None] == []
    assert [other for other in others if wait_of(rates, ("sender", other, 60)) is not None] == []


@pytest.mark.timeout(120)  # about 4 s on an idle core
@pytest.mark.parametrize("most", [3, 20])
def test_110_made_up_senders_a_second_lock_nobody_else_out(rates: RateLimits, clock: HandClock, most: int) -> None:
    for number in range(HOUR_SECONDS):
        clock.advance(1)
        for each in range(110):
            wait_of(rates, ("sender", b"%d %d" % (number, each), most))
    new: list[Limit] = [("sender", b"new %d" % number, most) for number in range(200)]
    assert [limit for limit in new if wait_of(rates, limit) is not None] == []


def test_no_kind_counts_for_another(rates: RateLimits) -> None:
    kinds: tuple[Kind, ...] = ("sender", "inbox", "network")
    assert [wait_of(rates, (kind, b"the same", 1)) for kind in kinds] == [None] * 3
    assert None not in [wait_of(rates, (kind, b"the same", 1)) for kind in kinds]


def test_each_hour_has_a_salt_of_its_own(rates: RateLimits, clock: HandClock, salts: Salts) -> None:
    at_start = len(salts.given)
    rates.check(("sender", b"alice", 5))
    assert len(salts.given) == at_start
    for hours in (1, 2, 3):
        clock.advance(HOUR_SECONDS)
        rates.check(("sender", b"alice", 5))
        assert len(salts.given) == at_start + hours
    assert len(set(salts.given)) == len(salts.given)
    assert {len(salt) for salt in salts.given} == {16}


def test_salt_and_sender_are_gone_after_two_hours(clock: HandClock) -> None:
    salts, sender = Salts(), secrets.token_bytes(20)
    rates = RateLimits(clock, salts)
    rates.check(("sender", b"sender" + sender, 5))
    old = [bytes(salt) for salt in salts.given]
    assert all(any(salt in each for each in held(rates)) for salt in old)  # the control: the search finds what is there
    assert not any(sender in each for each in held(rates))
    for _ in range(2):
        clock.advance(HOUR_SECONDS)
        rates.check(("sender", b"other", 5))
    salts.given.clear()
    assert not any(salt in each for each in held(rates) for salt in old)


def held(start: object) -> Iterator[bytes]:
    """Every bytes and array object and shared memory that can be reached, but not through classes and modules."""
    seen, waiting = {id(start)}, [start]
    while waiting:
        each = waiting.pop()
        if isinstance(each, (bytes, bytearray)):
            yield bytes(each)
        if isinstance(each, mmap.mmap):
            yield each[:]
        for found in gc.get_referents(each):
            if id(found) not in seen and type(found).__name__ not in ("type", "module", "function", "Salts"):
                seen.add(id(found))
                waiting.append(found)


# Over HTTP.

ALICE, BOB, CAROL = (AppKey(bytes([number]) * 32) for number in (1, 2, 3))


async def claim(server: LiveServer, key: AppKey, clock: HandClock, settings: bytes = b'{"accept":"anyone"}') -> None:
    token = owner_token(key, scope="settings", app=APP, inbox=server.url, now=clock(), body=settings)
    headers = {"Authorization": f"Bearer {token}"}
    async with server.session.put(f"{server.url}/v1/inbox", data=settings, headers=headers) as response:
        assert response.status in (200, 201)


_numbers = itertools.count()


async def deliver(
    server: LiveServer, clock: HandClock, sender: AppKey, recipient: str, **headers: str
) -> tuple[int, str | None, Any]:
    """Status, Retry-After and document of a delivery that was not made before."""
    body = b'{"message_id":"%d"}' % next(_numbers)
    token = deliver_token(
        sender, body, sender=sender.public, recipient=recipient, app=APP, inbox=server.url, now=clock()
    )
    sent = {"Authorization": f"Bearer {token}"} | {name.replace("_", "-"): told for name, told in headers.items()}
    async with server.session.post(f"{server.url}/v1/messages", data=body, headers=sent) as response:
        return response.status, response.headers.get("Retry-After"), await response.json(content_type=None)


LIMITS: Final[dict[str, dict[str, Any]]] = {
    "sender": {"limits__sender_per_hour": 3},
    "inbox": {"limits__inbox_per_hour": 3},
    "network": {"limits__network_per_hour": 3, "server__proxy_header": "X-Real-IP"},
}


@pytest.mark.parametrize("limit", LIMITS)
async def test_beyond_a_limit_is_429_until_retry_after_has_passed(tmp_path: Path, clock: HandClock, limit: str) -> None:
    async with serving(tmp_path, clock=clock, **LIMITS[limit]) as server:
        await claim(server, BOB, clock)
        here = {"X_Real_IP": "203.0.113.7"}
        for _ in range(3):
            assert (await deliver(server, clock, ALICE, BOB.public, **here))[0] == 201
        status, wait, document = await deliver(server, clock, ALICE, BOB.public, **here)
        assert (status, document["code"]) == (429, "too_many")
        assert document["title"] == CODES["too_many"].title
        assert wait is not None
        clock.advance(int(wait))
        assert (await deliver(server, clock, ALICE, BOB.public, **here))[0] == 201


async def test_the_limits_of_one_are_not_those_of_another(tmp_path: Path, clock: HandClock) -> None:
    limits: dict[str, Any] = {
        "limits__sender_per_hour": 2,
        "limits__network_per_hour": 7,
        "server__proxy_header": "X-Real-IP",
    }
    async with serving(tmp_path, clock=clock, **limits) as server:
        for key in (BOB, CAROL):
            await claim(server, key, clock)

        async def status(sender: AppKey, recipient: AppKey, network: str) -> int:
            return (await deliver(server, clock, sender, recipient.public, X_Real_IP=network))[0]

        assert [await status(ALICE, BOB, "203.0.113.7") for _ in range(3)] == [201, 201, 429]
        assert [await status(ALICE, CAROL, "203.0.113.7") for _ in range(3)] == [201, 201, 429]  # by inbox
        assert [await status(CAROL, BOB, "203.0.113.7") for _ in range(2)] == [201, 429]  # the seventh, eighth
        assert [await status(CAROL, BOB, "203.0.113.8") for _ in range(2)] == [201, 429]


@pytest.mark.parametrize("limit", LIMITS)
async def test_a_limit_does_not_tell_whether_there_is_an_inbox(tmp_path: Path, clock: HandClock, limit: str) -> None:
    async with serving(tmp_path, clock=clock, **LIMITS[limit]) as server:
        await claim(server, BOB, clock, b'{"accept":"nobody"}')
        outcomes = []
        for number, recipient in enumerate((BOB.public, BOB.address, CAROL.public, CAROL.address, "nobody.id")):
            clock.advance(3 * HOUR_SECONDS)
            here = {"X_Real_IP": f"203.0.113.{number}"}
            answers = [await deliver(server, clock, ALICE, recipient, **here) for _ in range(5)]
            assert [status for status, *_ in answers[:3]] == [403] * 3
            assert [document["code"] for *_, document in answers[3:]] in (["too_many"] * 2, ["not_accepted"] * 2)
            outcomes.append(answers)
        assert all(answers == outcomes[0] for answers in outcomes)


async def test_a_limit_reached_at_one_name_that_nobody_proved_tells_nothing_of_another(
    tmp_path: Path, clock: HandClock
) -> None:
    """Otherwise all unproved names share one count: fill it, and whatever is not 429 is a name with an inbox here."""
    async with serving(tmp_path, clock=clock, limits__sender_per_hour=3, limits__inbox_per_hour=3) as server:
        assert [(await deliver(server, clock, ALICE, "one.id"))[0] for _ in range(3)] == [403] * 3
        assert (await deliver(server, clock, ALICE, "two.id"))[0] == 403


async def test_strangers_whom_the_owner_refuses_do_not_use_up_the_inboxs_hour(tmp_path: Path, clock: HandClock) -> None:
    """Otherwise a few thousand refused requests, each from a key made for it, keep Bob's contacts out for an hour."""
    async with serving(tmp_path, clock=clock, limits__inbox_per_hour=3) as server:
        await claim(server, BOB, clock, b'{"accept":"contacts","contacts":["%s"]}' % ALICE.address.encode())
        for number in range(10, 20):
            assert (await deliver(server, clock, AppKey(bytes([number]) * 32), BOB.public))[0] in (403, 429)
        assert (await deliver(server, clock, ALICE, BOB.public))[0] == 201


async def test_what_the_owner_refuses_counts_for_no_sender(tmp_path: Path, clock: HandClock) -> None:
    """Otherwise requests under made-up keys crowd the counts of all senders, though none of them is taken."""
    async with serving(tmp_path, clock=clock, limits__sender_per_hour=3) as server:
        await claim(server, BOB, clock, b'{"accept":"contacts"}')
        assert [(await deliver(server, clock, ALICE, BOB.public))[0] for _ in range(10)] == [403] * 10
        clock.advance(1)
        await claim(server, BOB, clock)
        assert [(await deliver(server, clock, ALICE, BOB.public))[0] for _ in range(4)] == [201, 201, 201, 429]


async def test_what_was_refused_for_its_token_or_body_counts_for_nobody(tmp_path: Path, clock: HandClock) -> None:
    async with serving(tmp_path, clock=clock, limits__sender_per_hour=1, limits__inbox_per_hour=1) as server:
        await claim(server, BOB, clock)
        body = b'{"message_id":"x"}'
        token = deliver_token(
            CAROL, body, sender=ALICE.public, recipient=BOB.public, app=APP, inbox=server.url, now=clock()
        )
        token = token.rsplit(".", 1)[0] + "." + "A" * 86
        for content in (body, b"{}"):
            headers = {"Authorization": f"Bearer {token}"}
            async with server.session.post(f"{server.url}/v1/messages", data=content, headers=headers) as response:
                assert response.status in (400, 401)
        assert (await deliver(server, clock, ALICE, BOB.public))[0] == 201
