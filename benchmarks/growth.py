"""Whether a delivery or a query costs more when much is stored: latencies on a small and on a large database, in turn.

An inbox has 100 entries in both, so that a page is as long; the large one has more inboxes. The small one is copied
anew for each round, or deliveries would make it grow.
"""

import itertools
import random
import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.delivering import Delivering
from benchmarks.filling import fill, stored
from benchmarks.servers import SECRET, Server, deployment, inbox_server
from benchmarks.signing import Person, deliveries, people, query, write_requests
from benchmarks.turns import Pace
from benchmarks.wrk import Run, run_wrk
from tests.support.serving import Deployment

ENTRIES: Final = 100
_SMALL_INBOXES: Final = 100
_CONNECTIONS: Final = 8  # a modest load
_SENDERS: Final = 64
_DELIVERIES: Final = 4_000
_WARMING: Final = 500
_TOKENS: Final = 10_000  # as many different ones for both sizes, so that a cache of tokens helps neither more


@dataclass(frozen=True, slots=True)
class Filled:
    """A server's folder with a database that was filled, and whose inboxes are in it."""

    deployed: Deployment
    owners: list[Person]


def filled(folder: Path, inboxes: int) -> Filled:
    owners, deployed = people(inboxes), deployment(folder)
    fill(deployed.data, SECRET, owners, entries=ENTRIES)
    return Filled(deployed, owners)


def measure_growth(folder: Path, pace: Pace, *larger: Filled) -> dict[str, Any]:
    """Medians of p50 and p99 in milliseconds, by how much is stored, and ratios of the first larger to the small."""
    small = filled(folder / "small", _SMALL_INBOXES)
    kept = folder / "small-kept"
    shutil.copytree(small.deployed.data, kept)
    lists: list[list[Run]] = [[] for _ in (small, *larger)]
    delivers: list[list[Run]] = [[] for _ in (small, *larger)]
    for _ in range(pace.rounds):
        shutil.rmtree(small.deployed.data)
        shutil.copytree(kept, small.deployed.data)
        for number, database in enumerate((small, *larger)):
            with inbox_server(database.deployed) as server:
                lists[number].append(list_pages(server, folder / "requests", database, pace))
                delivers[number].append(
                    deliver(server, folder / "requests", database, pace, partial(stored, server.data))
                )

    found: dict[str, Any] = {}
    for (what, runs), percentile in itertools.product((("deliver", delivers), ("list", lists)), ("p50", "p99")):
        taken = [statistics.median(getattr(run, f"{percentile}_ms") for run in of) for of in runs]
        found[f"{what}_{percentile}"] = taken[1] / taken[0]
        found[f"{what}_{percentile}_ms"] = {
            f"{ENTRIES * len(database.owners):,}": ms for database, ms in zip((small, *larger), taken, strict=True)
        }
    return found


def list_pages(server: Server, path: Path, database: Filled, pace: Pace) -> Run:
    """Pages of 100, of inboxes in any order; the first second warms up."""
    count = max(_TOKENS, len(database.owners))
    asking = [query(database.owners[n % len(database.owners)], server.url, variant=n) for n in range(count)]
    requests = write_requests(path, iter(random.sample(asking, count)), count)
    run_wrk(server, requests, connections=_CONNECTIONS, seconds=1, again=True)
    return run_wrk(server, requests, connections=_CONNECTIONS, seconds=pace.seconds, again=True)


def deliver(server: Server, path: Path, database: Filled, pace: Pace, count: Callable[[], int]) -> Run:
    """A number of deliveries to inboxes in any order, the same for both sizes; the first ones warm up.

    `count` tells how many entries are stored.
    """
    delivering = Delivering(server, count, connections=_CONNECTIONS)
    endless = deliveries(people(_SENDERS), random.sample(database.owners, len(database.owners)), server.url)

    def run(count: int, *, seconds: int) -> Run:
        return delivering.run(write_requests(path, endless, count), seconds=seconds)

    run(_WARMING, seconds=1)
    return run(_DELIVERIES, seconds=pace.seconds)
