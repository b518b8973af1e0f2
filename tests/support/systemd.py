"""What systemd does for a service, done by tests: it holds sockets, and hears what the service tells it."""

import asyncio
import contextlib
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.patience import PATIENCE_SECONDS


@contextlib.contextmanager
def systemd_hears(path: Path) -> Iterator[socket.socket]:
    """Where systemd hears what services tell it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(path))
        bound.setblocking(False)
        yield bound


async def heard(systemd: socket.socket) -> bytes:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await asyncio.get_running_loop().sock_recv(systemd, 100)


# What systemd does before it runs a service: its sockets get the numbers from 3 on.
_AS_SYSTEMD = """
import os, sys
numbers = [int(number) for number in sys.argv[1].split(",")]
for place, number in enumerate(numbers, 3):
    os.dup2(number, place)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(numbers)), "LISTEN_FDNAMES": sys.argv[2]}
os.execvp(sys.argv[3], sys.argv[3:])
"""


@contextlib.contextmanager
def held(*hosts: str) -> Iterator[tuple[list[socket.socket], list[int]]]:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server((host, 0))) for host in hosts]
        high = [fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in held]  # out of the way of the numbers from 3 on
        for number in high:
            stack.callback(os.close, number)
        yield held, high


def under(high: list[int], names: str) -> tuple[str, ...]:
    return (sys.executable, "-c", _AS_SYSTEMD, ",".join(map(str, high)), names)
