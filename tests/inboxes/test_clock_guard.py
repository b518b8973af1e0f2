"""A clock that jumps while the one that only runs forward does not, and a server that was down: nothing is lost."""

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from inbox_server.clock import DAY_SECONDS, end_of_day
from inbox_server.clock_guard import FORWARD_SECONDS, HOLD_SECONDS
from inbox_server.config.config import Tcp
from inbox_server.http.admin import make_admin_app
from inbox_server.http.app_keys import CLOCK_GUARD, METRICS
from inbox_server.http.listening import listening
from inbox_server.inboxes.sweeping import sweep_once
from inbox_server.store.contract import PROLONGED_SECONDS
from tests.conftest import HandClock
from tests.support.edges import LiveServer, serving
from tests.support.requests import Caller, at, check_problem, new_key

HOUR_SECONDS = 3600
MONTHS = 60 * DAY_SECONDS


@dataclass(slots=True)
class Times:
    """A machine's two clocks."""

    clock: HandClock = field(default_factory=HandClock)
    monotonic: float = 0.0

    def pass_by(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.monotonic += seconds

    def jump(self, seconds: int) -> None:
        self.clock.advance(seconds)


@pytest.fixture
def times() -> Times:
    return Times()


Serve = Callable[[], AbstractAsyncContextManager[LiveServer]]


@pytest.fixture
def serve(tmp_path: Path, times: Times) -> Serve:
    """The server, each time on the same data."""
    return lambda: serving(tmp_path, clock=times.clock, monotonic=lambda: times.monotonic)


async def claimed(server: LiveServer, times: Times) -> Caller:
    owner = Caller(server.session, server.url, new_key(), times.clock)
    assert (await owner.claim({"accept": "anyone"})).status == 201
    return owner


async def deliver(owner: Caller, text: str, ttl: int = 30 * DAY_SECONDS) -> int:
    return (await at(owner).deliver(text, recipient=owner.key.address, ttl=ttl)).status


def reached(owner: Caller, server: LiveServer) -> Caller:
    """The same owner at the server that was started again."""
    return replace(owner, session=server.session, url=server.url)


async def sweep(server: LiveServer) -> None:
    await sweep_once(server.store, server.app[CLOCK_GUARD])


async def test_a_jump_forward_that_is_taken_back_loses_nothing(serve: Serve, times: Times) -> None:
    async with serve() as server:
        owner = await claimed(server, times)
        assert await deliver(owner, "long") == 201
        assert await deliver(owner, "short", 2 * HOUR_SECONDS) == 201
        times.jump(MONTHS)
        times.pass_by(4)
        await sweep(server)
        assert await owner.texts() == ["long", "short"]
        times.jump(-MONTHS)
        await sweep(server)
        assert await owner.texts() == ["long", "short"]
        assert await deliver(owner, "later") == 201


@pytest.mark.parametrize("jump", [FORWARD_SECONDS + 1, MONTHS, -DAY_SECONDS])
async def test_after_a_jump_nothing_is_dated_until_it_has_held(
    serve: Serve, times: Times, jump: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve() as server:
        owner = await claimed(server, times)
        times.jump(jump)
        for _ in range(2):
            answer = await at(owner).deliver("one", recipient=owner.key.address)
            assert check_problem(answer, "clock_jumped")["status"] == 503
            await sweep(server)
            times.pass_by(HOLD_SECONDS // 2 - 1)
        assert len([each for each in caplog.messages if each.startswith("clock jumped")]) == 1
        times.pass_by(2)
        await sweep(server)
        assert await deliver(owner, "one") == 201
        assert ("inbox_server.clock_guard", logging.WARNING, "clock is believed again") in caplog.record_tuples


@pytest.mark.parametrize("jump", [FORWARD_SECONDS, -60])
async def test_a_correction_is_no_jump(serve: Serve, times: Times, jump: int) -> None:
    async with serve() as server:
        owner = await claimed(server, times)
        for text in ("one", "two"):
            times.jump(jump)
            assert await deliver(owner, text) == 201


async def test_a_clock_that_jumps_again_and_again_is_not_believed(serve: Serve, times: Times) -> None:
    async with serve() as server:
        owner = await claimed(server, times)
        for _ in range(5):
            times.jump(MONTHS)
            times.pass_by(HOLD_SECONDS - 1)
            await sweep(server)
            check_problem(await at(owner).deliver("one", recipient=owner.key.address), "clock_jumped")


async def test_the_operator_may_say_that_the_clock_is_right(serve: Serve, times: Times) -> None:
    async with serve() as server:
        owner = await claimed(server, times)
        times.jump(DAY_SECONDS)
        await sweep(server)
        server.app[CLOCK_GUARD].trust()
        await sweep(server)
        assert await deliver(owner, "one") == 201


async def test_readiness_tells_of_a_jump(serve: Serve, times: Times) -> None:
    async with serve() as server:
        admin_app = make_admin_app(server.store, server.app[METRICS], server.app[CLOCK_GUARD])
        async with listening(admin_app, Tcp("127.0.0.1", 0)) as (url,):
            admin = Caller(server.session, url, new_key(), times.clock)
            assert (await admin.send("GET", "/ready")).status == 200
            times.jump(MONTHS)
            assert (
                "jumped 5184000 seconds" in check_problem(await admin.send("GET", "/ready"), "clock_jumped")["detail"]
            )


async def test_what_lapsed_while_the_server_was_down_is_listed_for_some_days(serve: Serve, times: Times) -> None:
    async with serve() as server:
        owner = await claimed(server, times)
        assert await deliver(owner, "lapsed before", DAY_SECONDS) == 201
        times.pass_by(3 * DAY_SECONDS)
        for text, ttl in (("a day", DAY_SECONDS), ("a signal", 2 * HOUR_SECONDS), ("a month", 30 * DAY_SECONDS)):
            assert await deliver(owner, text, ttl) == 201
        await sweep(server)
        cursor = (await owner.unread()).json()["cursor"]
    times.pass_by(10 * DAY_SECONDS)
    async with serve() as server:
        owner = reached(owner, server)
        times.pass_by(HOLD_SECONDS)
        await sweep(server)
        until = end_of_day(times.clock()) + PROLONGED_SECONDS
        news = (await owner.unread(after=cursor)).json()["messages"]  # whoever knew it drops it no more
        assert [(each["message_id"], each["expires"]) for each in news] == [("a day", until)]
        assert await owner.texts() == ["a month", "a day"]
        times.pass_by(until - times.clock() - 1)
        assert await owner.texts() == ["a month", "a day"]
        times.pass_by(1)
        await sweep(server)
        assert (await owner.settings()).json()["unread"] == 1


async def test_a_short_stop_over_the_end_of_a_day_is_an_outage_too(serve: Serve, times: Times) -> None:
    async with serve() as server:
        owner = await claimed(server, times)
        assert await deliver(owner, "a day", DAY_SECONDS) == 201
        times.pass_by(end_of_day(times.clock()) + DAY_SECONDS - times.clock() - 1)
        await sweep(server)
    times.pass_by(60)
    async with serve() as server:
        owner = reached(owner, server)
        assert await owner.texts() == ["a day"]
        assert await deliver(owner, "new") == 201


async def test_a_start_by_a_clock_that_is_ahead_drops_nothing(serve: Serve, times: Times) -> None:
    async with serve() as server:
        owner = await claimed(server, times)
        assert await deliver(owner, "one", 2 * HOUR_SECONDS) == 201
    times.jump(MONTHS)
    async with serve() as server:
        owner = reached(owner, server)
        assert await owner.texts() == ["one"]
        times.jump(-MONTHS)
        await sweep(server)
        assert await owner.texts() == ["one"]


async def test_a_start_by_a_clock_that_is_behind_dates_nothing_until_it_is_put_right(
    serve: Serve, times: Times
) -> None:
    async with serve() as server:
        owner = await claimed(server, times)
    times.jump(-1_700_000_000)  # no battery
    async with serve() as server:
        owner = reached(owner, server)
        check_problem(await at(owner).deliver("one", recipient=owner.key.address), "clock_jumped")
        times.jump(1_700_000_060)
        assert await deliver(owner, "one") == 201
