"""Where owners are told, in the store: whose they are, how many, in which order they change, and that they go."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.store.contract import SettingsChange, Subscribed, notices_of
from tests.support.stores import APP_HASH, BOB, CAROL, Box, Kind, claimed_box

MOST = 3
PUSH = "push"
OTHER = "matrix"


def kept(number: int, edition: int = 0, channel: str = PUSH) -> Subscribed:
    return Subscribed(channel, b"endpoint %07d" % number, b"<sealed %d %d>" % (number, edition) * 80)


def change_of(
    box: Box, *, app: bytes = APP_HASH, earlier: int = 0, request: bytes = b"a request: push."
) -> SettingsChange:
    return SettingsChange(app=app, issued=UnixTime(box.clock() - earlier), request=request)


async def subscribe(box: Box, subscription: Subscribed, **bent: Any) -> bool:
    change = change_of(box, **bent)
    return await box.store.subscribe(box.inbox, change, subscription, most=MOST, now=box.clock())


async def unsubscribe(box: Box, id: bytes | None, channel: str = PUSH, **bent: Any) -> None:
    await box.store.unsubscribe(box.inbox, change_of(box, **bent), channel, id, now=box.clock())


async def seen(box: Box, channel: str = PUSH) -> tuple[list[Subscribed], int, tuple[str, ...]]:
    """The subscriptions of a channel, how many the settings count, and the notices of a list."""
    settings = await box.settings()
    notices = (await box.page()).notices
    assert notices_of(refused=settings.refused, suspended=settings.suspended, gone=settings.gone) == notices
    return list(await box.store.subscriptions(box.inbox, channel)), settings.subscriptions.get(channel, 0), notices


async def test_subscriptions_are_kept_by_their_inbox_and_counted(box: Box) -> None:
    carol = box.of(CAROL)
    await carol.claim()
    await subscribe(box, kept(1))
    await subscribe(box, kept(2))
    await subscribe(carol, kept(3))
    assert await seen(box) == ([kept(1), kept(2)], 2, ())
    assert await seen(carol) == ([kept(3)], 1, ())


async def test_subscribing_again_replaces_and_takes_no_more_room(box: Box) -> None:
    for number in range(MOST):
        await subscribe(box, kept(number))
    await subscribe(box, kept(0, edition=1))
    assert await seen(box) == ([kept(0, edition=1), kept(1), kept(2)], MOST, ())


async def test_one_more_than_may_be_is_refused_and_changes_nothing(box: Box) -> None:
    for number in range(MOST):
        await subscribe(box, kept(number))
    before = await seen(box)
    assert not await subscribe(box, kept(MOST), earlier=-1)
    assert await subscribe(box, kept(0), request=b"another request.")  # the refused token counts as unused
    assert await seen(box) == before


async def test_many_that_subscribe_at_once_do_not_pass_the_limit(box: Box) -> None:
    outcomes = await asyncio.gather(*(subscribe(box, kept(number)) for number in range(20)))
    assert outcomes.count(True) == MOST
    assert (await seen(box))[1] == MOST


@pytest.mark.parametrize("named", [True, False])
async def test_unsubscribing_drops_the_one_that_is_named_or_all(box: Box, named: bool) -> None:
    for number in range(2):
        await subscribe(box, kept(number))
    for _ in range(2):  # repeating is no error
        await unsubscribe(box, kept(0).id if named else None)
    assert await seen(box) == ([kept(1)] if named else [], int(named), ())


@pytest.mark.parametrize(
    ("bent", "code"),
    [({"app": b"another app....."}, "bad_token"), ({"earlier": 10, "request": b"an older request"}, "stale_token")],
)
async def test_the_rules_of_settings_tokens_hold(box: Box, bent: dict[str, Any], code: str) -> None:
    await subscribe(box, kept(1))
    with pytest.raises(Refused, match=code):
        await subscribe(box, kept(2), **bent)
    with pytest.raises(Refused, match=code):
        await unsubscribe(box, None, **bent)
    assert await seen(box) == ([kept(1)], 1, ())


async def test_an_inbox_that_nobody_claimed_has_none(box: Box) -> None:
    carol = box.of(CAROL)
    with pytest.raises(Refused, match="no_inbox"):
        await subscribe(carol, kept(1))
    with pytest.raises(Refused, match="no_inbox"):
        await unsubscribe(carol, None)
    await box.store.drop_subscription(CAROL, kept(1))
    assert await box.store.subscriptions(CAROL, PUSH) == ()


async def test_the_policy_says_by_which_channels_the_owner_is_told(box: Box) -> None:
    async def channels() -> list[str]:
        policy = await box.store.policy(BOB, b"some sender.....")
        assert policy
        return sorted(policy.channels)

    assert await channels() == []
    await subscribe(box, kept(1))
    await subscribe(box, kept(2))
    assert await channels() == [PUSH]
    await subscribe(box, kept(1, channel=OTHER))
    assert await channels() == sorted([PUSH, OTHER])
    await unsubscribe(box, None)
    assert await channels() == [OTHER]


async def test_channels_do_not_touch_each_other(box: Box) -> None:
    """Not even with equal ids: each has its own room, its own rows and its own notice."""
    for number in range(MOST):
        assert await subscribe(box, kept(number))
    mine = kept(0, edition=1, channel=OTHER)
    assert await subscribe(box, mine)
    assert await seen(box, OTHER) == ([mine], 1, ())
    await unsubscribe(box, None)
    assert (await seen(box))[:2] == ([], 0)
    await subscribe(box, kept(0))
    await box.store.drop_subscription(BOB, mine)
    assert await seen(box) == ([kept(0)], 1, ("matrix_gone",))
    await box.store.drop_subscription(BOB, kept(0))
    assert (await seen(box))[2] == ("matrix_gone", "push_gone")
    await unsubscribe(box, None)
    assert (await seen(box))[2] == ("matrix_gone",)
    await subscribe(box, mine)
    assert await seen(box, OTHER) == ([mine], 1, ())


@pytest.mark.parametrize("again", [subscribe, unsubscribe])
async def test_a_dropped_subscription_is_told_until_the_owner_changes_them(box: Box, again: Any) -> None:
    await subscribe(box, kept(1))
    await subscribe(box, kept(2))
    await box.store.drop_subscription(BOB, kept(1))
    assert await seen(box) == ([kept(2)], 1, ("push_gone",))
    await again(box, kept(2) if again is subscribe else kept(2).id)
    assert (await seen(box))[2] == ()


async def test_a_poll_that_found_nothing_before_hears_of_a_dropped_subscription(box: Box) -> None:
    await subscribe(box, kept(1))
    cursor = await box.cursor()
    assert (await box.page(cursor)).notices == ()
    await box.store.drop_subscription(BOB, kept(1))
    assert (await box.page(cursor)).notices == ("push_gone",)


async def test_whoever_waits_for_news_is_woken_when_a_subscription_is_dropped(tmp_path: Path, kind: Kind) -> None:
    woken: list[bytes] = []
    async with claimed_box(tmp_path, kind=kind, changed=woken.extend) as box:
        await subscribe(box, kept(1))
        woken.clear()
        await box.store.drop_subscription(BOB, kept(1))
        assert woken == [BOB]


async def test_one_that_was_made_anew_meanwhile_is_not_dropped(box: Box) -> None:
    await subscribe(box, kept(1))
    await subscribe(box, kept(1, edition=1))
    await box.store.drop_subscription(BOB, kept(1))
    assert await seen(box) == ([kept(1, edition=1)], 1, ())
