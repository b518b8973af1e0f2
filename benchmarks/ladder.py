"""Where a delivery's time goes: the processor time of each step, taken alone, in the order of the delivery.

    python -m benchmarks.ladder [--base COMMIT]

In the running server every step costs more than here, because the steps before it have used the caches; what is left
over between the sum and the whole are that, HTTP, and the changes between threads. The steps are measured in a process
of their own for each build (`benchmarks/ladder_steps.py`); one that a build does not have is left out.
"""

import argparse
import json
import subprocess
import tempfile
from itertools import islice
from pathlib import Path
from typing import Final

from benchmarks.builds import ROOT, Build, base_build, this_build
from benchmarks.ladder_steps import Given, Steps
from benchmarks.pinning import pinned, server_core
from benchmarks.report import as_text
from benchmarks.signing import APP, deliveries, people
from benchmarks.turns import BASE, NOW

_URL: Final = "http://127.0.0.1:8710"
_COUNT: Final = 20_000


def measure_ladder(folder: Path, base: Build | None, count: int) -> dict[str, Steps]:
    """Microseconds by step, for each build. All builds get the same deliveries, in a file."""
    requests = folder / "requests.json"
    given(count).write(requests)
    builds = {NOW: this_build()} | ({BASE: base} if base else {})
    return {name: _measure(build, requests) for name, build in builds.items()}


def _measure(build: Build, requests: Path) -> Steps:
    command = pinned(build.command("benchmarks.ladder_steps", str(requests)), server_core())
    said = subprocess.run(command, env=build.environment(ROOT), stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    steps: Steps = json.loads(said.stdout)
    return steps


def given(count: int) -> Given:
    """As many deliveries, from 64 senders to 64 inboxes."""
    senders, each = people(64), []
    for raw in islice(deliveries(senders, people(64), _URL), count):
        head, _, body = raw.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        each.append((lines["Authorization"], body))
    return Given(_URL, APP, [sender.public for sender in senders], each)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ladder", description="What does each step cost?")
    parser.add_argument("--base", metavar="COMMIT", help="measure that commit too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = base_build(options.base, Path(folder)) if options.base else None
        print(as_text({"ladder": measure_ladder(Path(folder), base, _COUNT)}))


if __name__ == "__main__":
    main()
