"""A refused sender learns nothing: the same bytes, and the same steps, whatever the reason."""

import json
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.client.inbox_api import Inbox
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.identity.keys import PublicKey
from inbox_server.protocol.base64url import encode
from inbox_server.protocol.bearer import DELIVER
from inbox_server.protocol.tokens import DELIVER_LIFE_SECONDS, digest_of
from inbox_server.world.local_world import World, running_world
from tests.conftest import APP, HandClock
from tests.support.edges import SECRET, Answer, ask_once, request_bytes
from tests.support.requests import Caller
from tests.support.sealed import Contact, give_tickets, sheet_at
from tests.test_walks import profiled

OTHER_APP: Final = "https://other.example"
BODY: Final = b'{"message_id":"opaque"}'
SENDERS: Final = ("key", "name with key", "name alone")
RUNS: Final = 5  # the sweeper may come between; the smallest count of a few is the request's own


class Steps:
    """Counts what a request costs the server while `watching`, on every thread."""

    def __init__(self) -> None:
        self.watching = False
        self.counts: Counter[str] = Counter()

    def step(self, frame: FrameType, event: str, called: Any) -> None:
        if not self.watching:
            return
        if event == "c_call" and isinstance(getattr(called, "__self__", None), sqlite3.Connection):
            self.counts[f"SQL {called.__name__}"] += 1
        if event == "call" and frame.f_code is PublicKey.signed.__code__:
            self.counts["signature checks"] += 1
        if event == "call" and frame.f_code.co_qualname == f"{KeyedHash.__name__}._blind":
            self.counts["keyed hashes"] += 1

    @contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        self.counts, self.watching = Counter(), True
        try:
            yield self.counts
        finally:
            self.watching = False


@dataclass(frozen=True, slots=True)
class Scene:
    """A world in which Alice, by key or by name, is refused at every inbox, for another reason each."""

    world: World
    steps: Steps
    clock: HandClock
    alice: AppKey
    keys: dict[str, AppKey]
    names: dict[str, str]
    """Names by reason; those in `keys` of the same reason stand behind them."""

    def token(self, recipient: str, sender: str) -> str:
        """From Alice, by one of `SENDERS`."""
        claims: dict[str, Any] = {
            "iss": self.alice.public if sender == "key" else "alice.id",
            "sub": recipient,
            "app": APP,
            "aud": self.world.inbox_url,
            "digest": digest_of(BODY),
            "iat": self.clock(),
            "exp": self.clock() + DELIVER_LIFE_SECONDS,
        }
        if sender == "name with key":
            claims["key"] = self.alice.public
        return self.alice.token(claims, DELIVER)

    async def deliver(self, recipient: str, sender: str, *, runs: int = 1) -> tuple[Answer, Counter[str]]:
        """The answer, and the steps that the request needed: the fewest of so many runs."""
        return await self.ask(f"Bearer {self.token(recipient, sender)}", BODY, runs=runs)

    async def ask(self, authorization: str, body: bytes, *, runs: int) -> tuple[Answer, Counter[str]]:
        port = int(self.world.inbox_url.rpartition(":")[2])
        request = request_bytes(
            "POST /v1/messages",
            f"Authorization: {authorization}",
            f"Content-Length: {len(body)}",
            "Connection: close",
            host=f"127.0.0.1:{port}",
            body=body,
        )
        needed: list[Counter[str]] = []
        for _ in range(runs):
            before = self.world.register.look_ups
            with self.steps.counted() as counts:
                answer = await ask_once(port, request)
            needed.append(Counter(counts) + Counter({"look-ups": self.world.register.look_ups - before}))
        answer.headers.pop("date")
        return answer, min(needed, key=Counter.total)


STRANGERS: Final = [AppKey(bytes([number]) * 32).address for number in range(10, 30)]
REFUSALS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "another app": (OTHER_APP, {"accept": "anyone"}),
    "blocked": (APP, {"accept": "anyone", "blocked": ["alice"]}),
    "blocked and a contact": (APP, {"accept": "contacts", "contacts": ["alice"], "blocked": ["alice"]}),
    "not a contact": (APP, {"accept": "contacts"}),
    "nobody": (APP, {"accept": "nobody"}),
    "suspended": (APP, {"accept": "anyone"}),
    "blocked, and no memory holds such long lists": (APP, {"accept": "anyone", "blocked": ["alice", *STRANGERS]}),
}


@pytest.fixture
async def scene(tmp_path: Path, clock: HandClock) -> AsyncIterator[Scene]:
    steps = Steps()
    with profiled(steps.step):
        async with running_world(tmp_path / "data", clock=clock, secret=SECRET) as world:
            alice = (await world.settle("alice.id", APP)).app_key
            keys = {"no inbox": AppKey(b"\x07" * 32)}
            names = {"no such name": "nobody.id", "a name that is not proved": "carol.id"}
            await world.settle("carol.id", APP)
            for number, (reason, (app, settings)) in enumerate(REFUSALS.items()):
                person = await world.settle(f"bob-{number}.id", app)
                lists = {
                    kind: [alice.address, *settings[kind][1:]] for kind in ("contacts", "blocked") if kind in settings
                }
                inbox = Inbox(world.session, world.inbox_url, app, person.app_key, clock)
                await inbox.claim(settings | lists | {"names": [person.name]})
                keys[reason], names[reason] = person.app_key, person.name
            await world.store.operating.suspend(KeyedHash(SECRET).inbox(keys["suspended"].address))
            yield Scene(world, steps, clock, alice, keys, names)


def same(outcomes: dict[str, object]) -> None:
    """All are equal; a difference is shown by its reason."""
    expected = next(iter(outcomes.values()))
    assert {reason: outcome for reason, outcome in outcomes.items() if outcome != expected} == {}


async def test_every_reason_to_refuse_is_one_answer_equal_in_every_byte(scene: Scene) -> None:
    answers: dict[str, object] = {}
    for sender in SENDERS:
        for reason, key in scene.keys.items():
            answers[f"{reason}, key, {sender}"] = (await scene.deliver(key.public, sender))[0]
            answers[f"{reason}, address, {sender}"] = (await scene.deliver(key.address, sender))[0]
        for reason, name in scene.names.items():
            answers[f"{reason}, name, {sender}"] = (await scene.deliver(name, sender))[0]
    same(answers)
    (answer, *_) = answers.values()
    assert isinstance(answer, Answer)
    assert answer.status == 403
    assert b'"code":"not_accepted"' in answer.body
    assert b".id" not in answer.body


async def steps_by_reason(scene: Scene, sender: str) -> list[dict[str, Counter[str]]]:
    """What each refusal costs, for recipients by key, by address and by name."""
    await scene.deliver("nobody.id", sender)  # from here on the sender's own name is remembered
    of_keys = {reason: key.public for reason, key in scene.keys.items()}
    of_addresses = {reason: key.address for reason, key in scene.keys.items()}
    return [
        {reason: (await scene.deliver(recipient, sender, runs=RUNS))[1] for reason, recipient in recipients.items()}
        for recipients in (of_keys, of_addresses, scene.names)
    ]


@pytest.mark.parametrize("sender", SENDERS)
async def test_every_reason_to_refuse_takes_the_same_steps(scene: Scene, sender: str) -> None:
    for outcomes in await steps_by_reason(scene, sender):
        steps = next(iter(outcomes.values()))
        assert (steps["signature checks"], steps["look-ups"]) == (1, 0)
        assert steps["SQL execute"] >= 2  # the control: the watch sees the database's thread
        for counted in ("SQL execute", "signature checks", "look-ups"):
            same({reason: taken[counted] for reason, taken in outcomes.items()})


async def test_a_refusal_takes_the_same_steps_whether_the_policy_is_remembered_or_not(scene: Scene) -> None:
    outcomes: dict[str, object] = {}
    for number, (reason, (app, _)) in enumerate(REFUSALS.items()):
        key = scene.keys[reason]
        inbox = Inbox(scene.world.session, scene.world.inbox_url, app, key, scene.clock)
        fresh: list[Counter[str]] = []
        for _ in range(RUNS):
            await inbox.claim({"retention": 86_400 + number})  # any change: nothing is remembered of it
            fresh.append((await scene.deliver(key.public, "key"))[1])
        outcomes[f"{reason}, fresh"] = min(fresh, key=Counter.total)
        outcomes[f"{reason}, remembered"] = (await scene.deliver(key.public, "key", runs=RUNS))[1]
    outcomes["no inbox"] = (await scene.deliver(scene.keys["no inbox"].public, "key", runs=RUNS))[1]
    same(outcomes)


async def test_only_what_is_accepted_is_decided_from_memory(scene: Scene) -> None:
    """The control: a policy that is remembered spares the queries for it."""
    person = await scene.world.settle("dora.id", APP)
    inbox = Inbox(scene.world.session, scene.world.inbox_url, APP, person.app_key, scene.clock)
    fresh: list[Counter[str]] = []
    for _ in range(RUNS):
        await inbox.claim({"accept": "anyone"})
        fresh.append((await scene.deliver(person.app_key.public, "key"))[1])
    _, remembered = await scene.deliver(person.app_key.public, "key", runs=RUNS)
    _, refused = await scene.deliver(scene.keys["no inbox"].public, "key", runs=RUNS)
    assert remembered["SQL execute"] < min(fresh[1:], key=Counter.total)["SQL execute"]
    assert refused["SQL execute"] >= 2


async def test_every_reason_to_refuse_takes_as_many_keyed_hashes(scene: Scene) -> None:
    for outcomes in await steps_by_reason(scene, "key"):
        same({reason: taken["keyed hashes"] for reason, taken in outcomes.items()})


async def test_the_watch_sees_what_a_delivery_that_is_taken_costs(scene: Scene) -> None:
    """The control: the counts grow when there is more to do, and a first look-up is one."""
    person = await scene.world.settle("dora.id", APP)
    inbox = Inbox(scene.world.session, scene.world.inbox_url, APP, person.app_key, scene.clock)
    await inbox.claim({"accept": "anyone", "names": ["dora.id"]})
    _, refused = await scene.deliver(scene.keys["no inbox"].public, "key", runs=RUNS)
    answer, taken = await scene.deliver(person.app_key.public, "key", runs=RUNS)
    assert answer.status == 200
    assert taken["SQL execute"] > refused["SQL execute"]
    scene.clock.advance(3600)  # what is remembered of the name is old
    before = scene.world.register.look_ups
    await scene.deliver("dora.id", "key")
    assert scene.world.register.look_ups > before


@dataclass(frozen=True, slots=True)
class Sealed:
    """Ticket and recipient by the reason why it is refused; one is taken."""

    scene: Scene
    refused: dict[str, tuple[bytes, str]]
    taken: tuple[bytes, str]

    async def deliver(self, shown: tuple[bytes, str]) -> tuple[Answer, Counter[str]]:
        ticket, to = shown
        body = json.dumps({"message_id": "opaque", "to": to}).encode()
        return await self.scene.ask(f"InboxTicket {encode(ticket)}", body, runs=RUNS)


@pytest.fixture
async def sealed(scene: Scene) -> Sealed:
    """Alice has tickets of one owner, of one who accepts nobody, and of next week; and there is one without sheets."""
    world = scene.world
    keys = (AppKey(bytes([number]) * 32) for number in (40, 41, 42))
    bob, carol, dora = (Caller(world.session, world.inbox_url, key, scene.clock) for key in keys)
    for owner, accept in ((bob, "anyone"), (carol, "nobody"), (dora, "anyone")):
        await owner.claim({"accept": accept})
    await give_tickets(bob, scene.alice)
    await give_tickets(carol, scene.alice)
    await give_tickets(bob, scene.alice, sheet=sheet_at(bob, weeks=1))
    of_bob, address = Contact(scene.alice, bob), bob.key.address
    refused = {
        "no inbox": (of_bob.ticket(), AppKey(bytes([43]) * 32).address),
        "no sheet": (of_bob.ticket(), dora.key.address),
        "on no sheet": (bytes(32), address),
        "another inbox": (of_bob.ticket(), carol.key.address),
        "next week": (of_bob.ticket(0, sheet_at(bob, weeks=1)), address),
        "nobody": (Contact(scene.alice, carol).ticket(), carol.key.address),
        "another app": (bytes(32), scene.keys["another app"].address),
        "blocked, and no memory": (bytes(32), scene.keys["blocked, and no memory holds such long lists"].address),
    }
    return Sealed(scene, refused, (of_bob.ticket(), address))


async def test_every_ticket_that_is_refused_takes_the_same_steps(sealed: Sealed) -> None:
    """And gets the same answer, which is that to a token that is refused; whether anything is remembered or not."""
    answers, steps = dict[str, object](), dict[str, object]()
    for turn in ("first", "again"):
        for reason, shown in sealed.refused.items():
            answers[f"{reason}, {turn}"], steps[f"{reason}, {turn}"] = await sealed.deliver(shown)
        await sealed.deliver(sealed.taken)  # from here on Bob's sheet is remembered
    same(steps)
    (taken, *_) = steps.values()
    assert isinstance(taken, Counter)
    assert (taken["signature checks"], taken["look-ups"], taken["SQL execute"] >= 2) == (0, 0, True)
    answers["a token"] = (await sealed.scene.deliver(sealed.scene.keys["no inbox"].public, "key"))[0]
    same(answers)
    answer, needed = await sealed.deliver(sealed.taken)
    assert answer.status == 200  # the control
    assert needed != taken


def test_profiling_does_not_outlive_its_test() -> None:
    assert sys.getprofile() is None
