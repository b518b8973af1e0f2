"""Jobs in groups: so many at a time, and each job has its own outcome."""

import asyncio
from collections.abc import Sequence

from inbox_server.store.groups import Groups


async def test_so_many_groups_run_at_once_and_the_rest_wait() -> None:
    begun, ends = list[list[int]](), asyncio.Semaphore(0)
    changed = asyncio.Event()

    async def double(jobs: list[int]) -> Sequence[int]:
        begun.append(jobs)
        changed.set()
        await ends.acquire()
        return [2 * job for job in jobs]

    async def wait_for(count: int) -> None:
        while len(begun) < count:
            changed.clear()
            await changed.wait()

    async with Groups[int](double, most=2, at_once=2) as groups:
        asked = [asyncio.create_task(groups.run(job)) for job in range(7)]
        await wait_for(2)
        assert (begun, len(groups)) == ([[0, 1], [2, 3]], 3)
        ends.release()
        await wait_for(3)
        assert (begun[2], len(groups)) == ([4, 5], 1)
        for _ in range(3):
            ends.release()
    assert [task.result() for task in asked] == [2 * job for job in range(7)]  # whoever closes it waits for all


async def test_those_that_are_idle_share_what_waits() -> None:
    begun = list[list[int]]()
    all_begun = asyncio.Event()

    async def give_back(jobs: list[int]) -> Sequence[int]:
        begun.append(jobs)
        if len(begun) == 3:
            all_begun.set()
        await all_begun.wait()
        return jobs

    async with Groups[int](give_back, most=5, at_once=3) as groups:
        asked = [asyncio.create_task(groups.run(job)) for job in range(7)]
        assert await asyncio.gather(*asked) == list(range(7))
    assert begun == [[0, 1, 2], [3, 4], [5, 6]]
