"""Jobs in groups: all waiting jobs are done together, and are answered when all are done.

A way to the database and back costs more than most jobs, and a commit more than all of them. So jobs that arrive while
a group runs wait and form the next one: the busier the server, the larger the groups.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, Self, TypeVar

from inbox_server.errors import Unavailable

J = TypeVar("J")


class Groups(Generic[J]):
    """Hands groups of at most `most` jobs, in order of arrival, to `run_group`, so many `at_once`.

    Those of the `at_once` that are idle share what waits evenly: a disk reads for several groups at the same time.
    A group's answers wait for its slowest job. `run_group` returns the outcome of each job: what it came to, or the
    exception that it raised. `answered` is called with the same two lists once all jobs have their answers, also those
    whose callers went away.
    """

    def __init__(
        self,
        run_group: Callable[[list[J]], Awaitable[Sequence[Any]]],
        answered: Callable[[Sequence[J], Sequence[Any]], None] = lambda _jobs, _outcomes: None,
        *,
        most: int,
        at_once: int = 1,
    ) -> None:
        self._run_group = run_group
        self._answered = answered
        self._most = most
        self._at_once = self._idle = at_once
        self._waiting: list[tuple[J, asyncio.Future[Any]]] = []
        self._arrived = asyncio.Event()
        self._closing = False

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._run_groups()) for _ in range(self._at_once)]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish what waits, then stop."""
        self._closing = True
        self._arrived.set()
        await asyncio.gather(*self._tasks)

    def __len__(self) -> int:
        """How many jobs wait."""
        return len(self._waiting)

    async def run(self, job: J) -> Any:
        """What the job comes to, or raises. A caller that is cancelled does not cancel the job."""
        if self._closing:
            raise Unavailable("stopping", "The server is stopping.", retry_after=5)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, answer))
        self._arrived.set()
        return await answer

    async def _run_groups(self) -> None:
        while self._waiting or not self._closing:
            await self._arrived.wait()
            most = min(self._most, -(-len(self._waiting) // self._idle))
            group, self._waiting = self._waiting[:most], self._waiting[most:]
            if not self._waiting and not self._closing:
                self._arrived.clear()
            if group:
                self._idle -= 1
                await self._answer(group)
                self._idle += 1

    async def _answer(self, group: list[tuple[J, asyncio.Future[Any]]]) -> None:
        jobs = [job for job, _ in group]
        outcomes: Sequence[Any]
        try:
            outcomes = await self._run_group(jobs)
        except Exception as error:  # noqa: BLE001 — the loop must survive any failure of a group
            outcomes = [error] * len(jobs)
        for (_, answer), outcome in zip(group, outcomes, strict=True):
            if answer.done():  # its caller went away; the work is done all the same
                continue
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)
        self._answered(jobs, outcomes)
