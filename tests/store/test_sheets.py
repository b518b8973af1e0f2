"""Tickets in the store: who may deliver with one, once, and what a new sheet and the end of a week do to them."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.store.contract import (
    TICKET_SKEW_SECONDS,
    WEEK_SECONDS,
    Delivered,
    Quota,
    SettingsChange,
    Sheet,
    Ticket,
    weeks_of,
)
from tests.support.stores import APP_HASH, CAROL, MAX_RETENTION, Box, Kind, claimed_box, id_of

OTHER_APP = b"another app....."


def hash_of(number: int) -> bytes:
    return id_of(f"ticket {number}")[:16]


def ticket(box: Box, number: int, text: str) -> Ticket:
    return Ticket(hash_of(number), id_of(f"{number} {text}")[:16], weeks_of(box.clock()))


async def give(box: Box, *numbers: int, weeks: int = 0, app: bytes = APP_HASH) -> None:
    sheet = Sheet(weeks_of(box.clock())[0] + weeks, tuple(map(hash_of, numbers)))
    change = SettingsChange(app=app, issued=box.clock(), request=b"a request: sheet")
    await box.store.keep_sheet(box.inbox, change, sheet, now=box.clock())


async def deliver(box: Box, text: str, number: int, life: int = 1000) -> Delivered:
    expires = UnixTime(box.clock() + life)
    shown = ticket(box, number, text)
    return await box.store.deliver(box.inbox, id_of(text), text, expires=expires, now=box.clock(), ticket=shown)


async def outcome(box: Box, text: str, number: int, life: int = 1000) -> str | bool:
    """The code of the refusal, or whether it was new."""
    try:
        return (await deliver(box, text, number, life)).new
    except Refused as refusal:
        return refusal.code


async def admitted(box: Box, number: int) -> bool:
    """Whether there is a policy for it, known without a query only if there is one."""
    shown = ticket(box, number, "any")
    known, policy = box.store.known_ticket_policy(box.inbox, shown), await box.store.ticket_policy(box.inbox, shown)
    assert known in (None, policy)
    assert box.store.known_ticket_policy(box.inbox, shown) in (None, policy)
    return policy is not None


async def test_a_ticket_is_used_for_one_entry(box: Box) -> None:
    await give(box, *range(10))
    assert [await outcome(box, text, 3) for text in ("a", "a", "b", "a")] == [True, False, "ticket_spent", False]
    assert [await outcome(box, text, number) for text, number in (("a", 4), ("b", 4), ("b", 5))] == [
        False,
        "ticket_spent",
        True,
    ]
    assert await box.texts() == ["a", "b"]


async def test_what_is_on_no_sheet_is_not_accepted(box: Box) -> None:
    carol = box.of(CAROL)
    await carol.claim()
    await give(box, *range(10))
    await give(carol, *range(10, 20))
    outcomes = [
        await outcome(each, "a", number) for each, number in ((box, 10), (carol, 0), (box.of(b"nobody's inbox.."), 0))
    ]
    assert outcomes == ["not_accepted"] * 3
    assert [
        await admitted(each, number) for each, number in ((box, 10), (carol, 0), (box.of(b"nobody's inbox.."), 0))
    ] == [False] * 3
    assert [await admitted(each, number) for each, number in ((box, 9), (carol, 10))] == [True] * 2


async def test_the_policy_is_the_owners_and_nobody_is_on_its_lists(box: Box) -> None:
    await box.claim(accept="nobody", retention=7200, contacts=(b"Alice, as Bob's.",), blocked=(b"Carol, as Bob's.",))
    await give(box, 1)
    policy = await box.store.ticket_policy(box.inbox, ticket(box, 1, "any"))
    assert policy
    assert (policy.accept, policy.retention, policy.app, policy.contact, policy.blocked) == (
        "nobody",
        7200,
        APP_HASH,
        False,
        False,
    )
    await box.claim(accept="anyone")
    changed = await box.store.ticket_policy(box.inbox, ticket(box, 1, "any"))
    assert changed == replace(policy, accept="anyone")


async def test_of_many_at_once_one_uses_a_ticket_and_each_ticket_is_used_once(box: Box) -> None:
    await give(box, *range(100))
    await admitted(box, 0)  # remembered, if the store does so
    contested = asyncio.gather(*(outcome(box, f"contested {number}", 0) for number in range(20)))
    alone = asyncio.gather(*(outcome(box, f"alone {number}", number) for number in range(1, 50)))
    repeated = asyncio.gather(*(outcome(box, "repeated", number) for number in range(50, 60)))
    assert sorted(map(str, await contested)) == ["True", *["ticket_spent"] * 19]
    assert await alone == [True] * 49
    assert sorted(await repeated) == [False] * 9 + [True]
    assert await outcome(box, "a new one", 55) == "ticket_spent"
    assert len(await box.texts()) == 51


async def test_a_new_sheet_takes_the_place_of_the_old_but_what_was_used_stays_used(box: Box) -> None:
    await give(box, 1, 2, 3)
    assert [await outcome(box, text, number) for text, number in (("a", 1), ("b", 2))] == [True, True]
    await give(box, 2, 4)
    assert [
        await outcome(box, text, number) for text, number in (("a", 1), ("b", 2), ("c", 3), ("c", 1), ("c", 2))
    ] == [
        False,
        False,
        "not_accepted",
        "ticket_spent",
        "ticket_spent",
    ]
    assert await outcome(box, "c", 4) is True


async def test_of_a_sheet_that_is_replaced_meanwhile_no_ticket_is_taken_for_another(box: Box) -> None:
    """Deliveries that wait with the new sheet may know the place of their ticket on the old one."""
    await give(box, *range(0, 100, 2))
    await admitted(box, 0)
    _, *outcomes = await asyncio.gather(
        give(box, *range(1, 100, 2)), *(outcome(box, f"text {number}", number) for number in range(100))
    )
    assert set(outcomes) == {"not_accepted", True}
    assert set(await box.texts()) == {f"text {number}" for number in range(100) if outcomes[number] is True}
    again = [await outcome(box, f"late {number}", number) for number in range(1, 100, 2)]
    assert again == ["ticket_spent" if taken is True else True for taken in outcomes[1::2]]


async def test_sheets_are_told_in_order_and_gone_when_their_week_is_over(box: Box) -> None:
    first = weeks_of(box.clock())[0]
    for weeks in (2, 0, 1):
        await give(box, weeks, weeks=weeks)
    assert (await box.settings()).sheets == (first, first + 1, first + 2)
    box.clock.advance((first + 1) * WEEK_SECONDS + TICKET_SKEW_SECONDS - 1 - box.clock())
    await box.sweep()
    assert [await outcome(box, f"text {number}", number) for number in range(3)] == [True, True, "not_accepted"]
    box.clock.advance(1)
    await box.sweep()
    assert (await box.settings()).sheets == (first + 1, first + 2)
    assert [await outcome(box, f"text {number}", number) for number in range(2)] == ["not_accepted", False]


async def test_the_rules_of_settings_hold(box: Box) -> None:
    with pytest.raises(Refused, match="bad_token"):
        await give(box, 1, app=OTHER_APP)
    with pytest.raises(Refused, match="no_inbox"):
        await give(box.of(CAROL), 1)
    await give(box, 1)
    box.clock.advance(-1)
    await give(box, 1)  # the same request
    stale = SettingsChange(app=APP_HASH, issued=box.clock(), request=b"another request.")
    with pytest.raises(Refused, match="stale_token"):
        await box.store.keep_sheet(box.inbox, stale, Sheet(weeks_of(box.clock())[0], (hash_of(2),)), now=box.clock())
    assert await outcome(box, "a", 2) == "not_accepted"


async def test_giving_an_inbox_up_drops_its_sheets(box: Box) -> None:
    await give(box, 1)
    assert await admitted(box, 1)
    await box.store.forget(box.inbox, issued=box.clock(), request=b"a DELETE request")
    assert await outcome(box, "a", 1) == "not_accepted"
    await box.claim()
    assert (await box.settings()).sheets == ()
    assert not await admitted(box, 1)


async def test_what_does_not_fit_leaves_its_ticket_unused(tmp_path: Path, kind: Kind) -> None:
    quota = Quota(entries=1, bytes=100, max_retention=MAX_RETENTION, tombstones=100)
    async with claimed_box(tmp_path, kind=kind, quota=quota) as box:
        await give(box, 1, 2)
        assert [await outcome(box, "a", 1), await outcome(box, "b", 2)] == [True, "inbox_full"]
        await box.acknowledge("a")
        assert await outcome(box, "c", 2) is True


async def test_deliveries_of_both_kinds_are_done_together(box: Box) -> None:
    await give(box, *range(50))
    await admitted(box, 0)
    await asyncio.gather(
        *(
            each
            for number in range(50)
            for each in (box.deliver(f"signed {number}"), deliver(box, f"sealed {number}", number))
        )
    )
    assert await box.texts() == [f"{kind} {number}" for number in range(50) for kind in ("signed", "sealed")]
