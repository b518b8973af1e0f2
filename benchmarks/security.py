"""What strangers can measure, and what a flood of them costs: printed, never asserted, because machines are noisy.

Refusals: the median time of each kind of `not_accepted`, taken in turn, as a ratio to that of an inbox that does not
exist. Flood: the median and the 99th percentile of honest deliveries beside deliveries under made-up names, as a ratio
to the same deliveries alone.
"""

import asyncio
import contextlib
import json
import secrets
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
from uvloop import new_event_loop

from inbox_server.client.appkey import AppKey
from inbox_server.client.inbox_api import Inbox
from inbox_server.client.tokens_and_cards import deliver_token
from inbox_server.clock import system_clock
from inbox_server.http.listening import listening
from inbox_server.server import open_app
from inbox_server.world.local_world import World, free_socket, running_world, world_config

APP = "https://chat.example"
ROUNDS = 300
HONEST = 200
FLOOD = 3000
PAUSE_SECONDS = 0.005  # between two of the honest ones
CROWD = 200  # more than may wait for the budget, so that most are put off


@dataclass(frozen=True, slots=True)
class Request:
    """A delivery, signed before the clock starts."""

    body: bytes
    token: str


def sign(key: AppKey, world: World, recipient: str, *, sender: str = "", app: str = APP) -> Request:
    body = json.dumps({"message_id": secrets.token_hex(400)}).encode()
    return Request(
        body,
        deliver_token(
            key,
            body,
            sender=sender or key.public,
            recipient=recipient,
            app=app,
            inbox=world.inbox_url,
            now=system_clock(),
        ),
    )


async def send(session: aiohttp.ClientSession, url: str, request: Request) -> tuple[int, float]:
    """The status, and the milliseconds it took."""
    start = time.perf_counter()
    headers = {"Authorization": f"Bearer {request.token}"}
    async with session.post(f"{url}/v1/messages", data=request.body, headers=headers) as response:
        await response.read()
    return response.status, 1000 * (time.perf_counter() - start)


async def refusals(world: World, session: aiohttp.ClientSession) -> None:
    """Every kind of not_accepted, in turn, on one connection."""
    stranger = AppKey(secrets.token_bytes(32))
    owners = {}
    for kind, settings in (
        ("blocked", {"accept": "anyone", "blocked": [stranger.address]}),
        ("not on the list", {"accept": "contacts"}),
        ("takes nothing", {"accept": "nobody"}),
        ("another app", {"accept": "anyone"}),
    ):
        owners[kind] = AppKey(secrets.token_bytes(32))
        await Inbox(session, world.inbox_url, APP, owners[kind], system_clock).claim(settings)
    recipients = {"no inbox": AppKey(secrets.token_bytes(32)), **owners}
    times: dict[str, list[float]] = {kind: [] for kind in recipients}
    for _ in range(ROUNDS):
        for kind, owner in recipients.items():
            app = "https://other.example" if kind == "another app" else APP
            status, milliseconds = await send(session, world.inbox_url, sign(stranger, world, owner.address, app=app))
            assert status == 403, (kind, status)
            times[kind].append(milliseconds)
    base = statistics.median(times["no inbox"])
    print(f"\nrefusals, medians of {ROUNDS} taken in turn, as a ratio to an inbox that does not exist ({base:.2f} ms)")
    for kind, taken in times.items():
        print(f"   {kind:16} {statistics.median(taken) / base:5.2f}")


async def flood(world: World, session: aiohttp.ClientSession) -> None:
    """Honest deliveries by a known name, alone and beside a flood under names that nobody has."""
    alice, bob = await world.settle("alice.id", APP), await world.settle("bob.id", APP)
    await Inbox(session, world.inbox_url, APP, bob.app_key, system_clock).claim({"names": ["bob.id"]})
    honest = [sign(alice.app_key, world, "bob.id", sender="alice.id") for _ in range(6 * HONEST + 1)]
    strangers = [AppKey(secrets.token_bytes(32)) for _ in range(100)]
    forged = [sign(strangers[i % 100], world, "bob.id", sender=f"{secrets.token_hex(4)}.id") for i in range(FLOOD)]
    await send(session, world.inbox_url, honest.pop())

    async def honest_times(requests: list[Request], *, beside: asyncio.Future[list[int]] | None = None) -> list[float]:
        """Of as many as are sent before what goes on `beside` is through."""
        taken = []
        for request in requests:
            if beside and beside.done():
                break
            await asyncio.sleep(PAUSE_SECONDS)
            status, milliseconds = await send(session, world.inbox_url, request)
            assert status == 201, status
            taken.append(milliseconds)
        return taken

    idle = await honest_times(honest[:HONEST])
    gate, asked = asyncio.Semaphore(CROWD), world.register.look_ups
    start = time.perf_counter()

    async def forge(request: Request) -> int:
        async with gate:
            return (await send(session, world.inbox_url, request))[0]

    flooding = asyncio.gather(*map(forge, forged))
    busy = await honest_times(honest[HONEST:], beside=flooding)
    statuses = await flooding
    seconds = time.perf_counter() - start
    asked = world.register.look_ups - asked
    print(f"\n{FLOOD} deliveries under made-up names in {seconds:.1f} s, {CROWD} at a time: {asked} look-ups went out,")
    print(f"   {statuses.count(503)} put off (503), {statuses.count(403)} refused;")
    print(f"   {len(busy)} honest ones meanwhile, all stored:")
    for what, ours, base in (
        ("median", statistics.median(busy), statistics.median(idle)),
        ("p99", statistics.quantiles(busy, n=100)[-1], statistics.quantiles(idle, n=100)[-1]),
    ):
        print(f"   {what:6} {ours:6.2f} ms, {ours / base:5.2f} times that of the idle server ({base:.2f} ms)")


@contextlib.asynccontextmanager
async def unlimited_world(folder: Path) -> AsyncIterator[World]:
    """A local world whose inbox server sets no rates, so that budgets alone are measured."""
    async with running_world(folder / "world", clock=system_clock) as world:
        sock = free_socket()
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        config = world_config(folder / "data", url, world.names_url, world.reader_origin)
        config = replace(config, sender_per_hour=0, inbox_per_hour=0, network_per_hour=0)
        async with open_app(config, secrets.token_bytes(32)) as (app, store), listening(app, sock):
            yield replace(world, inbox_url=url, store=store)


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with unlimited_world(Path(folder)) as world, _session() as session:
            await refusals(world, session)
            await flood(world, session)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())
