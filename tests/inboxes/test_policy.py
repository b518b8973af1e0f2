"""The owner's policy as a truth table, and how long a delivery is kept."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.clock import DAY_SECONDS, UnixTime, end_of_day
from inbox_server.inboxes.deliver import may_deliver
from inbox_server.inboxes.storing import granted_expiry
from inbox_server.store.contract import Accept, Policy

ACCEPTS: tuple[Accept, ...] = ("names", "anyone", "contacts", "nobody")
BOTH = (False, True)
MIDNIGHT = UnixTime(1_800_057_600)

# accept, by a name, on the contact list: may deliver. For a stranger to the block list, in the inbox's own app.
TABLE: dict[tuple[Accept, bool, bool], bool] = {
    ("names", False, False): False,
    ("names", False, True): False,
    ("names", True, False): True,
    ("names", True, True): True,
    ("anyone", False, False): True,
    ("anyone", False, True): True,
    ("anyone", True, False): True,
    ("anyone", True, True): True,
    ("contacts", False, False): False,
    ("contacts", False, True): True,
    ("contacts", True, False): False,
    ("contacts", True, True): True,
    ("nobody", False, False): False,
    ("nobody", False, True): False,
    ("nobody", True, False): False,
    ("nobody", True, True): False,
}


def policy(accept: Accept, *, contact: bool, blocked: bool) -> Policy:
    return Policy(b"app", accept, 3600, contact=contact, blocked=blocked)


@pytest.mark.parametrize(("accept", "named", "contact"), TABLE)
def test_the_policy_decides_about_strangers(accept: Accept, named: bool, contact: bool) -> None:
    met = policy(accept, contact=contact, blocked=False)
    assert may_deliver(met, same_app=True, named=named, own=False) == TABLE[accept, named, contact]


@pytest.mark.parametrize(("accept", "named", "contact"), TABLE)
def test_who_is_blocked_delivers_under_no_policy(accept: Accept, named: bool, contact: bool) -> None:
    assert not may_deliver(policy(accept, contact=contact, blocked=True), same_app=True, named=named, own=False)


@pytest.mark.parametrize(("accept", "named", "contact"), TABLE)
@pytest.mark.parametrize("blocked", BOTH)
def test_the_owners_own_key_delivers_under_every_policy(
    accept: Accept, named: bool, contact: bool, blocked: bool
) -> None:
    assert may_deliver(policy(accept, contact=contact, blocked=blocked), same_app=True, named=named, own=True)


@pytest.mark.parametrize(("accept", "named", "contact"), TABLE)
@pytest.mark.parametrize("blocked", BOTH)
@pytest.mark.parametrize("own", BOTH)
def test_nobody_delivers_from_another_app(accept: Accept, named: bool, contact: bool, blocked: bool, own: bool) -> None:
    assert not may_deliver(policy(accept, contact=contact, blocked=blocked), same_app=False, named=named, own=own)


def test_the_table_is_whole() -> None:
    assert set(TABLE) == set(product(ACCEPTS, BOTH, BOTH))


@pytest.mark.parametrize(
    ("issued", "ttl", "retention", "expires"),
    [
        (MIDNIGHT, 10, 3600, MIDNIGHT + 10),
        (MIDNIGHT, None, 3600, MIDNIGHT + 3600),
        (MIDNIGHT, 7200, 3600, MIDNIGHT + 3600),
        (MIDNIGHT + 5, 3600, 7200, MIDNIGHT + 5 + 3600),
        (MIDNIGHT, DAY_SECONDS - 1, 30 * DAY_SECONDS, MIDNIGHT + DAY_SECONDS - 1),
        (MIDNIGHT + 7, DAY_SECONDS - 1, 30 * DAY_SECONDS, MIDNIGHT + 7 + DAY_SECONDS - 1),
        (MIDNIGHT, DAY_SECONDS, 30 * DAY_SECONDS, MIDNIGHT + 2 * DAY_SECONDS - 1),
        (MIDNIGHT + 7, DAY_SECONDS, 30 * DAY_SECONDS, MIDNIGHT + 2 * DAY_SECONDS - 1),
        (MIDNIGHT - 1, DAY_SECONDS, 30 * DAY_SECONDS, MIDNIGHT + DAY_SECONDS - 1),
        (MIDNIGHT - 1, DAY_SECONDS + 1, 30 * DAY_SECONDS, MIDNIGHT + 2 * DAY_SECONDS - 1),
        (MIDNIGHT + 7, 30 * DAY_SECONDS, DAY_SECONDS - 1, MIDNIGHT + 7 + DAY_SECONDS - 1),
        (MIDNIGHT + 7, 30 * DAY_SECONDS, DAY_SECONDS, MIDNIGHT + 2 * DAY_SECONDS - 1),
        (MIDNIGHT, None, 30 * DAY_SECONDS, MIDNIGHT + 31 * DAY_SECONDS - 1),
        (MIDNIGHT, 10**30, 30 * DAY_SECONDS, MIDNIGHT + 31 * DAY_SECONDS - 1),
    ],
)
def test_the_shorter_life_wins_and_a_long_one_ends_with_its_day(
    issued: int, ttl: int | None, retention: int, expires: int
) -> None:
    assert granted_expiry(UnixTime(issued), ttl, retention) == expires


TIMES = st.integers(0, 2**33).map(UnixTime)
LIVES = st.integers(10, 3650 * DAY_SECONDS)


@given(TIMES, st.none() | LIVES, LIVES)
def test_no_life_is_shorter_than_granted_nor_a_day_longer(issued: UnixTime, ttl: int | None, retention: int) -> None:
    life = min(retention, ttl or retention)
    expires = granted_expiry(issued, ttl, retention)
    if life < DAY_SECONDS:
        assert expires == issued + life
    else:
        assert 0 <= expires - (issued + life) < DAY_SECONDS
        assert (expires + 1) % DAY_SECONDS == 0


@given(TIMES, LIVES, LIVES)
def test_what_comes_later_in_the_same_day_expires_together(issued: UnixTime, ttl: int, later: int) -> None:
    other = UnixTime(issued + later % (end_of_day(issued) - issued + 1))
    long = ttl // DAY_SECONDS * DAY_SECONDS + DAY_SECONDS
    assert granted_expiry(issued, long, long) == granted_expiry(other, long, long)


@pytest.mark.parametrize(
    ("moment", "end"), [(0, 86_399), (86_399, 86_399), (86_400, 172_799), (MIDNIGHT - 1, MIDNIGHT - 1)]
)
def test_a_day_ends_with_its_last_second(moment: int, end: int) -> None:
    assert end_of_day(UnixTime(moment)) == end
