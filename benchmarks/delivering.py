"""Runs of deliveries, compared with what the server has: what is answered is stored, and stored once."""

from collections.abc import Callable

from benchmarks.servers import Server
from benchmarks.signing import Requests
from benchmarks.wrk import Run, WrongAnswers, run_wrk


class Delivering:
    """All runs of deliveries to one server, which gets no others meanwhile. `count` tells how many it has stored."""

    def __init__(self, server: Server, count: Callable[[], int], *, connections: int) -> None:
        self.server = server
        self._count = count
        self._connections = connections
        self._before = count()
        self._answered = 0
        self._unanswered = 0  # at most: wrk ends a run without waiting for the last answer on each connection

    def run(self, requests: Requests, *, seconds: int, skip: int = 0) -> Run:
        """Requests that were never sent before. Raises `WrongAnswers` unless each that was answered is stored once."""
        run = run_wrk(self.server, requests, connections=self._connections, seconds=seconds, skip=skip)
        self._answered += run.answered
        self._unanswered += self._connections
        added = self._count() - self._before
        if not self._answered <= added <= self._answered + self._unanswered:
            raise WrongAnswers(f"{self._answered} deliveries were answered, {added} are stored")
        return run
