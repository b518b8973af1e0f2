"""Where a delivery's time goes: the processor time of each step, taken alone, in the order of the delivery.

    python -m benchmarks.ladder [--base COMMIT]

In the running server every step costs more than here, because the steps before it have used the caches; what is left
over between the sum and the whole are that, HTTP, and the changes between threads. The steps are measured in a process
of their own for each build; one that a build does not have is left out.
"""

import argparse
import asyncio
import hashlib
import importlib
import json
import secrets
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any, Final

from uvloop import new_event_loop

from benchmarks.builds import ROOT, Build, base_build, this_build
from benchmarks.pinning import pinned, server_core
from benchmarks.report import as_text
from benchmarks.signing import APP, deliveries, people
from benchmarks.turns import BASE, NOW

_URL: Final = "http://127.0.0.1:8710"
_COUNT: Final = 20_000
_AT_ONCE: Final = 64
_ANSWER: Final = "answer: JSON and headers"
_LIFE_SECONDS: Final = 30 * 86_400

Request = tuple[str, bytes]
Steps = dict[str, float]


def measure_ladder(base: Build | None, count: int) -> dict[str, Steps]:
    """Microseconds by step, for each build."""
    builds = {NOW: this_build()} | ({BASE: base} if base else {})
    return {name: _measure(build, count) for name, build in builds.items()}


def _measure(build: Build, count: int) -> Steps:
    command = pinned(build.command("benchmarks.ladder", "--steps", str(count)), server_core())
    said = subprocess.run(command, env=build.environment(ROOT), stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    steps: Steps = json.loads(said.stdout)
    return steps


def requests(count: int) -> list[Request]:
    """Authorization and body of as many deliveries, from 64 senders to 64 inboxes."""
    found = []
    for raw in islice(deliveries(people(64), people(64), _URL), count):
        head, _, body = raw.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        found.append((lines["Authorization"], body))
    return found


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


def parsing(ladder: Ladder, each: Sequence[Request]) -> None:
    """What is read of a request, and its signature."""
    now = part("clock:system_clock")()
    parse, read = part("protocol.requests:parse_delivery"), part("protocol.tokens:read_deliver_token")
    ladder.step("body: JSON, members, characters", lambda _, body: parse(body))
    ladder.step("token: base64url, JSON, claims, times", lambda a, body: read(a, body, audience=_URL, now=now))
    tokens = {authorization: read(authorization, body, audience=_URL, now=now) for authorization, body in each}
    ladder.step("signature", lambda a, _: tokens[a].check_signature(tokens[a].sender))


def hashing(ladder: Ladder, each: Sequence[Request]) -> None:
    """The keyed hashes of sender and recipient, who write again and again."""
    hashes, address = part("identity.keyed_hash:KeyedHash")(bytes(32)), part("identity.addresses:app_address")
    known = [address(person.key.public_key.format()) for person in people(64)]
    turn = {authorization: known[number % len(known)] for number, (authorization, _) in enumerate(each)}

    def hash_all(authorization: str, _: bytes) -> None:
        of = turn[authorization]
        inbox = hashes.inbox(of)
        hashes.app(inbox, APP)
        hashes.inbox(of)
        hashes.listed(inbox, of)

    ladder.step("keyed hashes: inbox, app, list, own", hash_all)


def counting(ladder: Ladder, each: Sequence[Request]) -> None:
    """The hourly limits, with their defaults."""
    rates = part("inboxes.rate_limits:RateLimits")(part("clock:system_clock"), secrets.token_bytes)
    inboxes = [secrets.token_bytes(16) for _ in range(64)]
    senders = [secrets.token_bytes(34) for _ in range(len(each))]
    turn = {authorization: number for number, (authorization, _) in enumerate(each)}

    def count(authorization: str, _: bytes) -> None:
        inbox = inboxes[turn[authorization] % 64]
        rates.check(("sender", inbox + senders[turn[authorization]], 600), ("inbox", inbox, 6_000))

    ladder.step("rate limits: sender, inbox", count)


def answering(ladder: Ladder, _: Sequence[Request]) -> None:
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


def climb(count: int) -> Steps:
    """All steps that this build has."""
    each = requests(count)
    ladder = Ladder(each)
    for steps in (parsing, hashing, counting, answering):
        with suppress(LookupError):
            steps(ladder, each)
    with suppress(LookupError), asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(storing(ladder, count))
    return ladder.steps


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ladder", description="What does each step cost?")
    parser.add_argument("--base", metavar="COMMIT", help="measure that commit too")
    parser.add_argument("--steps", metavar="COUNT", type=int, help="measure the build that is found, and print JSON")
    options = parser.parse_args()
    if options.steps:
        print(json.dumps(climb(options.steps)))
        return
    with tempfile.TemporaryDirectory() as folder:
        base = base_build(options.base, Path(folder)) if options.base else None
        print(as_text({"ladder": measure_ladder(base, _COUNT)}))


if __name__ == "__main__":
    main()
