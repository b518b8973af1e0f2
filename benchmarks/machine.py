"""What the figures depend on, to be told beside them."""

import os
import platform
import sqlite3
import statistics
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Final

from benchmarks.builds import Build, this_build
from benchmarks.pinning import generator_core, server_core

_LIBRARIES: Final = ("aiohttp", "uvloop", "aiosqlite", "coincurve")
_FSYNCS: Final = 50


def versions(folder: Path, base: Build | None, wrk: str) -> dict[str, str]:
    """`folder` is where the databases are."""
    return {
        "commit": this_build().commit,
        **({"base": base.commit + ", with libraries of its own" * (base.python != sys.executable)} if base else {}),
        "python": platform.python_version(),
        **{library: metadata.version(library) for library in _LIBRARIES},
        "sqlite": sqlite3.sqlite_version,
        "wrk": wrk,
        "processor": _processor(),
        "cores": f"{os.cpu_count()}; server on {server_core()}, generator on {generator_core()}",
        "load": f"{os.getloadavg()[0]:.1f} in the minute before",  # of other programs: they spoil the figures
        "fsync": f"{_fsync_microseconds(folder):.0f} µs",
    }


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
