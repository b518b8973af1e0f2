"""How fast the server is: ratios to a bare handler on the same machine in the same run, beside the targets.

`python -m benchmarks.speed` prints a table and writes `benchmarks/results/<time>.md` and `.json`. Nothing is asserted
about speed, because machines are noisy; but a run whose answers or stored entries are wrong ends with an error.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

from benchmarks import report
from benchmarks.builds import Build, NoSuchBuild, base_build
from benchmarks.busy import measure_busy
from benchmarks.fair import measure_fair
from benchmarks.growth import ENTRIES, Filled, filled, measure_growth
from benchmarks.ladder import measure_ladder
from benchmarks.latency import measure_latency
from benchmarks.live import measure_live
from benchmarks.machine import versions
from benchmarks.memory import measure_memory
from benchmarks.pinning import generator_core, server_core
from benchmarks.postgres import measure_postgres
from benchmarks.ratios import measure_deliver, measure_list_100, measure_list_empty
from benchmarks.sealed import measure_sealed
from benchmarks.startup import measure_start
from benchmarks.trust import measure_trust
from benchmarks.turns import Pace
from benchmarks.wrk import wrk_version

_RESULTS: Final = Path(__file__).with_name("results")
_LARGE: Final = 5_000_000
_SIZES: Final = {  # in the quick form, and else
    "seconds": (1, 4),
    "rounds": (1, 5),
    "stored": (50_000, 1_000_000),
    "senders": (5_000, 100_000),
    "streams": (100, 5_000),
    "pages": (20, 400),
    "unread": (5_000, 100_000),
    "offered": (2, 15),  # seconds
    "steps": (1_000, 20_000),
}


@dataclass(frozen=True)
class Plan:
    """One run of the program: where it may write, how long it measures, how much is stored and sent, beside what."""

    folder: Path
    pace: Pace
    base: Build | None
    options: argparse.Namespace

    @cached_property
    def large(self) -> Filled:
        """The large database, filled when it is first needed."""
        return self._filled("large", self.options.stored)

    @cached_property
    def larger(self) -> list[Filled]:
        """The larger databases that growth is measured on."""
        return [self.large] + ([self._filled("huge", _LARGE)] if self.options.large else [])

    @property
    def postgres_sizes(self) -> tuple[int, int]:
        """How many entries are stored in the smaller and the larger database of PostgreSQL."""
        return self.options.stored // 10, 10_000_000 if self.options.large else self.options.stored

    def _filled(self, name: str, entries: int) -> Filled:
        started = time.monotonic()
        database = filled(self.folder / name, entries // ENTRIES)
        print(f"   {entries:,} entries were put in, in {time.monotonic() - started:.0f} s", flush=True)
        return database


PARTS: Final[dict[str, Callable[[Plan, Path], dict[str, Any]]]] = {
    "deliver": lambda plan, folder: measure_deliver(folder, plan.pace, plan.base),
    "sealed": lambda plan, folder: measure_sealed(folder, plan.pace),
    "list_empty": lambda plan, folder: measure_list_empty(folder, plan.pace, plan.base),
    "list_100": lambda plan, folder: measure_list_100(folder, plan.pace, plan.base),
    "trust": lambda plan, folder: measure_trust(folder, plan.pace),
    "latency": lambda plan, folder: measure_latency(folder, plan.options.offered, plan.base),
    "ladder": lambda plan, folder: measure_ladder(folder, plan.base, plan.options.steps),
    "growth": lambda plan, folder: measure_growth(folder, plan.pace, *plan.larger),
    "memory": lambda plan, folder: measure_memory(folder, plan.pace, plan.options.senders, plan.base),
    "live": lambda plan, folder: measure_live(folder, plan.options.streams, plan.pace.seconds * 250),
    "busy": lambda plan, folder: measure_busy(folder, plan.options.unread),
    "fair": lambda plan, folder: measure_fair(folder, plan.pace.seconds, plan.options.pages),
    "start": lambda plan, folder: measure_start(folder, plan.large.deployed, plan.base),
}
_ASKED_FOR: Final[dict[str, Callable[[Plan, Path], dict[str, Any]]]] = {
    "postgres": lambda plan, folder: measure_postgres(folder, plan.pace, *plan.postgres_sizes),
}
"""What needs more than a build of ours, and runs only with `--only`."""


def main() -> None:
    options = _options()
    wrk = wrk_version()
    if server_core() == generator_core():
        print("There is one core only: the generator takes the server's time, and the ratios mean little.")
    options.results.mkdir(exist_ok=True)
    # On the disk of the results, because a temporary folder may be kept in memory, where a commit costs nothing.
    with tempfile.TemporaryDirectory(dir=options.results, prefix="work-") as name:
        path = _measure(Path(name), options, wrk)
    print(f"\n{report.as_text(json.loads(path.read_text()))}\n\n{path}")


def _measure(folder: Path, options: argparse.Namespace, wrk: str) -> Path:
    try:
        base = base_build(options.base, folder) if options.base else None
    except NoSuchBuild as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    plan = Plan(folder, Pace(options.seconds, options.rounds), base, options)
    results: dict[str, Any] = {
        "time": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
        "versions": versions(folder, base, wrk),
        "pace": {"seconds": options.seconds, "rounds": options.rounds},
    }
    parts = {name: partial((PARTS | _ASKED_FOR)[name], plan) for name in options.only}
    return measure_each(parts, results, folder, options.results)


def measure_each(
    parts: Mapping[str, Callable[[Path], dict[str, Any]]], results: dict[str, Any], folder: Path, target: Path
) -> Path:
    """Measure each part in a folder of its own, and write what is known after each: a later part may fail."""
    for name, measure in parts.items():
        started = time.monotonic()
        print(f"{name} …", flush=True)
        (folder / name).mkdir()
        results[name] = measure(folder / name)
        path = report.write(results, target)
        print(f"   {time.monotonic() - started:.0f} s", flush=True)
    return path


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description="How fast is it, and is it enough?")
    parser.add_argument(
        "--only", metavar="PART,…", type=_parts, default=list(PARTS), help=f"of {', '.join(PARTS | _ASKED_FOR)}"
    )
    parser.add_argument("--base", metavar="COMMIT", help="measure that commit too, in turn, and print the ratios")
    parser.add_argument("--quick", action="store_true", help="see that it works, in a minute; figures mean little")
    parser.add_argument("--large", action="store_true", help="growth on 5 million stored entries too (needs 8 GB)")
    parser.add_argument("--seconds", type=int, help="how long one run is (default: 4)")
    parser.add_argument("--rounds", type=int, help="how many runs there are of each server (default: 5)")
    parser.add_argument("--results", metavar="FOLDER", type=Path, default=_RESULTS, help="where results are written")
    options = parser.parse_args()
    for name, (quick, full) in _SIZES.items():
        if getattr(options, name, None) is None:
            setattr(options, name, quick if options.quick else full)
    return options


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    unknown = [part for part in parts if part not in PARTS | _ASKED_FOR]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no part called {', '.join(unknown)}")
    return parts


if __name__ == "__main__":
    main()
