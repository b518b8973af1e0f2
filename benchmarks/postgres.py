"""A store on PostgreSQL beside the embedded one: deliveries and pages, in turn, on the same machine."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import Mapping
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

from benchmarks.builds import this_build
from benchmarks.growth_postgres import measure_growth
from benchmarks.ratios import PAGE_ENTRIES, delivered, queries, repeat
from benchmarks.servers import UNLIMITED, Server, deployment, inbox_server
from benchmarks.settling import settle
from benchmarks.signing import Person, deliveries, events, people, write_requests
from benchmarks.turns import Pace, compared, cost, in_turn
from benchmarks.wire import p50, p99, wires
from tests.support import postgres

_EMBEDDED, _POSTGRES = "sqlite", "postgres"
_READERS: Final = 64
_ACROSS: Final = 500  # deliveries


def measure_postgres(folder: Path, pace: Pace, *sizes: int) -> dict[str, Any]:
    """What the server's processes spend on a delivery and on a page of 100, and the rates of both stores.

    `sizes` are numbers of stored entries on which latencies are compared, the first one with each other.
    """
    found: dict[str, Any] = {
        name: part(folder / name, pace, {_EMBEDDED: {}, _POSTGRES: settings_for(folder / f"database-{name}")})
        for name, part in (("deliveries", _deliveries), ("pages", _pages))
    }
    return found | {"across": _across(folder / "across"), "growth": measure_growth(folder / "growth", pace, sizes)}


def settings_for(folder: Path) -> dict[str, Any]:
    """The keys of a configuration for a new database."""
    return {f"store.{key}": value for key, value in postgres.config_of(folder).items()}


def _deliveries(folder: Path, pace: Pace, stores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        sides = {
            name: stack.enter_context(delivered(folder / name, this_build(), {**UNLIMITED, **store})).run
            for name, store in stores.items()
        }
        runs = in_turn(sides, pace)
    return compared(runs) | {"cost": cost(runs[_POSTGRES], runs[_EMBEDDED])}


def _pages(folder: Path, pace: Pace, stores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        sides = {}
        for name, store in stores.items():
            settings = {**UNLIMITED, **store}
            server = stack.enter_context(inbox_server(deployment(folder / name, settings)))
            asking = queries(server, entries=PAGE_ENTRIES, after_cursor=False)
            requests = write_requests(folder / f"requests-{name}", cycle(asking), 100 * _READERS)
            sides[name] = partial(repeat, server, requests)
        runs = in_turn(sides, pace)
    return compared(runs) | {"cost": cost(runs[_POSTGRES], runs[_EMBEDDED])}


def _across(folder: Path) -> dict[str, Any]:
    """Milliseconds from a delivery to one server until an event stream of another has it, on one database.

    One delivery at a time; sending it and its commit are included.
    """
    database, owners = settings_for(folder / "database"), people(1)
    with contextlib.ExitStack() as stack:
        here = deployment(folder / "here", {**UNLIMITED, **database})
        first = stack.enter_context(inbox_server(here))
        url = {"server.public_url": first.url}
        there = deployment(folder / "there", {**UNLIMITED, **database, **url})
        there.data.mkdir(exist_ok=True)
        shutil.copy2(here.data / "day-keys", there.data / "day-keys")
        second = stack.enter_context(inbox_server(there))
        settle(first, owners)
        taken = asyncio.run(_follow(first, second, owners[0]))
    return {"p50_ms": p50(taken), "p99_ms": p99(taken)}


async def _follow(first: Server, second: Server, owner: Person) -> list[float]:
    requests, taken = islice(deliveries(people(8), [owner], first.url), _ACROSS), list[float]()
    async with wires(first, 1) as (sending,), wires(second, 1) as (following,):
        await following.follow(events(owner, first.url))
        for request in requests:
            event = asyncio.create_task(following.event())
            start = time.perf_counter()
            await sending.ask(request)
            await event
            taken.append((time.perf_counter() - start) * 1000)
    return taken[_ACROSS // 10 :]
