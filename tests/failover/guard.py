"""Ends everything that works in a folder, and removes it, when whoever started this is gone: also by Ctrl-C or a kill.

    python -m tests.failover.guard FOLDER

waits for the end of its standard input, which the kernel closes for a process that dies.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO


def processes_in(folder: Path) -> list[int]:
    """The processes whose working folder this is, or one below it (proc(5))."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink().is_relative_to(folder):
                    found.append(int(entry.name))
    return found


def signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def kill_all(folder: Path) -> None:
    """Until there is none: one that is being killed may still start another."""
    while pids := processes_in(folder):
        signal_all(pids, signal.SIGKILL)
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Guard:
    """The process that ends everything."""

    stdin: IO[bytes]

    def keep(self) -> None:
        """Leave the folder there."""
        with contextlib.suppress(OSError):
            self.stdin.write(b"keep")
            self.stdin.flush()


@contextlib.contextmanager
def guarded(folder: Path) -> Iterator[Guard]:
    """Whatever is started in `folder` is ended afterwards, and the folder is removed."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is not for it
    )
    assert process.stdin
    try:
        yield Guard(process.stdin)
    finally:
        process.stdin.close()
        process.wait()


def _guard(folder: Path) -> None:
    said = sys.stdin.read()
    kill_all(folder)
    if not said:
        shutil.rmtree(folder)


if __name__ == "__main__":
    _guard(Path(sys.argv[1]))
