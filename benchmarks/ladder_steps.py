"""The steps of a delivery in one build, measured in a process of their own: `python -m benchmarks.ladder_steps FILE`.

It imports nothing else of the benchmarks, because that needs modules which an older build does not have.
"""

import asyncio
import hashlib
import importlib
import json
import secrets
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from uvloop import new_event_loop

_AT_ONCE: Final = 64
_ANSWER: Final = "answer: JSON and headers"
_LIFE_SECONDS: Final = 30 * 86_400

Request = tuple[str, bytes]
Steps = dict[str, float]


@dataclass(frozen=True, slots=True)
class Given:
    """What the build gets to do."""

    url: str
    app: str
    keys: Sequence[str]
    """Of the people who send and receive, in hex."""
    each: Sequence[Request]
    """Authorization and body of every delivery."""

    @classmethod
    def read(cls, path: Path) -> "Given":
        given = json.loads(path.read_text())
        each = [(authorization, body.encode()) for authorization, body in given["each"]]
        return cls(given["url"], given["app"], given["keys"], each)

    def write(self, path: Path) -> None:
        each = [(authorization, body.decode()) for authorization, body in self.each]
        path.write_text(json.dumps({"url": self.url, "app": self.app, "keys": self.keys, "each": each}))


class Ladder:
    """The steps of one build, as far as it has them, in microseconds of processor time."""

    def __init__(self, each: Sequence[Request]) -> None:
        self.steps: Steps = {}
        self._each = each

    def step(self, what: str, do: Callable[[str, bytes], object]) -> None:
        """Do it for each request."""
        begun = time.process_time()
        for authorization, body in self._each:
            do(authorization, body)
        self.steps[what] = 1e6 * (time.process_time() - begun) / len(self._each)

    async def together(self, what: str, do: Callable[[int], Awaitable[object]]) -> None:
        """The same for a step that waits, 64 at a time. Processor time is that of all threads."""
        numbers = iter(range(len(self._each)))

        async def work() -> None:
            for number in numbers:
                await do(number)

        begun = time.process_time()
        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
        self.steps[what] = 1e6 * (time.process_time() - begun) / len(self._each)


def part(*places: str) -> Any:
    """The first of these, each `module:name`, that the build has. Raises LookupError."""
    for place in places:
        module, _, name = place.partition(":")
        with suppress(ImportError, AttributeError):
            return getattr(importlib.import_module(f"inbox_server.{module}"), name)
    raise LookupError(f"none of {', '.join(places)} is in this build")


def parsing(ladder: Ladder, given: Given) -> None:
    """What is read of a request, and its signature."""
    now = part("clock:system_clock")()
    parse, read = part("protocol.requests:parse_delivery"), part("protocol.tokens:read_deliver_token")
    ladder.step("body: JSON, members, characters", lambda _, body: parse(body))
    ladder.step("token: base64url, JSON, claims, times", lambda a, body: read(a, body, audience=given.url, now=now))
    tokens = {
        authorization: read(authorization, body, audience=given.url, now=now) for authorization, body in given.each
    }
    ladder.step("signature", lambda a, _: tokens[a].check_signature(tokens[a].sender))


def hashing(ladder: Ladder, given: Given) -> None:
    """The keyed hashes of sender and recipient, who write again and again."""
    hashes, address = part("identity.keyed_hash:KeyedHash")(bytes(32)), part("identity.addresses:app_address")
    known = [address(bytes.fromhex(key)) for key in given.keys]
    turn = {authorization: known[number % len(known)] for number, (authorization, _) in enumerate(given.each)}

    def hash_all(authorization: str, _: bytes) -> None:
        of = turn[authorization]
        inbox = hashes.inbox(of)
        hashes.app(inbox, given.app)
        hashes.inbox(of)
        hashes.listed(inbox, of)

    ladder.step("keyed hashes: inbox, app, list, own", hash_all)


def counting(ladder: Ladder, given: Given) -> None:
    """The hourly limits, with their defaults."""
    rates = part("inboxes.rate_limits:RateLimits")(part("clock:system_clock"), secrets.token_bytes)
    inboxes = [secrets.token_bytes(16) for _ in range(64)]
    senders = [secrets.token_bytes(34) for _ in range(len(given.each))]
    turn = {authorization: number for number, (authorization, _) in enumerate(given.each)}

    def count(authorization: str, _: bytes) -> None:
        inbox = inboxes[turn[authorization] % 64]
        rates.check(("sender", inbox + senders[turn[authorization]], 600), ("inbox", inbox, 6_000))

    ladder.step("rate limits: sender, inbox", count)


def answering(ladder: Ladder, _: Given) -> None:
    """The answer, as bytes or as an object; sending it is HTTP."""
    id = "x" * 43
    with suppress(LookupError):
        ready, document = part("http.answers:ready"), b'{"id":"%b","expires":%d}'
        ladder.step(_ANSWER, lambda _, __: ready(201, document % (id.encode(), 1_800_000_000)))
        return
    answer = part("http.answers:answer", "http.routes:answer")
    ladder.step(_ANSWER, lambda _, __: answer(201, {"id": id, "expires": 1_800_000_000}))


def admission() -> Any:
    """As far as the build knows of it."""
    kind = part("store.contract:Admission")
    known: dict[str, Any] = {"generation": secrets.token_bytes(8), "first_change": 1000, "max_inboxes": None}
    known |= {"default_retention": _LIFE_SECONDS, "invite": None}
    with suppress(LookupError):
        known["first_log"] = part("inbox_log:LogPoint")(1000, secrets.token_bytes(32))
    return kind(**{field.name: known[field.name] for field in fields(kind)})


async def storing(ladder: Ladder, count: int) -> None:
    """The two steps that ask the database."""
    open_store, quota = part("store.sqlite.opening:open_store"), part("store.contract:Quota")
    inboxes, sender = [secrets.token_bytes(16) for _ in range(64)], secrets.token_bytes(16)
    texts = [secrets.token_urlsafe(450) for _ in range(count)]
    now = part("clock:system_clock")()
    expires = part("clock:end_of_day")(now + _LIFE_SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        sizes = quota(10_000_000, 1 << 40, 90 * 86_400, 10_000_000)
        async with open_store(Path(folder), check_value=bytes(16), quota=sizes) as store:
            for inbox in inboxes:
                change = part("store.contract:SettingsChange")(
                    app=bytes(16), issued=now, request=bytes(16), accept="anyone"
                )
                await store.settle(inbox, change, admission=admission(), now=now)
            known = getattr(store, "known_policy", lambda *_: None)  # in memory, if the build remembers it

            async def policy(number: int) -> object:
                inbox = inboxes[number % len(inboxes)]
                return known(inbox, sender) or await store.policy(inbox, sender)

            await ladder.together("the owner's policy", policy)

            def deliver(number: int) -> Awaitable[object]:
                id = hashlib.sha256(texts[number].encode()).digest()
                kept: Awaitable[object] = store.deliver(
                    inboxes[number % 64], id, texts[number], expires=expires, now=now
                )
                return kept

            await ladder.together("stored and synced, 64 at a time", deliver)


def climb(given: Given) -> Steps:
    """All steps that this build has."""
    ladder = Ladder(given.each)
    for steps in (parsing, hashing, counting, answering):
        with suppress(LookupError):
            steps(ladder, given)
    with suppress(LookupError), asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(storing(ladder, len(given.each)))
    return ladder.steps


if __name__ == "__main__":
    print(json.dumps(climb(Given.read(Path(sys.argv[1])))))
