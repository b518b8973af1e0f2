"""Those who wait: what five thousand open streams cost, and how soon a delivery reaches a waiting reader."""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.filling import fill
from benchmarks.memory import resident_kb
from benchmarks.servers import SECRET, Server, deployment, inbox_server
from benchmarks.signing import Person, delivery, events, people
from benchmarks.wire import p50, p99, wires
from inbox_server.hardening import allow_many_files

_WARMING: Final = 20
_PAUSE_SECONDS: Final = 0.005  # between deliveries, so that each finds an idle server


def measure_live(folder: Path, streams: int, deliveries: int) -> dict[str, Any]:
    allow_many_files()
    owners, deployed = people(streams), deployment(folder)
    fill(deployed.data, SECRET, owners, entries=0)
    with inbox_server(deployed) as server:
        return asyncio.run(_measure(server, owners, deliveries))


async def _measure(server: Server, owners: list[Person], deliveries: int) -> dict[str, Any]:
    """Each owner has one stream open; the deliveries go to them in turn."""
    async with contextlib.AsyncExitStack() as stack:
        waiting = []
        for owner in owners:  # each asks as soon as it is connected: who says nothing for long is cut off
            (wire,) = await stack.enter_async_context(wires(server, 1))
            await wire.follow(events(owner, server.url))
            waiting.append(wire)
        megabytes = resident_kb(server) / 1024
        (sending,) = await stack.enter_async_context(wires(server, 1))
        (sender,) = people(1)
        reached, answered = [], []
        for number in range(_WARMING + deliveries):
            request = delivery(sender, owners[number % len(owners)], server.url)
            await asyncio.sleep(_PAUSE_SECONDS)
            start = time.perf_counter()
            hearing = asyncio.create_task(waiting[number % len(owners)].event())
            await sending.ask(request)
            answered.append(1e3 * (time.perf_counter() - start))
            assert b'"messages":[{' in await hearing
            reached.append(1e3 * (time.perf_counter() - start))
    return {
        "streams": len(owners),
        "streams_mb": megabytes,
        "reached_p50_ms": p50(reached[_WARMING:]),
        "reached_p99_ms": p99(reached[_WARMING:]),
        "answered_p50_ms": p50(answered[_WARMING:]),
        "answered_p99_ms": p99(answered[_WARMING:]),
    }
