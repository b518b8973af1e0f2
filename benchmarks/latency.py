"""How long a delivery takes when 100 and when 1,000 of them come in a second, in this build and in an older one."""

import contextlib
import re
import socket
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, Final

from benchmarks.builds import Build, this_build
from benchmarks.load import Load, offered
from benchmarks.servers import Server, deployment, inbox_server
from benchmarks.settling import settle
from benchmarks.signing import Person, deliveries, people
from benchmarks.turns import BASE, NOW
from benchmarks.wire import p50, p99
from benchmarks.wrk import WrongAnswers

PER_SECOND: Final = (100, 1_000)
_CONNECTIONS: Final = 64
_OWNERS: Final = 64
_WARMING: Final = 200
_ROUNDS: Final = 2
_LENGTH: Final = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)


def measure_latency(folder: Path, seconds: int, base: Build | None) -> dict[str, Any]:
    """Medians and 99th percentiles in milliseconds, of so many seconds for each build and rate, in turn."""
    builds = {NOW: this_build()} | ({BASE: base} if base else {})
    with contextlib.ExitStack() as stack:
        ours: dict[str, tuple[Server, list[Person]]] = {}
        for name, build in builds.items():
            ours[name] = (stack.enter_context(inbox_server(deployment(folder / name), build)), people(_OWNERS))
            settle(*ours[name])
            _offer(*ours[name], _WARMING, 1_000)
        taken: dict[tuple[str, int], list[float]] = {(name, rate): [] for rate in PER_SECOND for name in ours}
        for _ in range(_ROUNDS):
            for (name, rate), so_far in taken.items():
                so_far += _offer(*ours[name], rate * seconds // _ROUNDS, rate).taken_ms
    found: dict[str, Any] = {name: {} for name in ours}
    for (name, rate), all_of in taken.items():
        found[name] |= {f"at_{rate}_p50_ms": p50(all_of), f"at_{rate}_p99_ms": p99(all_of)}
    return found


def _offer(server: Server, owners: list[Person], count: int, per_second: int) -> Load:
    requests = list(islice(deliveries(people(_OWNERS), owners, server.url), count))
    return offered(opening(server), requests, stored, at_once=_CONNECTIONS, per_second=per_second)


def opening(server: Server) -> Callable[[int], socket.socket]:
    """How the load generator opens a connection."""
    return lambda _: socket.create_connection(("127.0.0.1", server.port))


def stored(answer: bytes) -> bool:
    """Whether an answer to a delivery is whole. Raises `WrongAnswers` unless it is a 201."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        return False
    length = _LENGTH.search(head + b"\r\n")
    if not head.startswith(b"HTTP/1.1 201 ") or not length:
        raise WrongAnswers(answer.decode(errors="replace"))
    return len(body) >= int(length[1])
