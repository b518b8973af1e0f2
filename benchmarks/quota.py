"""A CPU quota for one process, as containers have it: a control group of version 1 or 2, which only root can make."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_GROUPS: Final = Path("/sys/fs/cgroup")
_PERIOD_US: Final = 5_000


def can_set_quotas() -> bool:
    """Whether this user may, and the kernel has the controller where it is looked for."""
    return os.access(_controller(), os.W_OK) and (_first_version() or "cpu" in _enabled())


@contextlib.contextmanager
def quota(pid: int, cores: float) -> Iterator[None]:
    """A process and its threads get so much of a core (0.4 is two of every five milliseconds) until the end."""
    group = _controller() / f"inbox-benchmark-{pid}"
    group.mkdir()
    try:
        given = round(_PERIOD_US * cores)
        if _first_version():
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(given))
        else:
            (group / "cpu.max").write_text(f"{given} {_PERIOD_US}")
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            (_controller() / "cgroup.procs").write_text(str(pid))
        group.rmdir()


def _first_version() -> bool:
    return (_GROUPS / "cpu" / "cpu.shares").exists()


def _controller() -> Path:
    return _GROUPS / "cpu" if _first_version() else _GROUPS


def _enabled() -> list[str]:
    """The controllers that groups below the first one have, in version 2."""
    enabled = _GROUPS / "cgroup.subtree_control"
    return enabled.read_text().split() if enabled.exists() else []
