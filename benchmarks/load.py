"""A load generator for any protocol that answers each request once: as fast as answers come, or at a rate that is set.

At a set rate a request is timed from the moment when it was due, even if it could not be sent then, so that a server
that stalls is charged for everyone who would have come meanwhile ("coordinated omission" is what leaves them out).
"""

import gc
import random
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks.processor import on_the_generators_core
from benchmarks.wrk import WrongAnswers

_RECEIVED: Final = 1 << 16
_TIMEOUT_SECONDS: Final = 20
_SPIN_SECONDS: Final = 0.002  # epoll counts in whole milliseconds; the last ones are waited for without sleeping

Whole = Callable[[bytes], bool]
"""Whether bytes are all of an answer. Raises `WrongAnswers` if it is not a yes."""
Open = Callable[[int], socket.socket]
"""A new connection, ready for its first request; its argument is a number of its own."""
Ask = Callable[[int], bytes]
"""The next request for the connection with that number; empty when there are no more."""


@dataclass(frozen=True, slots=True)
class Load:
    """How long each answer took, in milliseconds, and all of it, in seconds; `metered` is what a meter rose by."""

    taken_ms: list[float]
    seconds: float
    metered: float = 0

    @property
    def per_second(self) -> float:
        return len(self.taken_ms) / self.seconds


class _Connection:
    """A connection with at most one request under way."""

    __slots__ = ("_heard", "_socket", "_whole", "begun", "number")

    def __init__(self, number: int, opened: socket.socket, whole: Whole) -> None:
        self.number, self._socket, self._whole = number, opened, whole
        self._heard = b""
        self.begun = 0.0

    def ask(self, request: bytes, begun: float) -> bool:
        """Whether there was something to send."""
        self.begun = begun
        self._socket.sendall(request)
        return bool(request)

    def hears_all(self) -> bool:
        """Whether the answer is complete by now. Raises `WrongAnswers`."""
        heard = self._socket.recv(_RECEIVED)
        if not heard:
            raise WrongAnswers(f"the server closed a connection after {self._heard[:200]!r}")
        self._heard += heard
        if not self._whole(self._heard):
            return False
        self._heard = b""
        return True


def as_fast_as_possible(
    opening: Open, ask: Ask, whole: Whole, *, at_once: int, seconds: float, meter: Callable[[], float] = lambda: 0.0
) -> Load:
    """One request under way on each of `at_once` connections, until the time is over or the requests are.

    `meter` is read while all connections are open: some servers have a process for each.
    """
    with _connected(opening, whole, at_once) as (poll, connections):
        taken: list[float] = []
        before, start = meter(), time.perf_counter()
        under_way = sum(connection.ask(ask(connection.number), start) for connection in connections.values())
        while under_way:
            for connection in _heard(poll, connections, start + seconds):
                now = time.perf_counter()
                taken.append(1e3 * (now - connection.begun))
                if now - start >= seconds or not connection.ask(ask(connection.number), now):
                    under_way -= 1
        return Load(taken, time.perf_counter() - start, meter() - before)


def offered(opening: Open, requests: Sequence[bytes], whole: Whole, *, at_once: int, per_second: float) -> Load:
    """All requests at random moments (a Poisson process), as they come from many who know nothing of each other."""
    moments, due = random.Random(len(requests)), 0.0  # noqa: S311 — load, not secrets
    times = [due := due + moments.expovariate(per_second) for _ in requests]
    with _connected(opening, whole, at_once) as (poll, connections):
        taken: list[float] = []
        free, sent = list(connections.values()), 0
        start = time.perf_counter()
        while len(taken) < len(requests):
            while sent < len(requests) and free and times[sent] <= time.perf_counter() - start:
                free.pop().ask(requests[sent], start + times[sent])
                sent += 1
            due = start + times[sent] if sent < len(requests) and free else time.perf_counter() + 1
            if due > start + times[-1] + _TIMEOUT_SECONDS:
                raise WrongAnswers(f"{len(requests) - len(taken)} requests are still not answered")
            for connection in _heard(poll, connections, due):
                taken.append(1e3 * (time.perf_counter() - connection.begun))
                free.append(connection)
        return Load(taken, time.perf_counter() - start)


def _heard(poll: select.epoll, connections: Mapping[int, _Connection], until: float) -> Iterator[_Connection]:
    """Those whose answer came; it waits for the first one, but not beyond `until`. Raises `WrongAnswers`."""
    rest = until - time.perf_counter() - _SPIN_SECONDS
    for number, _ in poll.poll(max(rest, 0)):
        if connections[number].hears_all():
            yield connections[number]
    if rest < -_TIMEOUT_SECONDS:
        raise WrongAnswers(f"nothing came for {_TIMEOUT_SECONDS} seconds")


@contextmanager
def _connected(opening: Open, whole: Whole, count: int) -> Iterator[tuple[select.epoll, dict[int, _Connection]]]:
    """Connections, and what waits for them, while nothing else disturbs the one who measures."""
    with ExitStack() as stack, select.epoll() as poll:
        connections = {}
        for number in range(count):
            opened = stack.enter_context(opening(number))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.settimeout(_TIMEOUT_SECONDS)
            connections[opened.fileno()] = _Connection(number, opened, whole)
            poll.register(opened, select.EPOLLIN)
        stack.enter_context(on_the_generators_core())
        gc.disable()
        stack.callback(gc.enable)
        yield poll, connections
