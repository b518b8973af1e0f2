"""What one of several server processes gets from the parent that started it."""

import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path

from inbox_server.inboxes.on_host import OnHost
from inbox_server.processes.places import Places


@dataclass(frozen=True, slots=True)
class Line:
    """From a server process to the parent that started it. It ends when either of them does."""

    socket: socket.socket

    def tell(self, state: str) -> None:
        """Tell the parent a state, as one tells systemd."""
        with contextlib.suppress(OSError):  # the parent is gone, and so is this process in a moment
            self.socket.sendall(state.encode() + b"\n")


@dataclass(frozen=True, slots=True)
class Member:
    """`number` is its own, from 1. `own_socket` is where it tells of itself; `sockets` are those of all, in order."""

    number: int
    line: Line
    places: Places
    host: OnHost
    sockets: tuple[Path, ...]
    watchdog_seconds: float | None

    @property
    def own_socket(self) -> Path:
        return self.sockets[self.number - 1]
