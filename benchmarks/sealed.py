"""What a sealed delivery costs beside a signed one."""

import os
import statistics
from pathlib import Path
from typing import Any, Final

from benchmarks.builds import this_build
from benchmarks.delivering import Delivering
from benchmarks.ratios import CONNECTIONS, delivered
from benchmarks.servers import UNLIMITED, Server, deployment, inbox_server
from benchmarks.settling import send_all, settle, unread
from benchmarks.signing import Person, people, sealed_delivery, sheet, write_requests
from benchmarks.turns import NOW, Pace, compared, in_turn
from benchmarks.wrk import Run

SEALED: Final = "sealed"
_OWNERS: Final = 128
_TICKETS: Final = 1024  # the smallest sheet; all of it is used in the longest run


def measure_sealed(folder: Path, pace: Pace) -> dict[str, Any]:
    """Deliveries with a ticket and with a token, each kind to a server of its own."""
    with (
        delivered(folder / NOW, this_build(), UNLIMITED) as signed,
        inbox_server(deployment(folder / SEALED)) as server,
    ):
        sealed = _Sealed(server, folder / SEALED / "requests")
        runs = in_turn({NOW: signed.run, SEALED: sealed.run}, pace)
    rounds = [one.processor_us / other.processor_us for one, other in zip(runs[SEALED], runs[NOW], strict=True)]
    return compared(runs) | {"processor_ratio": statistics.median(rounds), "processor_ratio_rounds": sorted(rounds)}


class _Sealed:
    """A server whose owners gave tickets just before they are used: each run has owners and tickets of its own."""

    def __init__(self, server: Server, path: Path) -> None:
        self._server, self._path = server, path
        self._owners: list[Person] = []
        self._first = 0
        self._delivering = Delivering(
            server, lambda: unread(server, self._owners) - self._first, connections=CONNECTIONS
        )

    def _count(self) -> int:
        return unread(self._server, self._owners) - self._first

    def run(self, seconds: int) -> Run:
        """Raises `WrongAnswers`."""
        owners = people(_OWNERS)
        settle(self._server, owners)
        tickets = [[os.urandom(32) for _ in range(_TICKETS)] for _ in owners]
        url = self._server.url
        send_all(self._server, [sheet(owner, url, each) for owner, each in zip(owners, tickets, strict=True)])
        first = [sealed_delivery(each[0], owner, url) for owner, each in zip(owners, tickets, strict=True)]
        send_all(self._server, first)  # the others' owners have had deliveries too
        self._owners += owners
        self._first += len(first)
        requests = (
            sealed_delivery(each[number], owner, url)
            for number in range(1, _TICKETS)
            for owner, each in zip(owners, tickets, strict=True)
        )
        return self._delivering.run(write_requests(self._path, requests, _OWNERS * (_TICKETS - 1)), seconds=seconds)
