"""Where a delivery's time goes: the processor time of each step, taken alone, in the order of the delivery.

    python -m benchmarks.ladder

In the running server every step costs more than here, because the steps before it have used the caches; what is left
over between the sum and the whole are that, HTTP, and the changes between threads.
"""

import asyncio
import hashlib
import secrets
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from uvloop import new_event_loop

from benchmarks.signing import APP, deliveries, people
from inbox_server.clock import UnixTime, system_clock
from inbox_server.http.routes import answer
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.identity.keys import PublicKey
from inbox_server.protocol.requests import parse_delivery
from inbox_server.protocol.tokens import DeliverToken, digest_of, read_deliver_token
from inbox_server.store.contract import Admission, Quota, SettingsChange, Store
from inbox_server.store.sqlite.opening import open_store

_URL: Final = "http://127.0.0.1:8710"
_COUNT: Final = 20_000
_AT_ONCE: Final = 64
_QUOTA: Final = Quota(10_000_000, 1 << 40, 90 * 86_400, 10_000_000)
_LIFE_SECONDS: Final = 30 * 86_400

Request = tuple[str, bytes]


def requests() -> list[Request]:
    """Authorization and body of as many deliveries, from 64 senders to 64 inboxes."""
    found = []
    for raw in islice(deliveries(people(64), people(64), _URL), _COUNT):
        head, _, body = raw.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        found.append((lines["Authorization"], body))
    return found


def sender_of(token: DeliverToken) -> PublicKey:
    """Of a token whose sender goes by a key, as all here do."""
    assert isinstance(token.sender, PublicKey)
    return token.sender


def tell(what: str, seconds: float) -> None:
    print(f"{what:58} {1e6 * seconds / _COUNT:7.1f} µs")


def step(what: str, do: Callable[[str, bytes], object], each: Sequence[Request]) -> None:
    """Do it for each request, and tell the processor time of one."""
    begun = time.process_time()
    for authorization, body in each:
        do(authorization, body)
    tell(what, time.process_time() - begun)


async def together(what: str, do: Callable[[int], Awaitable[object]]) -> None:
    """The same for a step that waits, 64 at a time. Processor time is that of all threads."""
    numbers = iter(range(_COUNT))

    async def work() -> None:
        for number in numbers:
            await do(number)

    begun, start = time.process_time(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
    tell(what, time.process_time() - begun)
    tell("   and on the clock", time.perf_counter() - start)


async def in_the_store(store: Store) -> None:
    """The two steps that ask the database."""
    inboxes, sender = [secrets.token_bytes(16) for _ in range(64)], secrets.token_bytes(16)
    texts = [secrets.token_urlsafe(450) for _ in range(_COUNT)]
    now, expires = system_clock(), UnixTime(system_clock() + _LIFE_SECONDS)
    for inbox in inboxes:
        change = SettingsChange(app=bytes(16), issued=now, request=bytes(16), accept="anyone")
        admission = Admission(secrets.token_bytes(8), 1000, _LIFE_SECONDS, None, None)
        await store.settle(inbox, change, admission=admission, now=now)
    await together(
        "the owner's policy (one read in a group)", lambda number: store.policy(inboxes[number % 64], sender)
    )

    def deliver(number: int) -> Awaitable[object]:
        id = hashlib.sha256(texts[number].encode()).digest()
        return store.deliver(inboxes[number % 64], id, texts[number], expires=expires, now=now)

    await together("stored and synced (in a group)", deliver)


async def main() -> None:
    each, hashes, now = requests(), KeyedHash(bytes(32)), system_clock()
    tokens = {
        authorization: read_deliver_token(authorization, body, audience=_URL, now=now) for authorization, body in each
    }

    def hash_all(authorization: str, _: bytes) -> None:
        address = sender_of(tokens[authorization]).address
        inbox = hashes.inbox(address)
        hashes.app(inbox, APP)
        hashes.inbox(address)
        hashes.listed(inbox, address)

    step("body: JSON, members, characters", lambda _, body: parse_delivery(body), each)
    step(
        "token: base64url, JSON, claims, times",
        lambda a, body: read_deliver_token(a, body, audience=_URL, now=now),
        each,
    )
    step("   of it the digest of the body", lambda _, body: digest_of(body), each)
    step("signature", lambda a, _: tokens[a].check_signature(sender_of(tokens[a])), each)
    step("keyed hashes: inbox, app, list, own", hash_all, each)
    step("answer: JSON and headers", lambda _, __: answer(201, {"id": "x" * 43, "expires": 1_800_000_000}), each)
    with tempfile.TemporaryDirectory() as folder:
        async with open_store(Path(folder), check_value=bytes(16), quota=_QUOTA) as store:
            await in_the_store(store)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())
