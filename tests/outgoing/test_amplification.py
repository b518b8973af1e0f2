"""How much work a stranger's delivery makes for the name service, and whom a flood of made-up names leaves alone."""

import asyncio
import json
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import aiohttp
import pytest
from coincurve.ecdsa import der_to_cdata, serialize_compact

from inbox_server.client.appkey import AppKey
from inbox_server.clock import UnixTime
from inbox_server.errors import Refused, Unavailable
from inbox_server.identity.keys import PublicKey, parse_key
from inbox_server.metrics import Metrics
from inbox_server.outgoing.fetch import open_fetcher
from inbox_server.protocol.base64url import encode
from inbox_server.protocol.tokens import digest_of
from inbox_server.resolver.cache import (
    AGAIN_SECONDS,
    FAILURE_SECONDS,
    FRESH_SECONDS,
    LAPSE_SECONDS,
    NOT_FOUND_SECONDS,
    PUT_OFF_SECONDS,
    STALE_SECONDS,
    CachedResolver,
)
from inbox_server.resolver.chain import ChainResolver
from inbox_server.resolver.contract import missing, unavailable, unproven
from inbox_server.resolver.service import NameServices
from inbox_server.world.local_world import World
from inbox_server.world.name_service import Registration
from inbox_server.world.people import Person
from tests.conftest import APP, HandClock
from tests.support.canary import HandMonotonic

# What strangers may cause: look-ups of names for deliveries that state their key, and fewer for those that do not.
PER_SECOND, BURST = 20, 100
KEYS_PER_SECOND, KEYS_BURST = 5, 50
MAX_WAITING = 3 * PER_SECOND
AT_ONCE = (0.0, 0.0)
BUSY_RETRY = "10"
FLOOD = 5_000
HONEST = 100
CONNECTIONS = 1000  # at once: who floods does not wait for answers


def signed(key: AppKey, claims: dict[str, object]) -> str:
    """A deliver token. Like `AppKey.token`, but a tenth of its time: there are thousands."""
    header = encode(b'{"typ":"inbox-deliver+jwt","alg":"ES256K"}')
    message = f"{header}.{encode(json.dumps(claims).encode())}"
    return f"{message}.{encode(serialize_compact(der_to_cdata(key.sign(message.encode()))))}"


def delivery(world: World, key: AppKey, sender: str, number: int, *, with_key: bool = True) -> tuple[bytes, str]:
    """A body and a token for it, to bob.id."""
    body = json.dumps({"message_id": f"{sender} {number}"}).encode()
    now = world.clock()
    claims: dict[str, object] = {
        "iss": sender,
        "sub": "bob.id",
        "app": APP,
        "aud": world.inbox_url,
        "digest": digest_of(body),
        "iat": now,
        "exp": now + 300,
    }
    return body, signed(key, claims | {"key": key.public} if with_key else claims)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    code: str
    retry_after: str | None


async def post(session: aiohttp.ClientSession, world: World, made: tuple[bytes, str]) -> Answer:
    body, token = made
    headers = {"Authorization": f"Bearer {token}"}
    async with session.post(f"{world.inbox_url}/v1/messages", data=body, headers=headers) as response:
        document = await response.json(content_type=None)
        return Answer(response.status, document.get("code", ""), response.headers.get("Retry-After"))


async def post_all(world: World, made: list[tuple[bytes, str]], connections: int) -> list[Answer]:
    """Over so many connections at a time."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections)) as session:
        return await asyncio.gather(*(post(session, world, each) for each in made))


async def settle_many(world: World, number: int) -> list[Person]:
    return list(await asyncio.gather(*(world.settle(f"honest{index}.id", APP) for index in range(number))))


async def claim_for_bob(world: World) -> None:
    """bob.id has an inbox that takes whoever has a name."""
    async with world.user(await world.settle("bob.id", APP)) as bob:
        settings = await bob.inbox(world.inbox_url).claim({"names": ["bob.id"], "accept": "names"})
        assert settings["accept"] == "names"


@pytest.mark.timeout(180)  # about 20 s on two idle cores
@pytest.mark.long
async def test_a_flood_of_made_up_names_costs_the_name_service_its_budget_and_known_senders_nothing(
    world: World,
) -> None:
    await claim_for_bob(world)
    people = await settle_many(world, HONEST)
    first = await post_all(world, [delivery(world, each.app_key, each.name, 1) for each in people], 20)
    assert {answer.status for answer in first} == {201}
    keys = [AppKey(secrets.token_bytes(32)) for _ in range(FLOOD)]
    flood = [delivery(world, key, f"made-up{index}.id", 1) for index, key in enumerate(keys)]
    honest = [delivery(world, each.app_key, each.name, 2) for each in people]
    asked_before, began = world.register.look_ups, time.monotonic()

    async def honest_ones_one_by_one() -> list[Answer]:
        async with aiohttp.ClientSession() as session:
            return [await post(session, world, each) for each in honest]

    refused, accepted = await asyncio.gather(post_all(world, flood, CONNECTIONS), honest_ones_one_by_one())
    elapsed, asked = time.monotonic() - began, world.register.look_ups - asked_before

    assert [answer.status for answer in accepted] == [201] * HONEST
    assert asked <= BURST + PER_SECOND * elapsed + 1
    assert asked >= PER_SECOND  # the flood did come as far as the budget
    kinds = Counter((answer.status, answer.code) for answer in refused)
    assert set(kinds) == {(403, "name_unproven"), (503, "names_unavailable")}
    assert kinds[403, "name_unproven"] <= asked
    assert all(answer.retry_after for answer in refused if answer.status == 503)
    print(f"{FLOOD} + {HONEST} deliveries in {elapsed:.1f} s: {asked} look-ups, {kinds}")  # noqa: T201


async def test_a_flood_without_keys_is_held_to_its_own_smaller_budget(world: World) -> None:
    """Their key must be looked up before the owner's policy was asked, so they get less."""
    await claim_for_bob(world)
    key = AppKey(secrets.token_bytes(32))
    flood = [delivery(world, key, f"made-up{index}.id", 1, with_key=False) for index in range(600)]
    asked_before, began = world.register.look_ups, time.monotonic()
    refused = await post_all(world, flood, CONNECTIONS)
    elapsed, asked = time.monotonic() - began, world.register.look_ups - asked_before
    assert KEYS_BURST <= asked <= KEYS_BURST + KEYS_PER_SECOND * elapsed + 1
    kinds = Counter((answer.status, answer.code, answer.retry_after) for answer in refused)
    assert set(kinds) == {(403, "name_unproven", None), (503, "names_unavailable", BUSY_RETRY)}


async def test_known_senders_whose_answers_grew_old_succeed_beside_a_flood(world: World, clock: HandClock) -> None:
    await claim_for_bob(world)
    people = await settle_many(world, 30)
    await post_all(world, [delivery(world, each.app_key, each.name, 1) for each in people], 10)
    clock.advance(FRESH_SECONDS + 1)
    key = AppKey(secrets.token_bytes(32))
    flood = [delivery(world, key, f"made-up{index}.id", 1) for index in range(150)]
    honest = [delivery(world, each.app_key, each.name, 2) for each in people]
    answers = await post_all(world, flood + honest, 200)
    assert {answer.status for answer in answers[150:]} == {201}


async def test_a_stranger_without_an_inbox_to_write_to_makes_no_look_up(world: World) -> None:
    key = AppKey(secrets.token_bytes(32))
    answers = await post_all(world, [delivery(world, key, f"made-up{index}.id", 1) for index in range(20)], 5)
    assert {(answer.status, answer.code) for answer in answers} == {(403, "not_accepted")}
    assert world.register.look_ups == 0


async def test_a_key_that_is_not_the_names_makes_one_more_look_up_a_minute(world: World, clock: HandClock) -> None:
    await claim_for_bob(world)
    alice = await world.settle("alice.id", APP)
    assert (await post_all(world, [delivery(world, alice.app_key, "alice.id", 1)], 1))[0].status == 201
    before = world.register.look_ups
    forged = [delivery(world, AppKey(secrets.token_bytes(32)), "alice.id", 1) for _ in range(50)]
    clock.advance(AGAIN_SECONDS)
    answers = await post_all(world, forged, 10)
    assert {(answer.status, answer.code) for answer in answers} == {(403, "name_unproven")}
    assert world.register.look_ups == before + 1


async def test_a_signature_that_does_not_hold_makes_one_more_look_up_a_minute(world: World, clock: HandClock) -> None:
    await claim_for_bob(world)
    alice = await world.settle("alice.id", APP)
    honest = delivery(world, alice.app_key, "alice.id", 1, with_key=False)
    assert (await post_all(world, [honest], 1))[0].status == 201
    before = world.register.look_ups
    for minute in range(3):
        clock.advance(AGAIN_SECONDS)
        forger = AppKey(secrets.token_bytes(32))
        forged = [delivery(world, forger, "alice.id", index, with_key=False) for index in range(20)]
        answers = await post_all(world, forged, 10)
        assert {(answer.status, answer.code) for answer in answers} == {(401, "bad_token")}
        # its key, and its address no more than that: the signature is checked before
        assert world.register.look_ups == before + minute + 1


# The resolver alone, with somebody else's servers played by hand.

ALICE = parse_key(AppKey(bytes([1]) * 32).public)
NEW_ALICE = parse_key(AppKey(bytes([2]) * 32).public)


class Upstream:
    """Implements `contract.Resolver`: the names it knows, whether it fails, and a gate to hold look-ups at."""

    def __init__(self) -> None:
        self.names: dict[str, PublicKey] = {"alice.id": ALICE}
        self.failing = False
        self.refusing = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[str] = []

    async def address(self, name: str, app: str, *, fresh: bool = False) -> str:
        return (await self.key(name, app)).address

    async def key(self, name: str, app: str, *, fresh: bool = False) -> PublicKey:
        self.asked.append(name)
        await self.gate.wait()
        if self.failing:
            raise unavailable()
        if name not in self.names:
            raise missing("no such name")
        if self.refusing:
            raise unproven("revoked")
        return self.names[name]


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
def monotonic() -> HandMonotonic:
    return HandMonotonic()


@pytest.fixture
def resolver(upstream: Upstream, clock: HandClock, monotonic: HandMonotonic) -> CachedResolver:
    return CachedResolver(upstream, clock, Metrics().looked_up, monotonic=monotonic, put_off_seconds=AT_ONCE)


async def outcome(look_up: Awaitable[object]) -> object:
    """What came of it: the answer, or the code of the refusal."""
    try:
        return await look_up
    except Refused as refusal:
        return refusal.code


async def turns() -> None:
    """As many turns of the loop as an answer takes that waits for no clock."""
    for _ in range(20):
        await asyncio.sleep(0)


async def flood(resolver: CachedResolver, number: int, *, start: int = 0) -> list[object]:
    """So many strangers at once, of which none may wait: those whose turn would come later are left alone."""
    names = [f"made-up{index}.id" for index in range(start, start + number)]
    tasks = [asyncio.create_task(outcome(resolver.address(name, APP))) for name in names]
    await turns()
    done, waiting = await asyncio.wait(tasks, timeout=0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return [task.result() for task in done]


async def test_many_who_ask_for_one_name_make_one_look_up(resolver: CachedResolver, upstream: Upstream) -> None:
    upstream.gate.clear()
    waiting = [asyncio.create_task(resolver.address("alice.id", APP)) for _ in range(200)]
    await asyncio.sleep(0)
    for leaves in waiting[:100]:  # the first of them among those: who leaves does not end it for the others
        leaves.cancel()
    await asyncio.sleep(0)
    upstream.gate.set()
    assert await asyncio.gather(*waiting[100:]) == [ALICE.address] * 100
    assert upstream.asked == ["alice.id"]


@pytest.mark.parametrize("failing", [False, True])
async def test_many_who_ask_for_a_name_in_vain_make_one_look_up(
    resolver: CachedResolver, upstream: Upstream, failing: bool
) -> None:
    upstream.failing = failing
    answers = await asyncio.gather(*(outcome(resolver.address("nobody.id", APP)) for _ in range(200)))
    assert set(answers) == {"names_unavailable" if failing else "name_unproven"}
    assert upstream.asked == ["nobody.id"]


@pytest.mark.parametrize(
    ("failing", "seconds"), [(False, NOT_FOUND_SECONDS), (True, FAILURE_SECONDS)], ids=["not found", "failed"]
)
async def test_what_was_asked_in_vain_is_remembered_for_a_while(
    resolver: CachedResolver, upstream: Upstream, clock: HandClock, failing: bool, seconds: int
) -> None:
    upstream.failing = failing
    for _ in range(3):
        await outcome(resolver.address("nobody.id", APP))
    clock.advance(seconds - 1)
    await outcome(resolver.address("nobody.id", APP))
    assert len(upstream.asked) == 1
    clock.advance(1)
    await outcome(resolver.address("nobody.id", APP))
    assert len(upstream.asked) == 2


async def test_strangers_are_refused_when_their_budget_is_spent(
    upstream: Upstream, clock: HandClock, monotonic: HandMonotonic
) -> None:
    async def never(_: float) -> None:  # whose turn would come later does not see it come
        await asyncio.Event().wait()

    counted = Metrics().looked_up
    resolver = CachedResolver(upstream, clock, counted, monotonic=monotonic, put_off_seconds=AT_ONCE, sleep=never)
    answers = Counter(await flood(resolver, 500))
    assert answers == {"name_unproven": BURST, "names_unavailable": 500 - BURST - MAX_WAITING}
    assert len(upstream.asked) == BURST
    monotonic.advance(10)  # of what comes back in that time, those who waited have reserved a part
    await flood(resolver, 500, start=1000)
    assert len(upstream.asked) == 2 * BURST


async def test_strangers_who_are_put_off_wait_for_it_and_known_ones_do_not(
    upstream: Upstream, clock: HandClock, monotonic: HandMonotonic
) -> None:
    """Or a few connections that ask again at once leave the server no time for anybody else."""
    resolver = CachedResolver(upstream, clock, Metrics().looked_up, monotonic=monotonic)
    assert await resolver.address("alice.id", APP) == ALICE.address
    await flood(resolver, BURST + MAX_WAITING)
    began, seconds = time.monotonic(), list[float]()

    async def put_off(name: str) -> None:
        assert await outcome(resolver.address(name, APP)) == "names_unavailable"
        seconds.append(time.monotonic() - began)

    tasks = [asyncio.create_task(put_off(f"late{index}.id")) for index in range(100)]
    await turns()
    assert seconds == []
    assert await resolver.address("alice.id", APP) == ALICE.address
    assert seconds == []
    await asyncio.gather(*tasks)
    least, most = PUT_OFF_SECONDS
    assert seconds[0] >= least
    assert seconds[-1] - seconds[0] >= (most - least) / 2  # they do not come back all at once


async def test_being_refused_for_want_of_budget_says_when_to_come_back(resolver: CachedResolver) -> None:
    await flood(resolver, BURST + MAX_WAITING)
    with pytest.raises(Unavailable) as refusal:
        await resolver.address("late.id", APP)
    assert str(refusal.value.retry_after) == BUSY_RETRY


async def test_a_key_is_looked_up_within_a_smaller_budget(resolver: CachedResolver, upstream: Upstream) -> None:
    tasks = [asyncio.create_task(outcome(resolver.key(f"made-up{index}.id", APP))) for index in range(300)]
    await turns()
    _, waiting = await asyncio.wait(tasks, timeout=0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert len(upstream.asked) == KEYS_BURST
    assert await resolver.address("alice.id", APP) == ALICE.address  # the other budget is whole


async def test_a_flood_neither_evicts_known_names_nor_makes_them_wait(
    upstream: Upstream, clock: HandClock, monotonic: HandMonotonic
) -> None:
    resolver = CachedResolver(upstream, clock, Metrics().looked_up, monotonic=monotonic, put_off_seconds=AT_ONCE)
    assert await resolver.address("alice.id", APP) == ALICE.address
    for round in range(60):
        monotonic.advance(1000)
        await asyncio.gather(*(outcome(resolver.address(f"n{round}-{index}.id", APP)) for index in range(BURST)))
    assert len(upstream.asked) == 1 + 60 * BURST  # more than is remembered of refusals
    await flood(resolver, 200)
    upstream.asked.clear()
    assert await resolver.address("alice.id", APP) == ALICE.address
    assert upstream.asked == []
    clock.advance(FRESH_SECONDS)
    upstream.names["alice.id"] = NEW_ALICE
    async with asyncio.timeout(0.5):
        assert await resolver.address("alice.id", APP) == NEW_ALICE.address  # a budget of its own
    assert upstream.asked == ["alice.id"]


async def test_an_answer_is_fresh_for_a_while_and_then_looked_up_again(
    resolver: CachedResolver, upstream: Upstream, clock: HandClock
) -> None:
    await resolver.address("alice.id", APP)
    upstream.names["alice.id"] = NEW_ALICE
    clock.advance(FRESH_SECONDS - 1)
    assert await resolver.address("alice.id", APP) == ALICE.address
    clock.advance(1)
    assert await resolver.address("alice.id", APP) == NEW_ALICE.address
    assert len(upstream.asked) == 2


async def test_an_old_answer_stands_in_while_upstream_fails(
    resolver: CachedResolver, upstream: Upstream, clock: HandClock
) -> None:
    began = clock.now
    await resolver.address("alice.id", APP)
    upstream.failing = True
    while clock.now + FAILURE_SECONDS < began + STALE_SECONDS:
        clock.advance(min(3600, began + STALE_SECONDS - FAILURE_SECONDS - clock.now) or FAILURE_SECONDS)
        assert await resolver.address("alice.id", APP) == ALICE.address
    asked = len(upstream.asked)
    assert await resolver.address("alice.id", APP) == ALICE.address
    assert len(upstream.asked) == asked  # and upstream is spared meanwhile
    clock.now = UnixTime(began + STALE_SECONDS)
    assert await outcome(resolver.address("alice.id", APP)) == "names_unavailable"
    upstream.failing = False
    clock.advance(FAILURE_SECONDS)
    assert await resolver.address("alice.id", APP) == ALICE.address


async def test_a_name_that_is_gone_is_a_failure_without_an_old_answer_and_after_three_days_no_name(
    resolver: CachedResolver, upstream: Upstream, clock: HandClock
) -> None:
    await resolver.address("alice.id", APP)
    upstream.names.clear()
    clock.advance(FRESH_SECONDS)
    gone = clock.now
    while clock.now < gone + LAPSE_SECONDS:
        for fresh in (False, True):
            assert await outcome(resolver.address("alice.id", APP, fresh=fresh)) == "names_unavailable"
        clock.advance(LAPSE_SECONDS // 8)
    assert await outcome(resolver.address("alice.id", APP)) == "name_unproven"
    clock.advance(NOT_FOUND_SECONDS - 1)
    asked = len(upstream.asked)
    assert await outcome(resolver.address("alice.id", APP)) == "name_unproven"
    assert len(upstream.asked) == asked


async def test_a_name_that_comes_back_is_known_at_once_and_its_next_lapse_is_a_new_one(
    resolver: CachedResolver, upstream: Upstream, clock: HandClock
) -> None:
    names = dict(upstream.names)
    for _ in range(3):
        upstream.names = names
        assert await resolver.address("alice.id", APP) == ALICE.address
        upstream.names = {}
        clock.advance(LAPSE_SECONDS - FAILURE_SECONDS)
        assert await outcome(resolver.address("alice.id", APP)) == "names_unavailable"
        clock.advance(FAILURE_SECONDS)


async def test_a_lapse_spares_upstream_and_its_failure_is_one_too(
    resolver: CachedResolver, upstream: Upstream, clock: HandClock
) -> None:
    await resolver.address("alice.id", APP)
    upstream.names.clear()
    clock.advance(FRESH_SECONDS)
    for _ in range(3):
        with pytest.raises(Unavailable, match="names_unavailable") as caught:
            await resolver.address("alice.id", APP)
        assert caught.value.retry_after == FAILURE_SECONDS
    assert len(upstream.asked) == 2
    upstream.failing = True
    clock.advance(FAILURE_SECONDS)
    assert await outcome(resolver.address("alice.id", APP)) == "names_unavailable"
    assert len(upstream.asked) == 3


async def test_a_clock_that_goes_back_makes_a_lapse_no_longer(
    resolver: CachedResolver, upstream: Upstream, clock: HandClock
) -> None:
    await resolver.address("alice.id", APP)
    upstream.names.clear()
    clock.advance(30 * LAPSE_SECONDS)
    assert await outcome(resolver.address("alice.id", APP)) == "names_unavailable"
    clock.advance(-29 * LAPSE_SECONDS)
    assert await outcome(resolver.address("alice.id", APP)) == "names_unavailable"
    clock.advance(LAPSE_SECONDS)
    assert await outcome(resolver.address("alice.id", APP)) == "name_unproven"


async def test_a_name_that_was_never_known_and_one_that_is_taken_away_are_no_lapse(
    resolver: CachedResolver, upstream: Upstream, clock: HandClock
) -> None:
    assert await outcome(resolver.address("nobody.id", APP)) == "name_unproven"
    await resolver.address("alice.id", APP)
    upstream.refusing = True
    clock.advance(FRESH_SECONDS)
    assert await outcome(resolver.address("alice.id", APP)) == "name_unproven"
    upstream.failing = True
    clock.advance(NOT_FOUND_SECONDS)
    assert await outcome(resolver.address("alice.id", APP)) == "names_unavailable"


LookUp = Callable[[CachedResolver], Awaitable[object]]
LOOK_UPS: tuple[LookUp, ...] = (
    lambda resolver: resolver.address("alice.id", APP, fresh=True),
    lambda resolver: resolver.key("alice.id", APP, fresh=True),
)


@pytest.mark.parametrize("look_up", LOOK_UPS, ids=["address", "key"])
async def test_a_misfit_asks_anew_once_a_minute(
    resolver: CachedResolver,
    upstream: Upstream,
    clock: HandClock,
    look_up: LookUp,
) -> None:
    await look_up(resolver)
    for _ in range(50):
        await look_up(resolver)
    clock.advance(AGAIN_SECONDS - 1)
    await look_up(resolver)
    assert len(upstream.asked) == 1
    clock.advance(1)
    for _ in range(50):
        await look_up(resolver)
    assert len(upstream.asked) == 2


async def test_a_misfit_while_upstream_fails_does_not_ask_again_and_again(
    resolver: CachedResolver, upstream: Upstream, clock: HandClock
) -> None:
    await resolver.address("alice.id", APP)
    upstream.failing = True
    clock.advance(AGAIN_SECONDS)
    for _ in range(50):
        with pytest.raises(Unavailable):  # a refusal would be the last word
            await resolver.address("alice.id", APP, fresh=True)
    assert await resolver.address("alice.id", APP) == ALICE.address
    assert len(upstream.asked) == 2


async def test_an_old_answer_that_misfits_a_refused_name_is_asked_anew_once_a_minute(
    resolver: CachedResolver, upstream: Upstream, clock: HandClock
) -> None:
    for _ in range(3):
        await outcome(resolver.address("nobody.id", APP, fresh=True))
    clock.advance(AGAIN_SECONDS)
    for _ in range(3):
        await outcome(resolver.address("nobody.id", APP, fresh=True))
    assert len(upstream.asked) == 2


# The resolver with the fetcher below it, which has limits of its own.


@pytest.fixture
async def resolver_of_world(world: World, clock: HandClock, monotonic: HandMonotonic) -> AsyncIterator[CachedResolver]:
    async with open_fetcher(allow=frozenset({world.reader_origin}), monotonic=monotonic) as fetcher:
        chain = ChainResolver(fetcher, NameServices(fetcher, (world.names_url,), agreement=False), ())
        yield CachedResolver(chain, clock, Metrics().looked_up, monotonic=monotonic, put_off_seconds=AT_ONCE)


async def test_strangers_do_not_spend_at_the_hosts_what_known_names_need(
    world: World, resolver_of_world: CachedResolver, clock: HandClock
) -> None:
    """Both kinds of strangers at once ask for more than the host's own rate, and a known name has a new key."""
    resolver = resolver_of_world
    alice = await world.settle("alice.id", APP)
    assert await resolver.address("alice.id", APP) == alice.app_key.address
    new_alice = await world.settle("alice.id", APP)
    clock.advance(AGAIN_SECONDS)
    strangers = [resolver.address(f"made-up{index}.id", APP) for index in range(BURST - 1)]
    strangers += [resolver.key(f"made-up{index}.id", APP) for index in range(KEYS_BURST)]  # type: ignore[misc]
    await asyncio.gather(*(outcome(each) for each in strangers))
    assert await resolver.address("alice.id", APP, fresh=True) == new_alice.app_key.address


@pytest.mark.parametrize(
    "url", ["https://xn--a.example/profile.json", "https://xn--.example/", "https://[::1/", "https://a:99999/"]
)
@pytest.mark.parametrize("with_key", [True, False])
async def test_a_zone_file_with_a_url_that_is_none_is_refused_and_remembered(
    world: World, url: str, with_key: bool
) -> None:
    await claim_for_bob(world)
    key = AppKey(secrets.token_bytes(32))
    world.register.names["mallory.id"] = Registration(key.address, f'_http._tcp URI 10 1 "{url}"\n')
    before = world.register.look_ups
    made = [delivery(world, key, "mallory.id", number, with_key=with_key) for number in range(10)]
    answers = await post_all(world, made, 1)
    assert {answer.status for answer in answers} <= {403, 503}
    assert world.register.look_ups == before + 1
