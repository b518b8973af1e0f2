"""Two server processes beside one, on one PostgreSQL: `python -m benchmarks.processes`, on two cores or more.

The servers, PostgreSQL and the load share all cores. On two cores, one process leaves nothing for a second one; so both
are measured again with a quota: each process gets a part of a core, and the rest is for PostgreSQL and the load.
Servers take turns, and a ratio is the median of the ratios of single rounds.
"""

import contextlib
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from benchmarks.processor import processes
from benchmarks.quota import can_set_quotas, quota
from benchmarks.ratios import Delivered
from benchmarks.servers import UNLIMITED, deployment, inbox_server
from benchmarks.turns import Pace, Runs, in_turn
from benchmarks.wrk import wrk_version
from tests.support.postgres import config_of, drop_schemas

_PACE: Final = Pace(seconds=4, rounds=5)
_UP: Final = {1: "listens at", 2: "2 processes are up"}
_TARGET: Final = 1.6
_CONNECTIONS: Final = 256  # so many that each of two processes still commits several deliveries at once
_PART: Final = 0.4
"""Of a core, for each server process. Two of them take less than half of two cores."""


def main() -> None:
    wrk_version()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        stack.callback(drop_schemas)
        sides = {count: stack.enter_context(_delivered(Path(name) / str(count), count)) for count in _UP}
        _tell("all cores are shared", _measured(sides))
        if can_set_quotas():
            for side in sides.values():
                for pid in _workers(side.server.pid):
                    stack.enter_context(quota(pid, _PART))
            _tell(f"each has {_PART} of a core", _measured(sides))
        else:
            print("only root can give each process a part of a core: not measured")


def _measured(sides: Mapping[int, Delivered]) -> Runs:
    return in_turn({str(count): each.run for count, each in sides.items()}, _PACE)


def _tell(how: str, runs: Runs) -> None:
    for name, of in runs.items():
        rate, used = (statistics.median(getattr(run, what) for run in of) for what in ("per_second", "processor_us"))
        print(f"| {how}; server processes: {name} | {rate:.0f} deliveries a second | {used:.0f} us of processor each |")
    ratios = [after.per_second / before.per_second for before, after in zip(runs["1"], runs["2"], strict=True)]
    ratio, rounds = statistics.median(ratios), f"rounds {min(ratios):.2f} to {max(ratios):.2f}"
    print(
        f"| {how}; two of one | {ratio:.2f} ({rounds}) | target {_TARGET}: {'met' if ratio >= _TARGET else 'missed'} |"
    )


def _workers(pid: int) -> list[int]:
    """The processes that serve: the children of a parent that watches over them, or else the one there is."""
    return list(processes(pid))[1:] or [pid]


@contextlib.contextmanager
def _delivered(folder: Path, count: int) -> Iterator[Delivered]:
    store = {f"store.{name}": value for name, value in config_of(folder).items()}
    deployed = deployment(folder, UNLIMITED | store | {"server.processes": count})
    with inbox_server(deployed, pin=False, until=_UP[count]) as server:
        yield Delivered(server, folder / "requests", connections=_CONNECTIONS)


if __name__ == "__main__":
    main()
