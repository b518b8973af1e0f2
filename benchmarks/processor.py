"""Processor time of a process and its children, and what of this program runs where."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.pinning import generator_core

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM = 11, 12  # fields of /proc/PID/stat after the name (proc(5) counts from 1 and has the name second)


def processor_seconds(pid: int) -> float:
    """Of all its threads, and of its children that are still alive, to a hundredth of a second."""
    return sum(_own_seconds(each) for each in processes(pid))


def processes(pid: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from processes(int(child))


def _own_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS


@contextlib.contextmanager
def on_the_generators_core() -> Iterator[None]:
    """What this thread does meanwhile takes nothing from the server."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {generator_core()})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
