"""What a sender's bucket says of each delivery, for its recipient: indexes by week, and numbers in the pointers."""

from collections.abc import Iterable

import pytest

from inbox_server.client.audit.checkpoint import Checkpoint, SharedCheckpoints
from inbox_server.client.bucket import BucketFailed
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.index import IndexEntry
from inbox_server.client.outbox import KEPT_SECONDS
from inbox_server.client.own_file import BadOwnFile
from inbox_server.client.pairs import WEEK_SECONDS, Pair, short_hash, week_of
from inbox_server.client.storage import InMemory
from inbox_server.client.tokens_and_cards import is_of_pair, pointer_text
from inbox_server.clock import UnixTime, end_of_day
from inbox_server.world.local_world import World
from tests.conftest import HandClock
from tests.support.clients import ITS_ID, Scripted, client_of, index_of, opened, profile_of

pytestmark = pytest.mark.both_hubs


def numbers(entries: Iterable[IndexEntry]) -> list[int]:
    return [entry.n for entry in entries]


async def test_the_recipient_finds_in_the_index_what_was_sent(
    world: World, alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    first, second = await alice.send("bob.id", "one", ttl=172_800), await alice.send("bob.id", "two")
    listed = {entry.ids[0]: entry for entry in (await bob.unread()).entries}
    entries = index_of(world, alice, bob)
    assert [(entry.n, entry.id) for entry in entries] == [(1, first.message), (2, second.message)]
    assert {entry.entry: entry.expires for entry in entries} == {id: each.expires for id, each in listed.items()}
    assert alice.account.outbox.read() == {}
    clock.advance(WEEK_SECONDS)
    await alice.send("bob.id", "three")
    assert numbers(index_of(world, alice, bob)) == [3]
    assert numbers(index_of(world, alice, bob, weeks_ago=1)) == [1, 2]


async def test_each_pointer_has_its_number_and_names_the_one_before(alice: InboxClient, bob: InboxClient) -> None:
    for text in ("one", "two"):
        await alice.send("bob.id", text)
    first, second = (entry.pointer for entry in (await bob.unread()).entries)
    assert first
    assert first.link
    assert second
    assert second.link
    pair = Pair.of(alice.account.user.key.public, bob.account.user.key)
    assert [is_of_pair(each, pair) for each in (first, second)] == [True, True]
    assert (first.link.n, first.link.prev, second.link.n) == (1, bytes(16), 2)
    assert second.link.prev == short_hash(pointer_text(first).encode())


async def test_two_devices_keep_one_index(world: World, alice: InboxClient, bob: InboxClient) -> None:
    other_profile = InMemory(alice.account.profile.read())
    async with opened(world, other_profile) as other:
        await alice.send("bob.id", "from the phone")
        await other.send("bob.id", "from the laptop")  # its number is the same, which nobody holds against her
        await alice.send("bob.id", "from the phone again")
        await other.send("bob.id", "from the laptop again")
        assert numbers(index_of(world, alice, bob)) == [1, 1, 2, 2]
    lost = InMemory(profile_of(world, world.people[0]))
    assert lost.read().key.public == alice.account.user.key.public
    async with opened(world, lost) as again:
        for _ in range(2):
            await again.send("bob.id", "after a loss")
    assert numbers(index_of(world, alice, bob)) == [1, 1, 1, 2, 2, 3]


async def test_a_device_that_lost_its_profile_goes_on_where_an_earlier_week_ended(
    world: World, alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    for _ in range(3):
        await alice.send("bob.id", "hello")
    clock.advance(2 * WEEK_SECONDS)
    async with opened(world, InMemory(profile_of(world, world.people[0]))) as again:
        await again.send("bob.id", "after a loss")
    assert numbers(index_of(world, alice, bob)) == [4]


async def test_an_index_that_could_not_be_written_is_made_good_by_the_next_send(
    world: World, alice: InboxClient, bob: InboxClient
) -> None:
    await alice.send("bob.id", "one")
    address, key = alice.account.user.key.address, bob.account.user.key.public
    path = Pair.to(key, alice.account.user.key).index_path(week_of(world.clock()))
    with world.hub.working_on(address, path):  # 409 for everybody else
        sent = await alice.send("bob.id", "two")
    assert sent.stored
    assert "409" in sent.index
    assert numbers(index_of(world, alice, bob)) == [1]
    assert (await alice.send("bob.id", "three")).index == ""
    assert numbers(index_of(world, alice, bob)) == [1, 2, 3]
    assert alice.account.outbox.read() == {}


async def test_a_half_written_index_is_written_anew(world: World, alice: InboxClient, bob: InboxClient) -> None:
    await alice.send("bob.id", "one")
    path = Pair.to(bob.account.user.key.public, alice.account.user.key).index_path(week_of(world.clock()))
    world.hub.cut(alice.account.user.key.address, path, 100)
    async with opened(world, InMemory(alice.account.profile.read())) as other:
        assert (await other.send("bob.id", "two")).index == ""
    assert numbers(index_of(world, alice, bob)) == [2]


async def test_what_no_server_has_taken_yet_is_in_the_index_already(
    world: World, alice: InboxClient, bob: InboxClient, server: Scripted, clock: HandClock
) -> None:
    await bob.publish((server.url,))
    server.say(500)
    sent = await alice.send("bob.id", "hello")
    (entry,) = index_of(world, alice, bob)
    assert (entry.id, entry.expires, entry.receipts) == (
        sent.message,
        end_of_day(UnixTime(clock.now + KEPT_SECONDS)),
        {},
    )
    assert len(alice.account.outbox.read()) == 1
    server.answers[:] = [(201, {}, f'{{"id": "{ITS_ID}", "expires": 1800057599}}'.encode())]
    clock.advance(WEEK_SECONDS)
    assert [report.stored for report in await alice.retry()] == [(server.url,)]
    assert index_of(world, alice, bob, weeks_ago=1) == (entry,)  # it keeps the longer life
    assert alice.account.outbox.read() == {}


async def test_a_pointer_without_room_is_sent_without_its_number_and_the_index_has_it(world: World) -> None:
    app = f"https://{'.'.join(['a' * 60] * 4)}.example"
    async with (
        client_of(world, f"carl{'l' * 40}.id", app=app) as carl,
        client_of(world, "dora.id", world.inbox_url, app=app) as dora,
    ):
        sent = await carl.send("dora.id", "hello")
        assert not sent.is_linked
        (entry,) = (await dora.unread()).entries
        assert entry.pointer
        assert entry.pointer.link is None
        assert numbers(index_of(world, carl, dora)) == [1]
        assert (await dora.fetch(entry)).content == "hello"


def point(n: int, since: int = 1_700_000_000) -> Checkpoint:
    return Checkpoint(n, bytes([n] * 32), UnixTime(1_800_000_000), UnixTime(since), "a.b.c")


async def test_devices_share_the_highest_checkpoint(world: World, alice: InboxClient) -> None:
    phone, laptop = (SharedCheckpoints(alice.account.user) for _ in range(2))
    one, two = "https://one.example", "https://two.example"
    assert (await phone.read(), phone.is_new) == ({}, True)
    await phone.write({one: point(3)})
    assert (await laptop.read(), laptop.is_new) == ({one: point(3)}, False)
    await phone.read()
    await laptop.write({one: point(5), two: point(7)})
    await phone.write({one: point(4)})  # an audit that began before
    assert await phone.read() == {one: point(5), two: point(7)}
    await phone.write({one: point(2, since=1_800_000_000)})  # claimed anew
    await laptop.write({two: None})
    assert await laptop.read() == {one: point(2, since=1_800_000_000)}


async def test_a_checkpoint_that_somebody_else_wrote_is_not_believed(
    world: World, alice: InboxClient, bob: InboxClient
) -> None:
    await SharedCheckpoints(bob.account.user).write({"https://one.example": point(3)})
    file = world.hub.read(bob.account.user.key.address, "checkpoint.json")
    assert file
    world.hub.store(alice.account.user.key.address, "checkpoint.json", file.content, file.content_type)
    with pytest.raises(BadOwnFile, match="signed"):
        await SharedCheckpoints(alice.account.user).read()
    world.hub.cut(alice.account.user.key.address, "checkpoint.json", 50)
    with pytest.raises(BadOwnFile, match="damaged"):
        await SharedCheckpoints(alice.account.user).read()
    await SharedCheckpoints(alice.account.user).write({"https://one.example": point(3)})
    assert await SharedCheckpoints(alice.account.user).read() == {"https://one.example": point(3)}
    world.faults.refused_writes.extend([(500, 1)] * 2)
    with pytest.raises(BucketFailed):
        await SharedCheckpoints(bob.account.user).write({"https://one.example": point(4)})
