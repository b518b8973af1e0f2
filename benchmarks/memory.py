"""What the server keeps in memory: idle, for each idle connection, and after very many different senders.

Resident set sizes, as the kernel counts them (`VmRSS`).
"""

import contextlib
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.builds import Build, this_build
from benchmarks.delivering import Delivering
from benchmarks.filling import fill, stored
from benchmarks.servers import SECRET, UNLIMITED, Server, ask, deployment, inbox_server
from benchmarks.signing import Person, capabilities, delivery, people, write_requests
from benchmarks.turns import BASE, Pace

_IDLE_CONNECTIONS: Final = 1_000
_FIRST_CONNECTIONS: Final = 100  # what the first ones cost is the server's, not theirs
_CONNECTIONS: Final = 64
_OWNERS: Final = 64
_SETTLE_SECONDS: Final = 1.0
_STEPS: Final = 4
_MANY: Final = 1_000_000_000


def measure_memory(folder: Path, pace: Pace, senders: int, base: Build | None) -> dict[str, Any]:
    found = _idle(folder / "idle", this_build()) | _after_senders(folder / "senders", pace, senders)
    return found | ({BASE: _idle(folder / "base", base)} if base else {})


def _idle(folder: Path, build: Build) -> dict[str, float]:
    with inbox_server(deployment(folder), build) as server, contextlib.ExitStack() as stack:
        ask(server, capabilities(server.url))
        idle = resident_kb(server)
        for _ in range(_FIRST_CONNECTIONS):
            stack.enter_context(_idle_connection(server))
        before = resident_kb(server)
        for _ in range(_IDLE_CONNECTIONS):
            stack.enter_context(_idle_connection(server))
        each = (resident_kb(server) - before) / _IDLE_CONNECTIONS
    return {"idle_mb": idle / 1024, "per_connection_kb": each}


@contextlib.contextmanager
def _idle_connection(server: Server) -> Iterator[None]:
    """A connection that had one answer and is kept."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(capabilities(server.url))
        answer = connection.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        yield


def _after_senders(folder: Path, pace: Pace, senders: int) -> dict[str, Any]:
    """Deliveries that each have another sender. Limits by the hour are on, because they count by sender."""
    owners = people(_OWNERS)
    deployed = deployment(folder, dict.fromkeys(UNLIMITED, _MANY))
    fill(deployed.data, SECRET, owners, entries=0)
    megabytes = []
    with inbox_server(deployed) as server:
        delivering = Delivering(server, lambda: stored(deployed.data), connections=_CONNECTIONS)
        for _ in range(_STEPS):
            _deliver(delivering, folder / "requests", owners, senders // _STEPS, seconds=pace.seconds)
            megabytes.append(resident_kb(server) / 1024)
    return {
        "senders": stored(deployed.data),
        f"after_{senders // 1000}k_senders_mb": megabytes[-1],
        "second_half_growth_mb": megabytes[-1] - megabytes[_STEPS // 2 - 1],
        "by_senders_mb": megabytes,
    }


def _deliver(delivering: Delivering, path: Path, owners: Sequence[Person], count: int, *, seconds: int) -> None:
    """As many deliveries, each by a sender never heard of."""
    url = delivering.server.url
    signed = (delivery(sender, owners[number % len(owners)], url) for number, sender in enumerate(people(count)))
    requests, sent, ended = write_requests(path, signed, count), 0, False
    while not ended:
        run = delivering.run(requests, seconds=seconds, skip=sent)
        sent, ended = sent + run.sent, run.ended


def resident_kb(server: Server) -> int:
    """Once the server has nothing to do any more."""
    time.sleep(_SETTLE_SECONDS)
    return _status_kb(server, "VmRSS")


def peak_kb(server: Server) -> int:
    """The most that ever was resident."""
    return _status_kb(server, "VmHWM")


def _status_kb(server: Server, name: str) -> int:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{name}:"))
