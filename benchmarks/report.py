"""What is told at the end: a table with the targets on the terminal and as Markdown, and everything as JSON."""

import json
import os
import platform
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from benchmarks.pinning import generator_core, server_core

_LIBRARIES: Final = ("aiohttp", "uvloop", "aiosqlite", "coincurve")
_FSYNCS: Final = 50


@dataclass(frozen=True, slots=True)
class Target:
    """A figure, where it is in the results, and the bound that it should keep."""

    path: str
    what: str
    bound: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


TARGETS: Final = (
    Target("deliver.ratio", "deliveries, of a bare POST", 0.35, at_least=True),
    Target("list_empty.ratio", "queries that find nothing, of a bare GET", 0.70, at_least=True),
    Target("list_100.ratio", "pages of 100 entries, of a bare GET", 0.40, at_least=True),
    Target("growth.deliver_p50", "deliveries when much is stored, p50, times", 1.5),
    Target("growth.deliver_p99", "deliveries when much is stored, p99, times", 3),
    Target("growth.list_p50", "pages when much is stored, p50, times", 1.5),
    Target("growth.list_p99", "pages when much is stored, p99, times", 3),
    Target("memory.idle_mb", "resident when idle, MB", 60),
    Target("memory.per_connection_kb", "for each idle connection, KB", 25),
    Target("memory.second_half_growth_mb", "grown by the second half of all senders, MB", 5),  # what is bounded is full
    Target("live.streams_mb", "resident with 5,000 open streams, MB", 200),
    Target("live.reached_p99_ms", "from a delivery to its waiting reader, p99, ms", 20),
    Target("busy.page_last_to_first", "last pages of a large inbox, of the first", 1.5),
    Target("busy.acking_p99_ms", "deliveries while 10,000 are acknowledged, p99, ms", 50),
    Target("busy.giving_up_p99_ms", "deliveries while a large inbox goes, p99, ms", 50),
    Target("busy.sweeping_p99_ms", "deliveries while the sweeper works, p99, ms", 50),
    Target("fair.peak_mb", "resident while one owner asks for 400 full pages at once, MB", 150),
    Target("fair.afterwards_mb", "resident afterwards, MB", 100),
    Target("fair.p99_to_alone", "deliveries meanwhile, p99, times", 10),
    Target("start.empty_s", "start on an empty database, s", 0.5),
    Target("start.large_s", "start on a filled database, s", 1.0),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table, as it is printed."""

    what: str
    value: str
    bound: str
    verdict: str
    detail: str


def lines(results: Mapping[str, Any]) -> list[Line]:
    """Whatever was measured and has a target."""
    found = []
    for target in TARGETS:
        part, _, name = target.path.partition(".")
        if part not in results:
            continue
        value: float = results[part][name]
        bound = f"{'≥' if target.at_least else '≤'} {target.bound:g}"
        verdict = "pass" if target.met(value) else "MISS"
        found.append(Line(target.what, f"{value:.2f}", bound, verdict, _detail(results[part], name)))
    return found


def _detail(found: Mapping[str, Any], name: str) -> str:
    """What a ratio is made of."""
    if name == "ratio":
        low, high = found["spread"]
        return f"{found['per_second']:,.0f} of {found['bare_per_second']:,.0f} a second; runs {low:.2f} to {high:.2f}"
    taken = found.get(f"{name}_ms")
    return f"{taken['small']:.2f} and {taken['large']:.2f} ms" if taken else ""


def as_text(results: Mapping[str, Any]) -> str:
    return "\n".join(
        f"{line.what:60} {line.value:>8}   {line.bound:7} {line.verdict}   {line.detail}".rstrip()
        for line in lines(results)
    )


def as_markdown(results: Mapping[str, Any]) -> str:
    table = ["| what | measured | target | | |", "|---|---|---|---|---|"]
    table += [f"| {' | '.join(astuple(line))} |" for line in lines(results)]
    versions = [f"* {name}: {value}" for name, value in results["versions"].items()]
    return "\n".join([f"# Measured {results['time']}", "", *table, "", *versions, ""])


def write(results: Mapping[str, Any], folder: Path) -> Path:
    """Write `<time>.json` and `<time>.md`; the first one's path."""
    path = folder / f"{results['time']}.json"
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(as_markdown(results), encoding="utf-8")
    return path


def versions(folder: Path, wrk: str) -> dict[str, str]:
    """What the figures depend on; `folder` is where the databases are."""
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        **{library: metadata.version(library) for library in _LIBRARIES},
        "sqlite": sqlite3.sqlite_version,
        "wrk": wrk,
        "processor": _processor(),
        "cores": f"{os.cpu_count()}; server on {server_core()}, generator on {generator_core()}",
        "load": f"{os.getloadavg()[0]:.1f} in the minute before",  # of other programs: they spoil the figures
        "fsync": f"{_fsync_microseconds(folder):.0f} µs",
    }


def _commit() -> str:
    """With a + when the files differ from it."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    said = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)  # noqa: S603
    return said.stdout.strip() or "none"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _fsync_microseconds(folder: Path) -> float:
    """The median for a page. Where it is next to nothing, as on tmpfs, deliveries are measured too well."""
    taken = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(_FSYNCS):
            file.write(bytes(4096))
            start = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(1e6 * (time.perf_counter() - start))
    return statistics.median(taken)
