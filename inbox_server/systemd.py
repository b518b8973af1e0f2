"""What systemd and the service tell each other: sockets to listen on, that the service is up, and that it lives.

Sources: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

_FIRST_FILE: Final = 3
_MICROSECONDS: Final = 10**6
_ADMIN: Final = "admin"
READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"


def inherited_sockets(environment: Mapping[str, str], pid: int) -> tuple[list[socket.socket], list[socket.socket]]:
    """The public and the admin sockets that systemd listens on for this process; none if it was started otherwise.

    A socket whose unit says `FileDescriptorName=admin` is an admin one, and every other one is public.
    """
    public: list[socket.socket] = []
    admin: list[socket.socket] = []
    if environment.get("LISTEN_PID") != str(pid):
        return public, admin
    count = int(environment.get("LISTEN_FDS", "0"))
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    names += [""] * (count - len(names))
    for number, name in zip(range(_FIRST_FILE, _FIRST_FILE + count), names, strict=False):
        os.set_inheritable(number, False)
        (admin if name == _ADMIN else public).append(socket.socket(fileno=number))
    return public, admin


def notify(environment: Mapping[str, str], state: str) -> None:
    """Tell systemd a state such as READY=1, if it asked for that (`Type=notify`). Raises OSError if nobody takes it."""
    path = environment.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            # An @ stands for the zero byte of an abstract name.
            sending.sendto(state.encode(), f"\0{path[1:]}" if path.startswith("@") else path)


def watchdog_seconds(environment: Mapping[str, str], pid: int) -> float | None:
    """How often systemd wants a sign of life (`WatchdogSec=`); None if it wants none of this process."""
    asked = environment.get("WATCHDOG_USEC", "")
    if not asked.isdecimal() or environment.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    return int(asked) / _MICROSECONDS


@contextlib.asynccontextmanager
async def giving_signs_of_life(
    seconds: float | None, check: Callable[[], Awaitable[None]], tell: Callable[[str], None]
) -> AsyncIterator[None]:
    """Tell systemd that the service lives, twice in so many seconds, whenever `check` has come back; None: never.

    If `check` hangs or fails, systemd hears nothing more, and restarts the service.
    """
    if seconds is None:
        yield
        return
    pause = seconds / 2

    async def give() -> None:
        while True:
            await check()
            tell(ALIVE)
            await asyncio.sleep(pause)

    giving = asyncio.create_task(give())
    try:
        yield
    finally:
        giving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await giving
