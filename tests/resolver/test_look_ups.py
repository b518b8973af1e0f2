"""Remembered look-ups: one flight that no caller can cancel for the others, and a bounded memory."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from inbox_server.errors import Refused, Unavailable
from inbox_server.identity.keys import PublicKey
from inbox_server.metrics import Metrics
from inbox_server.resolver.cache import FAILURE_SECONDS, FRESH_SECONDS, NOT_FOUND_SECONDS, CachedResolver
from inbox_server.resolver.contract import unavailable, unproven
from tests.conftest import APP, HandClock

MOST = 10_000
Ask = Callable[..., Awaitable[str]]


class Upstream:
    """The chain, as a resolver: counted, held back, and failing when a test says so."""

    def __init__(self) -> None:
        self.asked = 0
        self.failure: Exception | None = None
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def address(self, name: str, app: str, *, fresh: bool = False) -> str:
        self.asked += 1
        self.begun.set()
        await self.gate.wait()
        if self.failure:
            raise self.failure
        return f"answer {self.asked}"

    async def key(self, name: str, app: str, *, fresh: bool = False) -> PublicKey:
        raise AssertionError("nobody asks for a key here")


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.gate.set()


@pytest.fixture
def ask(upstream: Upstream, clock: HandClock) -> Ask:
    """Ask for a name's address; so much time passes in between that no budget is ever spent."""
    moments = itertools.count(0.0, 1000.0)
    resolver = CachedResolver(upstream, clock, Metrics().looked_up, monotonic=lambda: next(moments))

    async def ask(name: str = "alice.id", *, fresh: bool = False) -> str:
        return await resolver.address(name, APP, fresh=fresh)

    return ask


async def test_a_caller_who_leaves_does_not_end_the_look_up_for_the_others(ask: Ask, upstream: Upstream) -> None:
    upstream.gate.clear()
    callers = [asyncio.ensure_future(ask()) for _ in range(5)]
    await upstream.begun.wait()
    for leaving in callers[:2]:
        leaving.cancel()
    await asyncio.sleep(0)
    upstream.gate.set()
    assert await asyncio.gather(*callers[2:]) == ["answer 1"] * 3
    assert all(leaving.cancelled() for leaving in callers[:2])
    assert upstream.asked == 1


async def test_a_look_up_that_everybody_left_is_still_remembered(ask: Ask, upstream: Upstream) -> None:
    upstream.gate.clear()
    leaving = asyncio.ensure_future(ask())
    await upstream.begun.wait()
    leaving.cancel()
    await asyncio.wait([leaving])
    upstream.gate.set()
    assert await ask() == "answer 1"
    assert upstream.asked == 1


async def test_a_failed_look_up_that_everybody_left_disturbs_nobody(ask: Ask, upstream: Upstream) -> None:
    upstream.gate.clear()
    upstream.failure = unavailable()
    leaving = asyncio.ensure_future(ask())
    await upstream.begun.wait()
    leaving.cancel()
    await asyncio.wait([leaving])
    upstream.gate.set()
    with pytest.raises(Unavailable):
        await ask()


async def test_names_are_remembered_for_each_app(ask: Ask, upstream: Upstream) -> None:
    assert [await ask(name) for name in ("alice.id", "bob.id", "alice.id")] == ["answer 1", "answer 2", "answer 1"]


@pytest.mark.parametrize(
    ("failure", "seconds"), [(unproven("No such name."), NOT_FOUND_SECONDS), (unavailable(), FAILURE_SECONDS)]
)
async def test_a_refusal_is_remembered_and_raised_anew_each_time(
    ask: Ask, upstream: Upstream, clock: HandClock, failure: Refused, seconds: int
) -> None:
    upstream.failure = failure
    raised = []
    for _ in range(3):
        with pytest.raises(type(failure)) as caught:
            await ask()
        raised.append(caught.value)
    assert upstream.asked == 1
    assert len({id(each) for each in raised}) == 3  # one that is shared would keep its callers' frames alive
    assert {(each.code, each.detail, each.retry_after) for each in raised} == {
        (failure.code, failure.detail, failure.retry_after)
    }
    upstream.failure = None
    clock.advance(seconds)
    assert await ask() == "answer 2"


async def test_what_is_remembered_is_bounded_and_the_latest_used_stay(
    ask: Ask, upstream: Upstream, clock: HandClock
) -> None:
    for number in range(MOST):
        await ask(f"{number}.id")
    await ask("0.id")  # used again, so that it is not the oldest
    await ask("one-more.id")
    asked = upstream.asked
    assert asked == MOST + 1
    await ask("0.id")
    await ask(f"{MOST - 1}.id")
    assert upstream.asked == asked
    await ask("1.id")
    assert upstream.asked == asked + 1


async def test_a_bug_in_a_look_up_is_not_remembered(ask: Ask, upstream: Upstream) -> None:
    upstream.failure = LookupError("a bug")
    with pytest.raises(LookupError):
        await ask()
    upstream.failure = None
    assert await ask() == "answer 2"


async def test_an_answer_is_fresh_for_ten_minutes(ask: Ask, upstream: Upstream, clock: HandClock) -> None:
    await ask()
    clock.advance(FRESH_SECONDS - 1)
    assert await ask() == "answer 1"
    clock.advance(1)
    assert await ask() == "answer 2"
