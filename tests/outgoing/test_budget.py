"""Budgets and breakers, with a clock moved by hand, and the breaker as the fetcher uses it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.outgoing.budget import Budget, Hosts
from inbox_server.outgoing.fetch import Absent, Fetcher, Unreachable, open_fetcher
from tests.support.canary import HandMonotonic, answering, run_fast

FAILURES = 5  # in a row, before a host rests
PAUSES = (30, 60, 120, 240, 300, 300)
MAX_HOSTS = 1000


@pytest.fixture
def monotonic() -> HandMonotonic:
    return HandMonotonic()


async def spent(budget: Budget, times: int) -> list[bool]:
    return [await budget.spend() for _ in range(times)]


async def test_a_burst_is_let_through_and_no_more(monotonic: HandMonotonic) -> None:
    budget = Budget(1, 5, max_wait_seconds=0, monotonic=monotonic)
    assert await spent(budget, 7) == [True] * 5 + [False] * 2


async def test_a_budget_fills_with_time_and_not_above_its_burst(monotonic: HandMonotonic) -> None:
    budget = Budget(2, 5, max_wait_seconds=0, monotonic=monotonic)
    await spent(budget, 5)
    monotonic.advance(1.5)
    assert await spent(budget, 4) == [True] * 3 + [False]
    monotonic.advance(1_000_000)
    assert await spent(budget, 6) == [True] * 5 + [False]


async def test_who_is_refused_spends_nothing(monotonic: HandMonotonic) -> None:
    budget = Budget(1, 1, max_wait_seconds=0, monotonic=monotonic)
    assert await spent(budget, 1000) == [True] + [False] * 999
    monotonic.advance(1)
    assert await budget.spend()


async def test_those_who_wait_have_reserved_and_the_rest_is_refused_at_once(monotonic: HandMonotonic) -> None:
    budget = Budget(1000, 10, max_wait_seconds=0.0055, monotonic=monotonic)
    assert await asyncio.gather(*(budget.spend() for _ in range(20))) == [True] * 15 + [False] * 5
    monotonic.advance(0.005)  # what was reserved is paid for
    assert await asyncio.gather(*(budget.spend() for _ in range(10))) == [True] * 5 + [False] * 5


def test_a_caller_waits_as_long_as_its_turn_takes() -> None:
    async def waits() -> list[float]:
        loop = asyncio.get_running_loop()
        budget = Budget(1, 1, max_wait_seconds=3, monotonic=loop.time)
        began = loop.time()
        ends = []

        async def spend() -> None:
            assert await budget.spend()
            ends.append(loop.time() - began)

        await asyncio.gather(*(spend() for _ in range(4)))
        return ends

    assert run_fast(waits()) == pytest.approx([0, 1, 2, 3], abs=0.5)


@given(st.lists(st.floats(0, 3), max_size=60))
def test_never_more_is_spent_than_the_burst_and_the_rate(pauses: list[float]) -> None:
    async def spend_all() -> None:
        monotonic = HandMonotonic()
        budget = Budget(2, 5, max_wait_seconds=0, monotonic=monotonic)
        began, count = monotonic.now, 0
        for pause in pauses:
            monotonic.advance(pause)
            count += sum(await spent(budget, 4))
            assert count <= 5 + 2 * (monotonic.now - began) + 1e-6

    asyncio.run(spend_all())


def hosts_of(monotonic: HandMonotonic) -> Hosts:
    return Hosts(1.0, 10, monotonic=monotonic)


def fail(hosts: Hosts, host: str, times: int) -> None:
    for _ in range(times):
        hosts.failed(host)


async def test_each_host_has_a_rate_of_its_own(monotonic: HandMonotonic) -> None:
    hosts = Hosts(0.5, 3, monotonic=monotonic)  # a wait of two seconds is too long, so nothing here sleeps
    assert [await hosts.may_ask("a") for _ in range(4)] == [True] * 3 + [False]
    assert [await hosts.may_ask("b") for _ in range(4)] == [True] * 3 + [False]
    monotonic.advance(2)
    assert [await hosts.may_ask("a") for _ in range(2)] == [True, False]


async def test_a_host_rests_after_five_failures_in_a_row(monotonic: HandMonotonic) -> None:
    hosts = hosts_of(monotonic)
    fail(hosts, "a", FAILURES - 1)
    assert await hosts.may_ask("a")
    fail(hosts, "a", 1)
    assert not await hosts.may_ask("a")
    assert await hosts.may_ask("b")
    monotonic.advance(PAUSES[0] - 0.01)
    assert not await hosts.may_ask("a")
    monotonic.advance(0.01)
    assert await hosts.may_ask("a")


async def test_an_answer_between_failures_starts_the_count_anew(monotonic: HandMonotonic) -> None:
    hosts = hosts_of(monotonic)
    for _ in range(10):
        fail(hosts, "a", FAILURES - 1)
        hosts.answered("a")
    assert await hosts.may_ask("a")


async def test_one_more_failure_after_a_rest_is_a_longer_rest(monotonic: HandMonotonic) -> None:
    hosts = hosts_of(monotonic)
    fail(hosts, "a", FAILURES)
    for pause in PAUSES:
        monotonic.advance(pause - 0.01)
        assert not await hosts.may_ask("a"), pause
        monotonic.advance(0.02)
        assert await hosts.may_ask("a"), pause
        fail(hosts, "a", 1)


async def test_an_answer_after_a_rest_closes_the_breaker(monotonic: HandMonotonic) -> None:
    hosts = hosts_of(monotonic)
    fail(hosts, "a", FAILURES)
    monotonic.advance(PAUSES[0])
    hosts.answered("a")
    fail(hosts, "a", FAILURES - 1)
    assert await hosts.may_ask("a")
    fail(hosts, "a", 1)
    monotonic.advance(PAUSES[0])
    assert await hosts.may_ask("a")  # the short rest again


async def test_failures_of_what_was_under_way_do_not_lengthen_the_rest(monotonic: HandMonotonic) -> None:
    """Thirty requests are out when a host stumbles. That is one stumble, not twenty-six rests in vain."""
    hosts = hosts_of(monotonic)
    fail(hosts, "a", 30)
    monotonic.advance(PAUSES[0])
    assert await hosts.may_ask("a")


async def test_what_is_known_of_hosts_is_bounded_and_the_latest_stay(monotonic: HandMonotonic) -> None:
    hosts = hosts_of(monotonic)
    fail(hosts, "first", FAILURES)
    fail(hosts, "kept", FAILURES)
    for number in range(MAX_HOSTS - 1):
        hosts.answered(f"host{number}")
        assert not await hosts.may_ask("kept")
    assert await hosts.may_ask("first")  # pushed out, and thereby forgotten
    assert not await hosts.may_ask("kept")


class Host:
    """Somebody's server, which answers by the path, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def origin(self) -> str:
        return self.url("")

    async def answer(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        path = head.split(b" ")[1].decode()
        self.asked.append(path)
        kinds = {
            "/fails": b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n",
            "/absent": b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n",
            "/refuses": b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n",
            "/large": b"HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000,
            "/encoded": b"HTTP/1.1 200 X\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
            "/astray": b"HTTP/1.1 302 X\r\nLocation: http://127.0.0.2/\r\nContent-Length: 0\r\n\r\n",
            "/broken": b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nx",
            "/silent": b"",
        }
        writer.write(kinds.get(path, b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nok"))


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    async with answering(host.answer) as host.port:
        yield host


async def ask(fetcher: Fetcher, url: str, times: int, *, configured: bool = False) -> None:
    for _ in range(times):
        with contextlib.suppress(Absent, Unreachable):
            await fetcher.get(url, max_bytes=1000, redirects=1, configured=configured)


@pytest.mark.parametrize("path", ["/fails", "/broken", "/silent"])
async def test_a_host_that_fails_is_left_alone_for_a_while(host: Host, monotonic: HandMonotonic, path: str) -> None:
    async with open_fetcher(allow=frozenset({host.origin}), monotonic=monotonic) as fetcher:
        await ask(fetcher, host.url(path), 3 * FAILURES)
        # aiohttp repeats a GET by itself, once, when the connection is closed on it without an answer
        assert len(host.asked) == (2 * FAILURES if path == "/silent" else FAILURES)
        with pytest.raises(Unreachable):
            await fetcher.get(host.url("/fine"), max_bytes=1000)
        monotonic.advance(PAUSES[0])
        assert await fetcher.get(host.url("/fine"), max_bytes=1000) == b"ok"


@pytest.mark.parametrize("path", ["/absent", "/refuses", "/large", "/encoded", "/astray"])
async def test_a_host_that_answers_is_not_left_alone_whatever_it_says(
    host: Host, monotonic: HandMonotonic, path: str
) -> None:
    async with open_fetcher(allow=frozenset({host.origin}), monotonic=monotonic) as fetcher:
        await ask(fetcher, host.url(path), 3 * FAILURES)
        assert len(host.asked) == 3 * FAILURES
        assert await fetcher.get(host.url("/fine"), max_bytes=1000) == b"ok"


async def test_a_host_that_is_not_there_is_not_dialled_again_and_again(monotonic: HandMonotonic) -> None:
    accepted = []
    dead = Host()
    async with answering(dead.answer) as dead.port:
        pass
    async with open_fetcher(allow=frozenset({dead.origin}), monotonic=monotonic) as fetcher:
        await ask(fetcher, dead.url("/"), FAILURES)
        async with answering(dead.answer, port=dead.port, connected=lambda: accepted.append(1)):
            await ask(fetcher, dead.url("/"), 3)
            assert accepted == []
            monotonic.advance(PAUSES[0])
            assert await fetcher.get(dead.url("/"), max_bytes=1000) == b"ok"


async def test_what_strangers_make_fail_at_a_configured_service_does_not_close_it(
    host: Host, monotonic: HandMonotonic
) -> None:
    """A zone file may name any URL, also one of the name service's own origin that is known to fail."""
    async with open_fetcher(allow=frozenset({host.origin}), monotonic=monotonic) as fetcher:
        await ask(fetcher, host.url("/fails"), 2 * FAILURES)
        assert await fetcher.get(host.url("/v1/names/alice.id"), max_bytes=1000, configured=True) == b"ok"


async def test_strangers_urls_do_not_spend_the_rate_of_a_configured_service(
    host: Host, monotonic: HandMonotonic
) -> None:
    async with open_fetcher(allow=frozenset({host.origin}), monotonic=monotonic) as fetcher:
        await asyncio.gather(*(ask(fetcher, host.url("/absent"), 1) for _ in range(200)))
        assert await fetcher.get(host.url("/v1/names/alice.id"), max_bytes=1000, configured=True) == b"ok"


def test_a_slow_host_that_redirects_does_not_make_another_one_rest() -> None:
    """The time is over while the second host is asked, but it was the first one that took it."""

    async def ask_through_the_slow_host() -> None:
        host = Host()

        async def delay(head: bytes, writer: asyncio.StreamWriter) -> None:
            if b"/once" in head:
                await asyncio.sleep(3.9)
                writer.write(b"HTTP/1.1 302 X\r\nLocation: /twice\r\nContent-Length: 0\r\n\r\n")
            else:
                await asyncio.sleep(3.6)
                location = host.url("/in-a-second")
                writer.write(f"HTTP/1.1 302 X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())

        async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
            if b"/in-a-second" in head:
                await asyncio.sleep(1)
            await host.answer(head, writer)

        async with answering(delay) as slow_port, answering(answer) as host.port:
            slow = f"http://127.0.0.1:{slow_port}"
            async with open_fetcher(allow=frozenset({slow, host.origin})) as fetcher:

                async def get() -> None:
                    with pytest.raises(Unreachable):
                        await fetcher.get(f"{slow}/once", max_bytes=1000, redirects=2)

                await asyncio.gather(*(get() for _ in range(FAILURES)))
                assert len(host.asked) == 0  # none got its answer in time
                assert await fetcher.get(host.url("/fine"), max_bytes=1000) == b"ok"

    run_fast(ask_through_the_slow_host())


async def test_a_refused_address_is_not_held_against_its_host(monotonic: HandMonotonic) -> None:
    """Names move. What the guard refused says nothing about whether the host answers."""
    asked = []

    def guard(address: str, port: int) -> bool:
        asked.append(address)
        return False

    async with open_fetcher(allow=frozenset(), guard=guard, monotonic=monotonic) as fetcher:
        await ask(fetcher, "https://127.0.0.0x2/", 2 * FAILURES)
    assert len(asked) in (0, 2 * FAILURES)  # 0 when the text alone is refused
