"""How fast the server is: ratios to a bare handler on the same machine in the same run, beside the targets.

`python -m benchmarks.speed` prints a table and writes `benchmarks/results/<time>.md` and `.json`. Nothing is asserted
about speed, because machines are noisy; but a run whose answers or stored entries are wrong ends with an error.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from benchmarks import report
from benchmarks.busy import measure_busy
from benchmarks.fair import measure_fair
from benchmarks.growth import ENTRIES, Filled, filled, measure_growth
from benchmarks.live import measure_live
from benchmarks.memory import measure_memory
from benchmarks.pinning import generator_core, server_core
from benchmarks.ratios import Pace, measure_deliver, measure_list_100, measure_list_empty
from benchmarks.startup import measure_start
from benchmarks.wrk import wrk_version

_RESULTS: Final = Path(__file__).with_name("results")


@dataclass(frozen=True)
class Plan:
    """One run of the program: where it may write, how long it measures, and how much is stored and sent."""

    folder: Path
    pace: Pace
    inboxes: int
    senders: int
    streams: int
    unread: int
    pages: int

    @cached_property
    def large(self) -> Filled:
        """The large database, filled when it is first needed."""
        started = time.monotonic()
        database = filled(self.folder / "large", self.inboxes)
        print(f"   {ENTRIES * self.inboxes:,} entries were put in, in {time.monotonic() - started:.0f} s", flush=True)
        return database


PARTS: Final[dict[str, Callable[[Plan], dict[str, Any]]]] = {
    "deliver": lambda plan: measure_deliver(plan.folder, plan.pace),
    "list_empty": lambda plan: measure_list_empty(plan.folder, plan.pace),
    "list_100": lambda plan: measure_list_100(plan.folder, plan.pace),
    "growth": lambda plan: measure_growth(plan.folder, plan.pace, plan.large),
    "memory": lambda plan: measure_memory(plan.folder, plan.pace, plan.senders),
    "live": lambda plan: measure_live(plan.folder / "live", plan.streams, plan.pace.seconds * 250),
    "busy": lambda plan: measure_busy(plan.folder / "busy", plan.unread),
    "fair": lambda plan: measure_fair(plan.folder / "fair", plan.pace.seconds, plan.pages),
    "start": lambda plan: measure_start(plan.folder, plan.large.deployed),
}


def main() -> None:
    options = _options()
    wrk = wrk_version()
    if server_core() == generator_core():
        print("There is one core only: the generator takes the server's time, and the ratios mean little.")
    options.results.mkdir(exist_ok=True)
    # On the disk of the results, because a temporary folder may be kept in memory, where a commit costs nothing.
    with tempfile.TemporaryDirectory(dir=options.results, prefix="work-") as name:
        folder = Path(name)
        results: dict[str, Any] = {
            "time": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
            "versions": report.versions(folder, wrk),
            "pace": {"seconds": options.seconds, "rounds": options.rounds},
        }
        plan = Plan(
            folder,
            Pace(options.seconds, options.rounds),
            inboxes=options.stored // ENTRIES,
            senders=options.senders,
            streams=options.streams,
            unread=options.unread,
            pages=options.pages,
        )
        for part in options.only:
            print(f"{part} …", flush=True)
            results[part] = PARTS[part](plan)
    path = report.write(results, options.results)
    print(f"\n{report.as_text(results)}\n\n{path}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description="How fast is it, and is it enough?")
    parser.add_argument("--only", metavar="PART,…", type=_parts, default=list(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="see that it works, in a minute; figures mean little")
    parser.add_argument("--large", action="store_true", help="5 million stored entries instead of 1 million")
    parser.add_argument("--seconds", type=int, help="how long one run is (default: 4)")
    parser.add_argument("--rounds", type=int, help="how many runs there are of each server (default: 5)")
    parser.add_argument("--results", metavar="FOLDER", type=Path, default=_RESULTS, help="where results are written")
    options = parser.parse_args()
    options.seconds = options.seconds or (1 if options.quick else 4)
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.stored = 50_000 if options.quick else 5_000_000 if options.large else 1_000_000
    options.senders = 5_000 if options.quick else 100_000
    options.streams = 100 if options.quick else 5_000
    options.pages = 20 if options.quick else 400
    options.unread = 5_000 if options.quick else 100_000
    return options


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no part called {', '.join(unknown)}")
    return parts


if __name__ == "__main__":
    main()
