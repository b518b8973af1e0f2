"""A Unix socket to listen on. A socket that is in use is never replaced, and at the end we remove only our own."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

OWN_MODE: Final = 0o600
_FOR_ALL: Final = 0o666  # a proxy runs as another user; the folder's mode decides who has access


@contextlib.contextmanager
def bound_socket(path: Path, *, mode: int = _FOR_ALL) -> Iterator[socket.socket]:
    """A socket with this name, for as long as the context lasts. Raises OSError, EADDRINUSE when it is in use.

    A socket that nobody listens on was left by a killed process, and is replaced. asyncio would replace any socket.
    """
    if path.is_socket() and not _is_served(path):
        path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        own = path.stat()
        try:
            path.chmod(mode)
            yield bound
        finally:
            with contextlib.suppress(OSError):
                if os.path.samestat(own, path.stat()):  # otherwise ours was moved, and another socket has its name
                    path.unlink()


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        return probe.connect_ex(str(path)) != errno.ECONNREFUSED
