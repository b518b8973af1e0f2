"""One server process as its parent sees it: how it is started, what it says, how it ended."""

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NoReturn

from inbox_server.hardening import end_with_parent
from inbox_server.processes.member import Line

HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)
"""The signals that a parent handles itself."""
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
_STEADY_SECONDS: Final = 60  # one that lived so long has not failed because of how it was started


@dataclass(slots=True)
class Child:
    """`number` is from 1. A child that ended is started again under the same number."""

    number: int
    pid: int | None = None
    line: socket.socket | None = None
    is_up: bool = False
    """Whether it said that it is ready."""
    lives: bool = False
    """Whether it gave a sign of life since the parent last did."""
    missed: set[signal.Signals] = field(default_factory=set)
    """What the others were told before it was ready to hear it."""
    due: float = 0.0
    """When to start it, if it does not run."""
    _begun: float = 0.0
    _pause: float = 0.0
    _heard: bytes = b""

    def start(self, work: Callable[[Line], int], now: float, inherited: Iterable[socket.socket]) -> None:
        """Fork. The new process closes what it `inherited`, does its work, and ends with the exit code of that.

        Raises OSError where the system has no room for another process.
        """
        near, far = socket.socketpair()
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)  # or one that comes at once would run the parent's handler
        try:
            pid = os.fork()
            if pid == 0:
                _become_child(parent, (near, *inherited), lambda: work(Line(far)))
        except OSError:
            near.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
            far.close()
        self.pid, self.line, self._begun, self._heard = pid, near, now, b""

    def hear(self) -> list[str]:
        """What it said since."""
        if self.line is None:
            return []
        *lines, self._heard = (self._heard + self.line.recv(4096)).split(b"\n")
        return [line.decode() for line in lines]

    def send(self, number: signal.Signals) -> None:
        if self.pid is not None:
            os.kill(self.pid, number)

    def reap(self, now: float) -> int | None:
        """How it ended, if it did: an exit code, or the negative number of a signal. Says when to start it again."""
        if self.pid is None or not (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            return None
        if self.line is not None:
            self.line.close()
        if self.is_up and now - self._begun >= _STEADY_SECONDS:
            self._pause = 0.0
        self.put_off(now)
        self.pid, self.line, self.is_up, self.lives = None, None, False, False
        self.missed.clear()
        return os.waitstatus_to_exitcode(ended[1])

    def put_off(self, now: float) -> None:
        """It failed: start it again after a pause, longer each time."""
        self._pause = min(2 * self._pause or _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        self.due = now + self._pause


def _become_child(parent: int, inherited: Iterable[socket.socket], work: Callable[[], int]) -> NoReturn:
    code = 1
    try:
        end_with_parent(parent)
        signal.set_wakeup_fd(-1)
        for number in HANDLED:
            ignored = number in (signal.SIGHUP, signal.SIGUSR1)  # until the server is ready for them
            signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)
        for each in inherited:
            each.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        code = work()
    except BaseException:  # noqa: BLE001 — nothing may return to the parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
