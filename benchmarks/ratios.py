"""What a delivery and a query cost beside a bare handler: both servers run side by side and are measured in turn."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from benchmarks.delivering import Delivering
from benchmarks.filling import fill, stored
from benchmarks.servers import SECRET, Server, answer_of, ask_json, bare_server, deployment, inbox_server
from benchmarks.signing import Requests, deliveries, people, query, write_requests
from benchmarks.wrk import Run, WrongAnswers, run_wrk

_CONNECTIONS: Final = 64
_OWNERS: Final = 64
_SENDERS: Final = 64
_PAGE_ENTRIES: Final = 100
_FIRST_COUNT: Final = 20_000
_MARGIN: Final = 1.5  # over what the last run used; a run that uses up its requests is repeated with more


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a run is, and how many there are of each server."""

    seconds: int
    rounds: int


def measure_deliver(folder: Path, pace: Pace) -> dict[str, Any]:
    """All-different deliveries from many senders to many inboxes. The bare server gets the same bytes."""
    senders, owners = people(_SENDERS), people(_OWNERS)
    deployed = deployment(folder / "deliver")
    fill(deployed.data, SECRET, owners, entries=0)
    with inbox_server(deployed) as server, bare_server(folder) as bare:
        delivering = Delivering(server, connections=_CONNECTIONS)
        endless, path = deliveries(senders, owners, server.url), folder / "requests"
        run, requests = _deliver_new(delivering, endless, path, _FIRST_COUNT, seconds=1)  # warms up
        _rate(bare, requests, seconds=1)
        ours, base = [], []
        for _ in range(pace.rounds):
            count = int(_MARGIN * pace.seconds * run.per_second)
            run, requests = _deliver_new(delivering, endless, path, count, seconds=pace.seconds)
            ours.append(run.per_second)
            base.append(_rate(bare, requests, seconds=pace.seconds))
        return compared(ours, base) | {"stored": stored(server.data)}


def _deliver_new(
    delivering: Delivering, endless: Iterator[bytes], path: Path, count: int, *, seconds: int
) -> tuple[Run, Requests]:
    """One run of deliveries that are signed now, with more of them if they run out. Raises `WrongAnswers`."""
    while True:
        requests = write_requests(path, endless, count)
        run = delivering.run(requests, seconds=seconds)
        if not run.ended:
            return run, requests
        count *= 2


def measure_list_empty(folder: Path, pace: Pace) -> dict[str, Any]:
    """Queries after a cursor that find nothing new; each owner has one token."""
    return _measure_list(folder / "list_empty", pace, entries=1, after_cursor=True)


def measure_list_100(folder: Path, pace: Pace) -> dict[str, Any]:
    """Queries for all that is unread, answered with a page of 100."""
    return _measure_list(folder / "list_100", pace, entries=_PAGE_ENTRIES, after_cursor=False)


def _measure_list(folder: Path, pace: Pace, *, entries: int, after_cursor: bool) -> dict[str, Any]:
    """Both servers get the same requests; the bare one answers all of them as ours answers the first one."""
    owners = people(_OWNERS)
    deployed = deployment(folder)
    fill(deployed.data, SECRET, owners, entries=entries)
    with inbox_server(deployed) as server:
        asking = [query(owner, server.url) for owner in owners]
        if after_cursor:
            cursors = [ask_json(server, request)["cursor"] for request in asking]
            asking = [query(owner, server.url, f"?after={at}") for owner, at in zip(owners, cursors, strict=True)]
        found = len(ask_json(server, asking[0])["messages"])
        if found != (0 if after_cursor else entries):
            raise WrongAnswers(f"a page has {found} entries")
        requests, answer = (
            write_requests(folder / "requests", cycle(asking), 100 * _OWNERS),
            answer_of(server, asking[0]),
        )
        with bare_server(folder, answer) as bare:
            if answer_of(bare, asking[0]) != answer:
                raise WrongAnswers("the bare server does not answer the same")
            ours, base = [], []
            for seconds in [1] + [pace.seconds] * pace.rounds:
                ours.append(_rate(server, requests, seconds=seconds, body_bytes=len(answer["body"])))
                base.append(_rate(bare, requests, seconds=seconds))
            return compared(ours[1:], base[1:])  # without those that warmed up


def _rate(of: Server, requests: Requests, *, seconds: int, body_bytes: int = 0) -> float:
    """Requests a second, the same ones again and again. Raises `WrongAnswers` unless answers have `body_bytes`."""
    run = run_wrk(of.url, requests, connections=_CONNECTIONS, seconds=seconds, again=True)
    if run.bytes_each < body_bytes:
        raise WrongAnswers(f"answers have {run.bytes_each:.0f} bytes, not {body_bytes} and headers")
    return run.per_second


def compared(ours: list[float], base: list[float]) -> dict[str, Any]:
    """Medians of requests a second, and their ratio; `spread` is of the ratios of runs that were side by side."""
    pairs = [each / beside for each, beside in zip(ours, base, strict=True)]
    return {
        "ratio": statistics.median(ours) / statistics.median(base),
        "spread": [min(pairs), max(pairs)],
        "per_second": statistics.median(ours),
        "bare_per_second": statistics.median(base),
        "runs": [round(rate) for rate in ours],
        "bare_runs": [round(rate) for rate in base],
    }
