"""Disks that can be filled, and freed again while a server runs on them."""

import asyncio
import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from inbox_server.store.sqlite.database import RESERVE_BYTES
from inbox_server.store.sqlite.opening import DATABASE_NAME
from tests.faults.probes import Watched, deploy_watched

LOG_NAME = f"{DATABASE_NAME}-wal"
DISK_BYTES = 24 << 20


class Disk(Protocol):
    """Where a server keeps its data, and what is left there."""

    @property
    def watched(self) -> Watched: ...

    def leave(self, process: asyncio.subprocess.Process, room: int) -> None:
        """Let the files grow by so many bytes and no more; 0 is the last byte."""

    def free(self, process: asyncio.subprocess.Process) -> None:
        """Take that back."""


@dataclass(frozen=True, slots=True)
class LimitedFiles:
    """No file may be written beyond a size, not even over old bytes (setrlimit(2)): to SQLite an I/O error."""

    watched: Watched

    def leave(self, process: asyncio.subprocess.Process, room: int) -> None:
        log_bytes = (self.watched.place.data / LOG_NAME).stat().st_size
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (log_bytes + room if room else 0, resource.RLIM_INFINITY))

    def free(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:  # else the limit ended with it
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, unlimited)


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A filesystem of its own, in memory, with something else on it that takes the room."""

    watched: Watched

    @property
    def _ballast(self) -> Path:
        return self.watched.place.data / "ballast"

    def leave(self, process: asyncio.subprocess.Process, room: int) -> None:
        disk = os.statvfs(self.watched.place.data)
        with self._ballast.open("ab") as ballast:
            reserve = min(RESERVE_BYTES, DISK_BYTES // 4) if room else 0  # which the server leaves for erasing
            ballast.write(bytes(max(0, disk.f_bavail * disk.f_frsize - room - reserve)))

    def give(self, room: int) -> None:
        os.truncate(self._ballast, self._ballast.stat().st_size - room)

    def free(self, process: asyncio.subprocess.Process) -> None:
        self._ballast.unlink()


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """Skips where no filesystem may be mounted, also in CI: the limit on files is there everywhere."""
    watched = deploy_watched(folder)
    data = watched.place.data
    data.mkdir(mode=0o700)
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small filesystem")
    try:
        mount = ("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "none", str(data))
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small filesystem cannot be mounted here")
    try:
        yield SmallDisk(watched)
    finally:
        subprocess.run(("umount", "--lazy", str(data)), check=True)
