"""A store on PostgreSQL beside the embedded one: deliveries and pages, in turn, on the same machine."""

import contextlib
from collections.abc import Mapping
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from benchmarks.builds import this_build
from benchmarks.ratios import PAGE_ENTRIES, delivered, queries, repeat
from benchmarks.servers import UNLIMITED, deployment, inbox_server
from benchmarks.signing import write_requests
from benchmarks.turns import Pace, compared, cost, in_turn
from tests.support import postgres

_EMBEDDED, _POSTGRES = "sqlite", "postgres"
_READERS: Final = 64


def measure_postgres(folder: Path, pace: Pace) -> dict[str, Any]:
    """What the server's processes spend on a delivery and on a page of 100, and the rates of both stores."""
    return {
        name: part(folder / name, pace, {_EMBEDDED: {}, _POSTGRES: _settings(folder / f"database-{name}")})
        for name, part in (("deliveries", _deliveries), ("pages", _pages))
    }


def _settings(folder: Path) -> dict[str, Any]:
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
