"""Two server processes beside one, on one PostgreSQL: `python -m benchmarks.processes`, on two cores or more.

The servers, PostgreSQL and the load may use all cores. Servers take turns, and the ratio is the median of the ratios of
single rounds. On a machine that is busy with something else, the rates say little. Then see the processor time: two
processes can do at most twice what one does, divided by how much dearer a delivery becomes when there are two.
"""

import contextlib
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.ratios import Delivered
from benchmarks.servers import UNLIMITED, deployment, inbox_server
from benchmarks.turns import Pace, cost, in_turn
from benchmarks.wrk import wrk_version
from tests.support.postgres import config_of, drop_schemas

_PACE: Final = Pace(seconds=4, rounds=5)
_UP: Final = {1: "listens at", 2: "2 processes are up"}
_TARGET: Final = 1.6


def main() -> None:
    wrk_version()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        stack.callback(drop_schemas)
        sides = {
            processes: stack.enter_context(_delivered(Path(name) / str(processes), processes)) for processes in _UP
        }
        runs = in_turn({str(processes): each.run for processes, each in sides.items()}, _PACE)
    one, two = runs["1"], runs["2"]
    ratios = [after.per_second / before.per_second for before, after in zip(one, two, strict=True)]
    for name, of in runs.items():
        rate, used = (statistics.median(getattr(run, what) for run in of) for what in ("per_second", "processor_us"))
        print(f"| deliveries a second, server processes: {name} | {rate:.0f} | {used:.0f} us of processor time each |")
    ratio, at_most = statistics.median(ratios), 2 / cost(two, one)
    met = "met" if ratio >= _TARGET else "missed"
    rounds = f"rounds {min(ratios):.2f} to {max(ratios):.2f}"
    print(f"| two of one | {ratio:.2f} ({rounds}; target {_TARGET}: {met}) | at most {at_most:.2f} |")


@contextlib.contextmanager
def _delivered(folder: Path, processes: int) -> Iterator[Delivered]:
    store = {f"store.{name}": value for name, value in config_of(folder).items()}
    deployed = deployment(folder, UNLIMITED | store | {"server.processes": processes})
    with inbox_server(deployed, pin=False, until=_UP[processes]) as server:
        yield Delivered(server, folder / "requests")


if __name__ == "__main__":
    main()
