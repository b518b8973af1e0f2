"""What the server processes of a host count together: limits by the hour, new inboxes, deleted ones."""

import multiprocessing
import secrets
from collections.abc import Callable
from multiprocessing.queues import Queue

import pytest

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.inboxes.forgotten import Forgotten
from inbox_server.inboxes.on_host import OnHost
from inbox_server.inboxes.opened import Opened
from inbox_server.inboxes.rate_limits import HOUR_SECONDS, HourlyCounts, RateLimits
from tests.conftest import HandClock

PROCESSES = 3
MOST = 60
INBOX = b"an inbox's hash."


@pytest.fixture
def clock() -> HandClock:
    """At the start of an hour."""
    clock = HandClock()
    clock.advance(-clock() % HOUR_SECONDS)
    return clock


def is_taken(rates: RateLimits, what: bytes = b"alice", most: int = MOST) -> bool:
    try:
        rates.check(("sender", what, most))
    except Refused:
        return False
    return True


def all_of(clock: Callable[[], UnixTime], shared: HourlyCounts) -> list[RateLimits]:
    return [RateLimits(clock, secrets.token_bytes, shared, process) for process in range(PROCESSES)]


def test_a_limit_holds_for_all_processes_together(clock: HandClock) -> None:
    processes = all_of(clock, HourlyCounts(PROCESSES))
    assert sum(is_taken(processes[number % PROCESSES]) for number in range(3 * MOST)) == MOST
    assert is_taken(processes[0], b"bob")


def test_the_hour_before_counts_for_all_processes_together(clock: HandClock) -> None:
    processes = all_of(clock, HourlyCounts(PROCESSES))
    clock.advance(HOUR_SECONDS - 1)
    assert sum(is_taken(processes[number % PROCESSES]) for number in range(3 * MOST)) == MOST
    clock.advance(1 + HOUR_SECONDS // 2)
    assert sum(is_taken(processes[number % PROCESSES]) for number in range(3 * MOST)) == MOST // 2


def test_a_process_that_is_a_moment_behind_at_the_turn_of_the_hour_disturbs_nobody(clock: HandClock) -> None:
    shared, behind = HourlyCounts(PROCESSES), HandClock()
    behind.advance(clock() - behind())
    first, late = RateLimits(clock, secrets.token_bytes, shared), RateLimits(behind, secrets.token_bytes, shared, 1)
    clock.advance(HOUR_SECONDS)
    for _ in range(MOST // 2):
        assert is_taken(first)
        assert is_taken(late)  # still in the hour before
    behind.advance(HOUR_SECONDS)
    assert not is_taken(first)
    assert not is_taken(late)


def test_a_process_that_is_started_again_goes_on_with_what_it_had_counted(clock: HandClock) -> None:
    shared = HourlyCounts(PROCESSES)
    for _ in range(MOST):
        assert is_taken(RateLimits(clock, secrets.token_bytes, shared, 1))
    assert not is_taken(RateLimits(clock, secrets.token_bytes, shared, 1))


def test_one_salt_is_made_for_an_hour_by_whichever_process_comes_first(clock: HandClock) -> None:
    given: list[bytes] = []

    def random_bytes(size: int) -> bytes:
        given.append(secrets.token_bytes(size))
        return given[-1]

    shared = HourlyCounts(PROCESSES)
    processes = [RateLimits(clock, random_bytes, shared, process) for process in range(PROCESSES)]
    assert len(given) == 2  # this hour and the one before
    clock.advance(HOUR_SECONDS)
    assert all(is_taken(each) for each in processes)
    assert len(given) == 3
    assert [salt in shared.salts[:] for salt in given] == [False, True, True]


def _in_a_process(host: OnHost, process: int, now: UnixTime, taken: "Queue[tuple[int, int]]") -> None:
    host.process = process
    rates = RateLimits(lambda: now, secrets.token_bytes, host.counts, host.process)
    opened = 0
    for _ in range(MOST):
        try:
            with host.opened.opening(now, MOST):
                opened += 1
        except Refused:
            break
    taken.put((sum(is_taken(rates, most=MOST) for _ in range(2 * MOST)), opened))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_real_processes_count_together(clock: HandClock) -> None:
    """Each may let one more through for each other process that counts at the same moment; new inboxes are exact."""
    forking = multiprocessing.get_context("fork")
    host, taken = OnHost(PROCESSES), forking.Queue()
    processes = [forking.Process(target=_in_a_process, args=(host, each, clock(), taken)) for each in range(PROCESSES)]
    for each in processes:
        each.start()
    counts = [taken.get() for _ in processes]
    for each in processes:
        each.join()
    assert MOST <= sum(rates for rates, _ in counts) < MOST + PROCESSES
    assert sum(opened for _, opened in counts) == MOST


def test_what_was_opened_counts_until_its_hour_is_over() -> None:
    opened, now = Opened(), 1_000_000

    def refusal(at: int) -> int | None:
        try:
            with opened.opening(UnixTime(at), 2):
                return None
        except Refused as refused:
            return refused.retry_after

    assert refusal(now) is None
    assert refusal(now + 600) is None
    assert refusal(now + 700) == HOUR_SECONDS - 700
    assert refusal(now + 699) == HOUR_SECONDS - 700  # from a process that is a moment behind
    assert refusal(now + HOUR_SECONDS) is None
    assert refusal(now + HOUR_SECONDS) == 600
    assert refusal(now + 10 * HOUR_SECONDS) is None


def test_what_failed_is_taken_back_even_much_later() -> None:
    opened, now = Opened(), UnixTime(1_000_000)
    late = UnixTime(now + 3 * HOUR_SECONDS)

    def fail(*, after: Callable[[], None]) -> None:
        with opened.opening(now, 1):
            after()
            raise ZeroDivisionError

    def open_one(at: UnixTime) -> None:
        with opened.opening(at, 1):
            pass

    with pytest.raises(ZeroDivisionError):
        fail(after=lambda: None)
    with pytest.raises(ZeroDivisionError):
        fail(after=lambda: open_one(late))
    with pytest.raises(Refused):
        open_one(late)


def test_a_deleted_inbox_is_remembered_as_long_as_old_tokens_are_valid() -> None:
    forgotten, issued = Forgotten(), UnixTime(1_000_000)
    forgotten.note(INBOX, issued)
    with pytest.raises(Refused):
        forgotten.check(INBOX, UnixTime(issued - 1), issued)
    forgotten.check(INBOX, issued, issued)
    forgotten.check(b"another inbox's.", UnixTime(issued - 1), issued)
    forgotten.check(INBOX, UnixTime(issued - 1), UnixTime(issued + HOUR_SECONDS))
