"""The store's contract: whoever writes much waits for the own writes, and others do not."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from inbox_server.errors import Refused
from tests.support.stores import Box

ALICE = b"another inbox..."
MANY = 50
IDS = 100


def acknowledge(box: Box, number: int) -> Coroutine[Any, Any, object]:
    return box.acknowledge(*(f"{number} {index}" for index in range(IDS)))


def settle(box: Box, number: int) -> Coroutine[Any, Any, object]:
    return box.claim(contacts=tuple(b"%16d" % (number + index) for index in range(IDS)))


@pytest.mark.parametrize("write", [acknowledge, settle])
async def test_a_delivery_does_not_wait_for_all_the_long_writes_of_one_owner(
    box: Box, write: Callable[[Box, int], Coroutine[Any, Any, object]]
) -> None:
    other = box.of(ALICE)
    await other.claim()
    await other.deliver("before")  # the first one of its day makes a table, and a connection
    writes = [asyncio.create_task(write(box, number)) for number in range(MANY)]
    await asyncio.sleep(0)  # all of them have asked
    assert (await other.deliver("hello")).new
    assert sum(each.done() for each in writes) <= MANY // 5  # those that were under way
    await asyncio.gather(*writes)


async def test_of_one_owners_writes_only_so_many_may_wait(box: Box) -> None:
    other = box.of(ALICE)
    await other.claim()
    outcomes = asyncio.gather(*(acknowledge(box, number) for number in range(100)), return_exceptions=True)
    await other.acknowledge("hello")
    refused = [outcome for outcome in await outcomes if isinstance(outcome, Refused)]
    assert {(refusal.code, refusal.retry_after) for refusal in refused} == {("too_many", 5)}
    assert (await box.settings()).read == (100 - len(refused)) * IDS
    await acknowledge(box, 0)  # there is room again
