"""Cards that cannot be read for now: deliveries wait for them, their owner is told, and the first is written unread."""

import pytest

from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.outbox import KEPT_SECONDS, Outbox
from inbox_server.client.own_card import OwnCardUnreadable
from inbox_server.client.storage import InMemory
from inbox_server.client.user import NotForNow, NotReachable
from inbox_server.world.local_world import World
from tests.conftest import APP, HandClock
from tests.support.clients import client_of, opened, profile_of

pytestmark = pytest.mark.both_hubs


def _address(client: InboxClient) -> str:
    return client.account.user.key.address


@pytest.mark.parametrize("length", [0, 1, 40])
async def test_a_delivery_waits_for_a_card_that_is_being_written(
    world: World, alice: InboxClient, bob: InboxClient, length: int
) -> None:
    world.hub.cut(_address(bob), "inbox.json", length)
    sent = await alice.send("bob.id", "hello")
    card = f"{world.read_url}{_address(bob)}/inbox.json"
    assert [(each.inbox, each.state, each.code) for each in sent.outcomes] == [(card, "later", "no_card")]
    assert [report.outcomes for report in await alice.retry()] == [sent.outcomes]
    await bob.publish((world.inbox_url,))
    assert [report.stored for report in await alice.retry()] == [(world.inbox_url,)]
    (entry,) = (await bob.unread()).entries
    assert (await bob.fetch(entry)).content == "hello"
    assert alice.account.outbox.read() == {}


async def test_what_waits_for_a_card_is_given_up_after_thirty_days(
    world: World, alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    await alice.claim({}, inboxes=(world.inbox_url,))
    await alice.publish((world.inbox_url,))
    world.hub.cut(_address(bob), "inbox.json", 0)
    await alice.send("bob.id", "hello")
    clock.advance(KEPT_SECONDS)
    assert [report.outcomes[0].code for report in await alice.retry()] == ["gave_up"]
    assert alice.account.outbox.read() == {}


async def test_without_the_key_nothing_is_sent_and_nothing_is_final(
    world: World, alice: InboxClient, bob: InboxClient
) -> None:
    for path in ("inbox.json", "key.json"):
        world.hub.cut(_address(bob), path, 0)
    with pytest.raises(NotForNow):
        await alice.send(_address(bob), "hello")  # whose profile states no key
    assert alice.account.outbox.read() == {}


async def test_a_card_that_is_whole_and_wrong_stays_final(world: World, alice: InboxClient, bob: InboxClient) -> None:
    await bob.account.user.bucket.write("inbox.json", b'{"card": "x"}')
    with pytest.raises(NotReachable, match="is not an inbox card"):
        await alice.send("bob.id", "hello")


@pytest.mark.parametrize("length", [0, 40])
async def test_an_owner_is_told_of_an_own_card_that_cannot_be_read_and_publishes_it_anew(
    world: World, alice: InboxClient, bob: InboxClient, length: int
) -> None:
    world.hub.cut(_address(bob), "inbox.json", length)
    with pytest.raises(OwnCardUnreadable, match=r"your own inbox card is empty or breaks off.*publish writes it again"):
        await bob.catch_up()
    await bob.publish((world.inbox_url,))
    assert await bob.catch_up() == ()
    assert (await alice.send("bob.id", "hello")).stored == (world.inbox_url,)


async def test_a_first_card_is_written_before_a_cache_remembers_that_there_is_none(
    world: World, alice: InboxClient
) -> None:
    world.faults.absence_seconds = 86_400
    async with client_of(world, "bob.id", world.inbox_url, app=APP):
        assert (await alice.send("bob.id", "hello")).stored == (world.inbox_url,)


async def test_a_new_profile_of_a_known_key_counts_on_from_the_card_that_is_there(
    world: World, alice: InboxClient, bob: InboxClient
) -> None:
    for _ in range(3):
        seq = await bob.publish((world.inbox_url,))
    await alice.send("bob.id", "hello")
    person = next(person for person in world.people if person.name == "bob.id")
    async with opened(world, InMemory(profile_of(world, person)), InMemory[Outbox]({})) as again:
        assert await again.publish((world.inbox_url,)) == seq + 1
    assert (await alice.send("bob.id", "hello again")).stored == (world.inbox_url,)
