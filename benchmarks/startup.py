"""How long a start takes, from the command to the first answer, on no database at all and on a filled one."""

import statistics
import time
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError

from benchmarks.builds import Build, this_build
from benchmarks.servers import deployment, launched, serve_command
from benchmarks.turns import BASE, NOW
from tests.support.serving import Deployment

_STARTS: Final = 5
_PAUSE_SECONDS: Final = 0.001
_MOST_SECONDS: Final = 30


def measure_start(folder: Path, large: Deployment, base: Build | None) -> dict[str, Any]:
    """Medians in seconds. In the first start of each build, Python writes what it compiled: it is not counted."""
    builds = {NOW: this_build()} | ({BASE: base} if base else {})
    empty: dict[str, list[float]] = {name: [] for name in builds}
    for number in range(_STARTS + 1):
        for name, build in builds.items():
            empty[name].append(start_seconds(deployment(folder / f"{name}-{number}"), build))
    filled = [start_seconds(large, builds[NOW]) for _ in range(_STARTS)]
    found: dict[str, Any] = {name: {"empty_s": statistics.median(taken[1:])} for name, taken in empty.items()}
    return {**found.pop(NOW), **found, "large_s": statistics.median(filled)}


def start_seconds(deployed: Deployment, build: Build) -> float:
    """Asks as often as it can until there is an answer. Raises TimeoutError when there is none."""
    start = time.perf_counter()
    with launched(serve_command(deployed, build), build.environment()):
        while not _answers(deployed):
            if time.perf_counter() - start > _MOST_SECONDS:
                raise TimeoutError("the server did not start")
            time.sleep(_PAUSE_SECONDS)
        return time.perf_counter() - start


def _answers(deployed: Deployment) -> bool:
    try:
        with urllib.request.urlopen(f"{deployed.url}/.well-known/message-inbox") as response:  # noqa: S310 — our own
            return bool(response.status == HTTPStatus.OK)
    except URLError:
        return False
