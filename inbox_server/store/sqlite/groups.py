"""Jobs in groups: all waiting jobs go to the database's thread together, and are answered when all are done.

A hop to the thread and back costs more than most jobs, and an fsync more than all of them. So jobs that arrive while
a group runs wait and form the next one: the busier the server, the larger the groups.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self, TypeVar, cast

from inbox_server.errors import Unavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
"""A unit of work. It runs in one piece on the connection's thread, so no other task's statements come in between."""


class Kind(Protocol):
    """A kind of work of which many are done faster together."""

    def alone(self, db: sqlite3.Connection, asked: Any) -> Any:
        """Do one."""

    def together(self, db: sqlite3.Connection, asked: Sequence[Any]) -> Sequence[Any | None]:
        """Do what can be done so, and return its outcomes. None for the others, of which nothing was done."""


@dataclass(frozen=True, slots=True)
class Part:
    """A unit of work that may be done together with others of its kind that wait next to it."""

    kind: Kind
    asked: Any

    def __call__(self, db: sqlite3.Connection) -> Any:
        return self.kind.alone(db, self.asked)


_GROUP_LIMIT: Final = 512  # a group's answers wait for its slowest job


@dataclass(frozen=True, slots=True)
class Job:
    """A waiting job. It changes `inbox`, if any.

    `erases` means that its old bytes must leave the files soon, and without `settles` it does not change the policy.
    """

    work: Work[Any]
    inbox: bytes | None
    erases: bool
    settles: bool
    answer: asyncio.Future[Any]


class Groups:
    """Hands groups of jobs, in order of arrival, to `run_group`, one group at a time.

    `run_group` returns the outcome of each job: what its work returned, or the exception that it raised. `answered` is
    called with the same two lists once all jobs have their answers, also those whose callers went away.
    """

    def __init__(
        self,
        run_group: Callable[[list[Job]], Awaitable[list[Any]]],
        answered: Callable[[list[Job], list[Any]], None] = lambda _jobs, _outcomes: None,
    ) -> None:
        self._run_group = run_group
        self._answered = answered
        self._waiting: list[Job] = []
        self._arrived = asyncio.Event()
        self._closing = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run_groups())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish what waits, then stop."""
        self._closing = True
        self._arrived.set()
        await self._task

    def __len__(self) -> int:
        """How many jobs wait."""
        return len(self._waiting)

    async def run(self, work: Work[T], *, inbox: bytes | None = None, erases: bool = False, settles: bool = True) -> T:
        """What `work` returns or raises. A caller that is cancelled does not cancel the work."""
        if self._closing:
            raise Unavailable("stopping", "The server is stopping.", retry_after=5)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(Job(work, inbox, erases, settles, answer))
        self._arrived.set()
        return cast("T", await answer)

    async def _run_groups(self) -> None:
        while self._waiting or not self._closing:
            await self._arrived.wait()
            group, self._waiting = self._waiting[:_GROUP_LIMIT], self._waiting[_GROUP_LIMIT:]
            if not self._waiting and not self._closing:
                self._arrived.clear()
            if group:
                await self._answer(group)

    async def _answer(self, group: list[Job]) -> None:
        try:
            outcomes = await self._run_group(group)
        except Exception as error:  # noqa: BLE001 — the loop must survive any failure of a group
            outcomes = [error] * len(group)
        for job, outcome in zip(group, outcomes, strict=True):
            if job.answer.done():  # its caller went away; the work is done all the same
                continue
            if isinstance(outcome, Exception):
                job.answer.set_exception(outcome)
            else:
                job.answer.set_result(outcome)
        self._answered(group, outcomes)
