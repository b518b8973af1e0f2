"""Processor time of a process and its children, and what of this program runs where."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.pinning import generator_core

_GONE: Final = (FileNotFoundError, ProcessLookupError)


def processor_seconds(pid: int) -> float:
    """Of all threads of it and its children that are alive. The kernel counts in nanoseconds in `schedstat`."""
    return sum(_own_seconds(each) for each in processes(pid))


def processes(pid: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield pid
    for children in _of_each_thread(pid, "children"):
        for child in children.split():
            yield from processes(int(child))


def _own_seconds(pid: int) -> float:
    return sum(int(told.split()[0]) for told in _of_each_thread(pid, "schedstat")) / 1e9


def _of_each_thread(pid: int, file: str) -> list[str]:
    """Such a file of each thread that still is there."""
    found = []
    with contextlib.suppress(*_GONE):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(*_GONE):
                found.append((task / file).read_text())
    return found


@contextlib.contextmanager
def on_the_generators_core() -> Iterator[None]:
    """What this thread does meanwhile takes nothing from the server."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {generator_core()})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
