"""How long a start takes, from the command to the first answer, on no database at all and on a filled one."""

import statistics
import time
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError

from benchmarks.servers import deployment, launched, serve_command
from tests.support.serving import Deployment

_STARTS: Final = 5
_PAUSE_SECONDS: Final = 0.001
_MOST_SECONDS: Final = 30


def measure_start(folder: Path, large: Deployment) -> dict[str, Any]:
    """Medians in seconds."""
    empty = [start_seconds(deployment(folder / f"empty-{number}")) for number in range(_STARTS)]
    filled = [start_seconds(large) for _ in range(_STARTS)]
    return {"empty_s": statistics.median(empty), "large_s": statistics.median(filled), "empty": empty, "large": filled}


def start_seconds(deployed: Deployment) -> float:
    """Asks as often as it can until there is an answer. Raises TimeoutError when there is none."""
    start = time.perf_counter()
    with launched(serve_command(deployed)):
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
