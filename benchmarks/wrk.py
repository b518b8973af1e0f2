"""The load generator: wrk, one thread on a core of its own, sending requests from a file."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.pinning import generator_core, pinned
from benchmarks.processor import processor_seconds
from benchmarks.servers import Server
from benchmarks.signing import Requests

_TOOLS: Final = {"wrk": "wrk", "taskset": "util-linux"}  # and the packages that have them
_TIMEOUT_SECONDS: Final = 10  # a slow answer is an answer
_SCRIPT: Final = Path(__file__).with_name("requests.lua")


class WrongAnswers(Exception):
    """The server refused or broke off; figures from such a run mean nothing."""


@dataclass(frozen=True, slots=True)
class Run:
    """What wrk saw. `ended` says that the file ran out, so that the rate is not to be used.

    `processor_us` is the server's processor time for each answer, in microseconds.
    """

    answered: int
    sent: int
    per_second: float
    p50_ms: float
    p99_ms: float
    bytes_each: float
    processor_us: float
    ended: bool


def wrk_version() -> str:
    """Ends the program with 2 where a tool that it needs is not there."""
    missing = [package for tool, package in _TOOLS.items() if shutil.which(tool) is None]
    if missing:
        print(f"to measure, install {' and '.join(missing)} (Debian, Ubuntu: apt install …)", file=sys.stderr)
        sys.exit(2)
    said = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout  # noqa: S607 — just found
    return said.split()[1]


def run_wrk(
    server: Server, requests: Requests, *, connections: int, seconds: int, skip: int = 0, again: bool = False
) -> Run:
    """Raises `WrongAnswers`."""
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"]
    command += ["--timeout", f"{_TIMEOUT_SECONDS}s"]
    script = ["--script", str(_SCRIPT), server.url, "--", str(requests.path), str(requests.size), str(skip)]
    before = processor_seconds(server.pid)
    said = subprocess.run(  # noqa: S603
        pinned([*command, *script, "again" if again else "once"], generator_core()),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    used = processor_seconds(server.pid) - before
    measured = json.loads(said.splitlines()[-1])
    if measured["refused"] or measured["broken"]:
        raise WrongAnswers(f"{measured['refused']} refused, {measured['broken']} broken off: {said}")
    return Run(
        answered=measured["answered"],
        sent=measured["sent"],
        per_second=measured["answered"] / measured["seconds"],
        p50_ms=measured["p50_ms"],
        p99_ms=measured["p99_ms"],
        bytes_each=measured["bytes"] / max(1, measured["answered"]),
        processor_us=1e6 * used / max(1, measured["answered"]),
        ended=measured["ended"],
    )
