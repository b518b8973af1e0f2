"""The store's contract: claims, settings, names, lists, invites, and giving an inbox up."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.errors import Refused
from inbox_server.store.contract import Admission, Policy, Settings
from tests.store.conftest import Count
from tests.support.stores import (
    ADMISSION,
    APP_HASH,
    BOB,
    CAROL,
    RETENTION,
    Box,
    Kind,
)

ALICE = b"Alice, as Bob's."
NAME = b"bob.id, keyed..."
INVITE = b"an invite, keyed"
OTHER_REQUEST = b"another request."
OPEN_TO_ONE = dataclasses.replace(ADMISSION, max_inboxes=1)
Invited = Callable[[], Awaitable[None]]
WITH_INVITE = dataclasses.replace(ADMISSION, invite=INVITE)


@pytest.fixture
def carol(box: Box) -> Box:
    """An inbox that is not claimed yet."""
    return box.of(CAROL)


@pytest.fixture
def invited(tmp_path: Path, kind: Kind, box: Box) -> Invited:
    """Makes an invite that is good for 100 s."""
    return lambda: kind.add_invite(tmp_path, INVITE, expires=UnixTime(box.clock() + 100))


async def _refusal(box: Box, admission: Admission | None = None, **changes: Any) -> str:
    with pytest.raises(Refused) as caught:
        await box.claim(admission=admission, **changes)
    return caught.value.code


async def test_a_new_inbox_has_the_defaults(box: Box) -> None:
    assert await box.settings() == Settings(
        RETENTION,
        "names",
        contacts=0,
        blocked=0,
        names=0,
        unread=0,
        unread_bytes=0,
        read=0,
        refused=False,
        subscriptions={},
        gone=(),
    )


async def test_claiming_again_is_no_second_claim(box: Box) -> None:
    await box.deliver("opaque")
    assert not await box.claim(admission=ADMISSION)
    assert await box.texts() == ["opaque"]


async def test_an_inbox_without_admission_is_not_made(carol: Box, count: Count) -> None:
    assert await _refusal(carol) == "no_inbox"
    assert count()["inbox"] == 1


async def test_a_setting_that_is_not_given_stays(box: Box) -> None:
    await box.claim(retention=DAY_SECONDS, accept="contacts", contacts=(ALICE,), blocked=(CAROL,), names=(NAME,))
    before = await box.settings()
    await box.claim(accept="anyone")
    assert await box.settings() == dataclasses.replace(before, accept="anyone")
    await box.claim(retention=2 * DAY_SECONDS)
    assert await box.settings() == dataclasses.replace(before, accept="anyone", retention=2 * DAY_SECONDS)
    await box.claim()
    assert await box.settings() == dataclasses.replace(before, accept="anyone", retention=2 * DAY_SECONDS)


async def test_a_delivery_meets_the_policy_and_the_lists(box: Box) -> None:
    await box.claim(accept="contacts", contacts=(ALICE,), blocked=(CAROL,), retention=DAY_SECONDS)
    policy = Policy(APP_HASH, "contacts", DAY_SECONDS, contact=False, blocked=False)
    assert await box.store.policy(BOB, b"a stranger, hash") == policy
    assert await box.store.policy(BOB, ALICE) == dataclasses.replace(policy, contact=True)
    assert await box.store.policy(BOB, CAROL) == dataclasses.replace(policy, blocked=True)


async def test_a_list_that_is_given_replaces_the_old_one(box: Box) -> None:
    await box.claim(contacts=(ALICE,), blocked=(CAROL,))
    await box.claim(contacts=(b"Dan, as Bob's...", b"Eve, as Bob's..."))
    policy = await box.store.policy(BOB, ALICE)
    assert policy
    assert not policy.contact
    settings = await box.settings()
    assert (settings.contacts, settings.blocked) == (2, 1)
    await box.claim(contacts=(), blocked=())
    settings = await box.settings()
    assert (settings.contacts, settings.blocked) == (0, 0)


async def test_the_same_address_twice_on_a_list_is_there_once(box: Box) -> None:
    await box.claim(contacts=(ALICE, ALICE))
    assert (await box.settings()).contacts == 1


async def test_an_address_may_be_on_both_lists(box: Box) -> None:
    await box.claim(contacts=(ALICE,), blocked=(ALICE,))
    policy = await box.store.policy(BOB, ALICE)
    assert policy
    assert (policy.contact, policy.blocked) == (True, True)


async def test_the_last_claim_of_a_name_wins(box: Box, carol: Box) -> None:
    await box.claim(names=(NAME,))
    assert await box.store.proven(NAME) == BOB
    await carol.claim(names=(NAME,))
    assert await box.store.proven(NAME) == CAROL
    assert (await box.settings()).names == 0
    assert (await carol.settings()).names == 1


async def test_names_that_are_given_replace_the_old_ones(box: Box) -> None:
    await box.claim(names=(NAME, b"robert.id, keyed"))
    await box.claim(names=(b"robert.id, keyed",))
    assert await box.store.proven(NAME) is None
    assert await box.store.proven(b"robert.id, keyed") == BOB
    await box.claim(names=())
    assert (await box.settings()).names == 0


async def test_a_name_that_nobody_proved_leads_nowhere(box: Box) -> None:
    assert await box.store.proven(NAME) is None


async def test_an_older_settings_token_is_stale(box: Box) -> None:
    await box.claim(accept="nobody")
    older = UnixTime(box.clock() - 1)
    assert await _refusal(box, issued=older, request=OTHER_REQUEST, accept="anyone") == "stale_token"
    assert (await box.settings()).accept == "nobody"


async def test_a_settings_token_of_the_same_second_is_taken(box: Box) -> None:
    await box.claim(accept="nobody")
    await box.claim(request=OTHER_REQUEST, accept="anyone")
    assert (await box.settings()).accept == "anyone"


async def test_the_same_request_again_is_a_retry_though_its_token_is_older(box: Box) -> None:
    await box.claim(accept="nobody")
    await box.claim(issued=UnixTime(box.clock() - 1), accept="nobody")
    assert (await box.settings()).accept == "nobody"


async def test_a_retry_does_not_let_an_older_token_in(box: Box) -> None:
    issued = box.clock()
    await box.claim(accept="nobody")
    await box.claim(issued=UnixTime(issued - 200), accept="nobody")
    older = UnixTime(issued - 100)
    assert await _refusal(box, issued=older, request=OTHER_REQUEST, accept="anyone") == "stale_token"


async def test_a_request_that_was_overtaken_is_no_retry(box: Box) -> None:
    await box.claim(accept="nobody")
    box.clock.advance(1)
    await box.claim(request=OTHER_REQUEST, accept="anyone")
    assert await _refusal(box, issued=UnixTime(box.clock() - 1), accept="nobody") == "stale_token"


async def test_an_inbox_belongs_to_the_app_it_was_claimed_for(box: Box) -> None:
    assert await _refusal(box, app=b"another app.....", accept="anyone") == "bad_token"
    assert (await box.settings()).accept == "names"


async def test_giving_up_removes_every_row_of_the_inbox(box: Box, carol: Box, count: Count) -> None:
    before = count()
    await carol.claim(names=(NAME,), contacts=(ALICE,), blocked=(BOB,))
    for text in ("unread", "read"):
        await carol.deliver(text)
    await carol.acknowledge("read", "never seen")
    assert count() == before | {"inbox": 2, "name": 1, "listed": 2, "message": 3}
    await box.store.forget(CAROL, issued=box.clock(), request=OTHER_REQUEST)
    assert count() == before
    assert await box.store.settings(CAROL) is None
    assert await box.store.proven(NAME) is None


async def test_giving_up_twice_is_no_error(box: Box) -> None:
    for _ in range(2):
        await box.store.forget(BOB, issued=box.clock(), request=OTHER_REQUEST)


async def test_an_older_token_does_not_give_up_what_was_settled_since(box: Box) -> None:
    await box.deliver("opaque")
    with pytest.raises(Refused, match="stale_token"):
        await box.store.forget(BOB, issued=UnixTime(box.clock() - 1), request=OTHER_REQUEST)
    assert await box.texts() == ["opaque"]


async def test_there_are_only_so_many_inboxes(box: Box, carol: Box) -> None:
    assert await _refusal(carol, OPEN_TO_ONE) == "not_registered"
    await box.claim(admission=OPEN_TO_ONE)  # who has one already keeps it
    await box.store.forget(BOB, issued=box.clock(), request=OTHER_REQUEST)
    assert await carol.claim(admission=OPEN_TO_ONE)


async def test_an_invite_is_good_once(box: Box, carol: Box, invited: Invited, count: Count) -> None:
    await invited()
    assert await carol.claim(admission=WITH_INVITE)
    assert count()["invite"] == 0
    dan = box.of(b"Dan's inbox.....")
    assert await _refusal(dan, WITH_INVITE) == "not_registered"
    assert not await carol.claim(admission=WITH_INVITE)  # a repeat of the claim that succeeded


async def test_an_invite_serves_one_of_many_who_come_at_once(box: Box, invited: Invited, count: Count) -> None:
    await invited()
    boxes = [box.of(b"inbox %10d" % number) for number in range(10)]
    outcomes = await asyncio.gather(*(each.claim(admission=WITH_INVITE) for each in boxes), return_exceptions=True)
    assert outcomes.count(True) == 1
    assert sum(isinstance(outcome, Refused) for outcome in outcomes) == 9
    assert count()["inbox"] == 2


async def test_an_invite_that_expired_is_no_good_and_is_swept(
    box: Box, carol: Box, invited: Invited, count: Count
) -> None:
    await invited()
    box.clock.advance(100)
    assert await _refusal(carol, WITH_INVITE) == "not_registered"
    await box.sweep()
    assert count()["invite"] == 0


async def test_an_invite_is_not_used_up_when_there_is_no_room(
    box: Box, carol: Box, invited: Invited, count: Count
) -> None:
    await invited()
    assert await _refusal(carol, dataclasses.replace(WITH_INVITE, max_inboxes=1)) == "not_registered"
    assert count()["invite"] == 1
