"""The parent of several server processes: it starts them, watches them and stops them, and does nothing else.

It has no event loop and no thread, so it can fork at any time.
"""

import contextlib
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Final

from inbox_server.processes.child import HANDLED, Child
from inbox_server.processes.member import Line
from inbox_server.systemd import ALIVE, READY, STOPPING

_STOP_SECONDS: Final = 8  # a server stops within five, and systemd waits for ten


class Supervisor:
    """`work` is what a process does, given its number from 1 and its line to the parent; it returns an exit code.

    `announce` tells a person, and `tell` tells systemd. `reload` is called at SIGHUP, before the processes hear of it:
    those that are started later begin with what it changed.
    """

    def __init__(
        self,
        processes: int,
        work: Callable[[int, Line], int],
        *,
        announce: Callable[[str], None],
        tell: Callable[[str], None],
        reload: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._children = [Child(number) for number in range(1, processes + 1)]
        self._work = work
        self._announce = announce
        self._tell = tell
        self._reload = reload
        self._monotonic = monotonic
        self._was_ready = False
        self._stop_by: float | None = None
        self._code = 0

    def run(self) -> int:
        """Until SIGTERM or SIGINT, or until a process ends before all were up. Returns an exit code."""
        with _signals() as signals:
            self._start(self._children[0], signals)  # one first, so that only one makes or changes the database
            while any(child.pid is not None for child in self._children) or self._stop_by is None:
                self._wait(signals[0])
                self._reap()
                for child in self._children if self._stop_by is None and self._may_start_all() else ():
                    if child.pid is None and child.due <= self._monotonic():
                        self._start(child, signals)
        return self._code

    def _may_start_all(self) -> bool:
        return self._was_ready or self._children[0].is_up

    def _start(self, child: Child, signals: tuple[socket.socket, socket.socket]) -> None:
        lines = [each.line for each in self._children if each.line is not None]
        now = self._monotonic()
        try:
            child.start(lambda line: self._work(child.number, line), now, (*signals, *lines))
        except OSError as error:
            if not self._was_ready:
                raise
            child.put_off(now)
            self._announce(f"process {child.number} cannot be started: {error.strerror}; {_again(child, now)}")

    def _wait(self, signals: socket.socket) -> None:
        """Until something happens, and deal with it."""
        with selectors.PollSelector() as selector:
            selector.register(signals, selectors.EVENT_READ)
            for child in self._children:
                if child.line is not None:
                    selector.register(child.line, selectors.EVENT_READ, child)
            happened = [key.data for key, _ in selector.select(self._seconds())]
        for child in happened:
            if child is None:
                for number in set(signals.recv(4096)):
                    self._on_signal(signal.Signals(number))
            else:
                for state in child.hear():
                    self._on_state(child, state)

    def _seconds(self) -> float | None:
        """How long nothing has to be done, if nothing happens."""
        if self._stop_by is not None:
            times = [self._stop_by]
        else:
            times = [child.due for child in self._children if child.pid is None and self._may_start_all()]
        return max(0.0, min(times) - self._monotonic()) if times else None

    def _on_signal(self, number: signal.Signals) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop()
        elif number in (signal.SIGHUP, signal.SIGUSR1):
            if number == signal.SIGHUP:
                self._reload()
            for child in self._children:
                if child.is_up:
                    child.send(number)
                else:
                    child.missed.add(number)

    def _on_state(self, child: Child, state: str) -> None:
        if state == READY:
            child.is_up = True
            for number in child.missed:
                child.send(number)
            child.missed.clear()
            if self._was_ready:
                self._announce(f"process {child.number} is up again")
            elif all(each.is_up for each in self._children):
                self._was_ready = True
                self._announce(f"{len(self._children)} processes are up")
                self._tell(READY)
        elif state == ALIVE:
            child.lives = True
            up = [each for each in self._children if each.is_up]
            if up and all(each.lives for each in up):  # if one hangs, systemd hears nothing more
                self._tell(ALIVE)
                for each in up:
                    each.lives = False

    def _reap(self) -> None:
        now = self._monotonic()
        if self._stop_by is not None and now >= self._stop_by:
            self._announce("some processes did not stop in time, and are killed")
            self._stop_by = now + _STOP_SECONDS
            self._send_all(signal.SIGKILL)
        for child in self._children:
            code = child.reap(now)
            if code is None:
                continue
            if self._stop_by is not None:
                self._code = self._code or code not in (0, -signal.SIGTERM, -signal.SIGINT)
            elif not self._was_ready:
                self._code = code if code > 0 else 1
                self._announce(f"process {child.number} {_how(code)} before all were up")
                self._stop()
            else:
                self._announce(f"process {child.number} {_how(code)}; {_again(child, now)}")

    def _stop(self) -> None:
        if self._stop_by is None:
            self._stop_by = self._monotonic() + _STOP_SECONDS
            self._tell(STOPPING)
            self._announce("stopping")
            self._send_all(signal.SIGTERM)

    def _send_all(self, number: signal.Signals) -> None:
        for child in self._children:
            child.send(number)


def _again(child: Child, now: float) -> str:
    return f"it is started again in {child.due - now:g} seconds"


def _how(code: int) -> str:
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"


@contextlib.contextmanager
def _signals() -> Iterator[tuple[socket.socket, socket.socket]]:
    """From the first of these sockets, the numbers of the signals can be read that came."""
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.setblocking(False)
        before = {number: signal.signal(number, lambda *_: None) for number in HANDLED}
        wakeup = signal.set_wakeup_fd(writing.fileno())
        try:
            yield reading, writing
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
