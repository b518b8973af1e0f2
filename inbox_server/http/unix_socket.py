"""A Unix socket to listen on: never one that somebody serves already, and at the end only one's own is removed."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MODE: Final = 0o666  # a proxy is another user; the mode of the folder says who may come near


@contextlib.contextmanager
def bound_socket(path: Path) -> Iterator[socket.socket]:
    """A socket with this name, for as long as the context lasts. Raises OSError, EADDRINUSE when it is served.

    One that nobody listens at was left by a process that was killed, and is replaced. asyncio replaces every other too.
    """
    if path.is_socket() and not _is_served(path):
        path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        own = path.stat()
        try:
            path.chmod(_MODE)
            yield bound
        finally:
            with contextlib.suppress(OSError):
                if os.path.samestat(own, path.stat()):  # else it was moved away, and the name given to another
                    path.unlink()


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        return probe.connect_ex(str(path)) != errno.ECONNREFUSED
