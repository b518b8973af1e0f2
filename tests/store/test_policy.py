"""The policy as a store has it for deliveries: what is known without a query is never other than what a query finds."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from inbox_server.store.contract import Policy
from tests.store.test_subscriptions import OTHER, kept, subscribe, unsubscribe
from tests.support.stores import APP_HASH, BOB, CAROL, RETENTION, Box

ALICE, MALLORY = b"Alice, as Bob's.", b"Mallory, as Bobs"
Act = Callable[[Box], Awaitable[object]]


async def met(box: Box, sender: bytes = ALICE) -> Policy | None:
    """The policy, which by then is as it is known, if it is."""
    found = await box.store.policy(box.inbox, sender)
    assert box.store.known_policy(box.inbox, sender) in (None, found)
    return found


async def test_a_policy_is_for_its_inbox_and_its_sender(box: Box) -> None:
    await box.of(CAROL).claim(accept="anyone")
    await box.claim(accept="contacts", contacts=(ALICE,), blocked=(MALLORY,), retention=5000)
    expected = Policy(APP_HASH, "contacts", 5000, contact=True, blocked=False)
    for _ in range(2):  # the second time it may be known
        assert await met(box) == expected
        assert await met(box, MALLORY) == Policy(APP_HASH, "contacts", 5000, contact=False, blocked=True)
        assert await met(box, b"nobody they know") == Policy(APP_HASH, "contacts", 5000, contact=False, blocked=False)
        assert await met(box.of(CAROL)) == Policy(APP_HASH, "anyone", RETENTION, contact=False, blocked=False)
        assert await met(box.of(b"nobody's inbox..")) is None


CHANGES: dict[str, Act] = {
    "accept": lambda box: box.claim(accept="nobody"),
    "retention": lambda box: box.claim(retention=77),
    "contacts": lambda box: box.claim(contacts=(MALLORY,)),
    "no contacts": lambda box: box.claim(contacts=()),
    "blocked": lambda box: box.claim(blocked=(ALICE,)),
    "another channel": lambda box: subscribe(box, kept(2, channel=OTHER)),
    "unsubscribe": lambda box: unsubscribe(box, None),
    "drop": lambda box: box.store.drop_subscription(BOB, kept(1)),
    "suspended": lambda box: box.store.operating.suspend(BOB),
    "dropped": lambda box: box.store.operating.drop(BOB),
    "forget": lambda box: box.store.forget(BOB, issued=box.clock(), request=b"a DELETE request"),
}


@pytest.mark.parametrize("act", CHANGES.values(), ids=list(CHANGES))
async def test_what_an_owner_changes_is_so_for_the_next_delivery(box: Box, act: Act) -> None:
    await box.claim(contacts=(ALICE,))
    await subscribe(box, kept(1))
    before = await met(box)
    await act(box)
    known = box.store.known_policy(BOB, ALICE)
    assert known in (None, await met(box))
    assert await met(box) != before


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_read_while_it_changes_is_never_kept(box: Box, seed: int) -> None:
    dice = random.Random(seed)

    async def change() -> None:
        await box.claim(accept=dice.choice(["names", "anyone", "nobody"]), blocked=(ALICE,) * dice.randrange(2))

    async def ask() -> None:
        for _ in range(dice.randrange(3)):
            await asyncio.sleep(0)
        await box.store.policy(BOB, ALICE)

    for _ in range(60):
        await asyncio.gather(ask(), change(), ask(), box.deliver(f"{dice.random()}"), ask())
        known = box.store.known_policy(BOB, ALICE)
        assert known in (None, await box.store.policy(BOB, ALICE))
