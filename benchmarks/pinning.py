"""Which core does what: the server has one, the generator and everything else another."""

import os
from collections.abc import Sequence
from functools import cache


@cache
def server_core() -> int:
    return min(os.sched_getaffinity(0))


@cache
def generator_core() -> int:
    """The server's own where there is only one; the ratios are then of no use."""
    return max(os.sched_getaffinity(0))


def pinned(command: Sequence[str], core: int) -> list[str]:
    """The command, to be run on one core."""
    return ["taskset", "--cpu-list", str(core), *command]
