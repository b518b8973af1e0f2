"""Moving to another server: cut off at every request, every answer and every write, and repeated."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.moving import CannotMove, Step
from inbox_server.client.profile_file import Move, Profile
from inbox_server.client.refusals import InboxRefused, Unreachable
from inbox_server.client.reports import Arrived, Connection
from inbox_server.client.storage import InMemory
from inbox_server.identity.keys import PublicKey, parse_key
from inbox_server.world.local_world import World
from tests.conftest import APP, HandClock
from tests.support.amounts import amounts
from tests.support.clients import Cut, Fragile, Scissors, client_of, opened, profile_of, scripted
from tests.support.patience import PATIENCE_SECONDS
from tests.support.requests import Caller, inbox_server

_OPEN = {"registration": {"mode": "open", "open_to_keys": True}}
_NUMBERS = itertools.count()
WHERE = {"request": 15, "answer": 15, "before writing": 4, "after writing": 4}
"""Where a move is cut off, and at how many places at least."""


@pytest.fixture
async def new(world: World, tmp_path: Path) -> AsyncIterator[Caller]:
    """Another server, to move to."""
    async with inbox_server(world, tmp_path / "new", _OPEN) as caller:
        yield caller


async def moved(client: InboxClient, to: str) -> list[str]:
    return [step.text async for step in client.move(to)]


async def texts(client: InboxClient) -> list[str | bytes]:
    """What is unread, as messages; every inbox must have answered."""
    unread = await client.unread()
    assert [outcome.state for outcome in unread.outcomes] == ["done"] * len(unread.outcomes)
    return sorted([(await client.fetch(entry)).content for entry in unread.entries], key=str)


async def ids_at(client: InboxClient, url: str) -> list[str]:
    return [entry["id"] for entry in (await client.account.own(url).unread())["messages"]]


async def with_mail(world: World, alice: InboxClient, scissors: Scissors) -> tuple[Fragile[Profile], str, str]:
    """Somebody new with two unread messages and one that was read; the profile, the name, and what was read."""
    name = f"bob{next(_NUMBERS)}.id"
    profile = Fragile(profile_of(world, await world.settle(name, APP)), scissors)
    async with opened(world, profile) as bob:
        await bob.claim({"names": [name], "retention": 86_400 * 9}, inboxes=(world.inbox_url,))
        await bob.publish((world.inbox_url,))
        await bob.unread()  # today's mark
        await alice.send(name, "read before")
        (entry,) = (await bob.unread()).entries
        await bob.acknowledge([entry])
        await alice.send(name, "first")
        await alice.send(name, "second")
    return profile, name, entry.ids[0]


async def check_moved(world: World, new: Caller, alice: InboxClient, profile: Fragile[Profile], name: str) -> None:
    """Everything unread is at the new server, once; the old has no inbox; senders follow."""
    kept = profile.read()
    assert (kept.inboxes, kept.move, kept.to_ack) == ((new.url,), None, {})
    async with opened(world, profile) as bob:
        assert await texts(bob) == ["first", "second"]
        assert len(await ids_at(bob, new.url)) == 2
        (shown,) = await bob.settings()
        assert (shown.answer["accept"], shown.answer["retention"], shown.answer["names"]) == ("names", 86_400 * 9, 1)
        with pytest.raises(InboxRefused, match="no_inbox"):
            await bob.account.own(world.inbox_url).settings()
        sent = await alice.send(name, "third")
        assert sent.stored == (new.url,)
        assert await texts(bob) == ["first", "second", "third"]


@pytest.mark.parametrize("where", WHERE)
@amounts(3, 1)
async def test_a_move_cut_off_anywhere_and_repeated_loses_nothing(
    world: World, new: Caller, alice: InboxClient, where: str, amount: int
) -> None:
    """At every third place, and in `make long` at every one."""
    for at in itertools.count(1 + list(WHERE).index(where) % amount, amount):
        scissors = Scissors(at=0, where=where)
        profile, name, _ = await with_mail(world, alice, scissors)
        scissors.at, scissors.seen = at, 0
        was_cut = False
        async with opened(world, profile, scissors=scissors) as bob:
            try:
                await moved(bob, new.url)
            except Cut:
                was_cut = True
        scissors.at = 0
        if was_cut:
            async with opened(world, profile) as bob:
                assert await texts(bob) == ["first", "second"]  # also in the middle
                assert (await moved(bob, new.url))[-1].endswith("moved")
        await check_moved(world, new, alice, profile, name)
        if not was_cut:
            break
    assert at > WHERE[where]


@pytest.mark.parametrize("ahead", [-86_400 * 365, 50, 86_400 * 365])
async def test_a_move_by_a_clock_that_goes_wrong_loses_nothing(
    world: World, new: Caller, alice: InboxClient, ahead: int
) -> None:
    profile, name, _ = await with_mail(world, alice, Scissors(0, ""))
    await alice.send(name, "short", ttl=40)
    async with opened(world, profile, ahead=ahead) as bob:
        steps = [step async for step in bob.move(new.url)]
        assert [step.carried for step in steps if step.text == "carried over what is unread"] == [3]
        entries = (await bob.account.own(new.url).unread())["messages"]
        lives = sorted(entry["expires"] - world.clock() for entry in entries)
        assert 40 <= lives[0] <= 40 + 2 * 60
        assert 86_400 * 8 < lives[1] < 86_400 * 11
    async with opened(world, profile) as bob:
        assert await texts(bob) == ["first", "second", "short"]
        assert (await alice.send(name, "third")).stored == (new.url,)


@pytest.mark.both_hubs
async def test_a_late_repeat_of_what_was_read_at_the_old_server_stays_read_at_the_new(
    world: World, new: Caller, alice: InboxClient
) -> None:
    profile, name, read_id = await with_mail(world, alice, Scissors(0, ""))
    async with opened(world, profile) as bob:
        old = await alice.account.others(world.inbox_url).deliver("late", sender="alice.id", recipient=name)
        await bob.acknowledge((await bob.unread()).entries[-1:])
        await moved(bob, new.url)
        again = await alice.account.others(new.url).deliver("late", sender="alice.id", recipient=name)
        assert again["id"] == old["id"]
        assert old["id"] not in await ids_at(bob, new.url)
        assert read_id not in await ids_at(bob, new.url)


async def test_what_another_device_read_while_it_moved_is_not_unread_again(
    world: World, new: Caller, alice: InboxClient
) -> None:
    profile, _, _ = await with_mail(world, alice, Scissors(0, ""))
    async with opened(world, profile) as bob:
        steps = bob.move(new.url)
        async for step in steps:
            if step.text.startswith("carried over what is unread"):
                first = (await ids_at(bob, world.inbox_url))[0]
                await bob.account.own(world.inbox_url).acknowledge([first])
        assert await texts(bob) == ["second"]


async def test_what_was_read_and_not_told_yet_is_not_unread_again(
    world: World, new: Caller, alice: InboxClient
) -> None:
    profile, _, _ = await with_mail(world, alice, Scissors(0, ""))
    async with opened(world, profile) as bob:
        first = (await ids_at(bob, world.inbox_url))[0]
        profile.change(lambda profile: profile.with_to_ack((first,)))  # as when the old server was down
        await moved(bob, new.url)
        assert await texts(bob) == ["second"]


async def test_what_came_while_the_old_inbox_was_being_shut_is_carried_over_too(
    world: World, new: Caller, alice: InboxClient
) -> None:
    profile, name, _ = await with_mail(world, alice, Scissors(0, ""))
    async with opened(world, profile) as bob:
        own = bob.account.own(world.inbox_url)
        async for step in bob.move(new.url):
            if step.text.startswith("waiting"):  # only the owner's key still may, but it stands for what was under way
                key = bob.account.user.key.public
                pointer = bob.account.user.encrypt_id("0" * 32, _own_key(bob))
                await own.deliver(pointer, sender=key, recipient=key)
                with pytest.raises(InboxRefused, match="not_accepted"):
                    await alice.account.others(own.url).deliver("late", sender="alice.id", recipient=name)
        assert len(await ids_at(bob, new.url)) == 3


def _own_key(client: InboxClient) -> PublicKey:
    return parse_key(client.account.user.key.public)


async def test_a_watch_that_runs_goes_on_at_the_new_server(world: World, new: Caller, alice: InboxClient) -> None:
    profile, name, _ = await with_mail(world, alice, Scissors(0, ""))
    told = []
    async with (
        opened(world, profile) as bob,
        asyncio.timeout(PATIENCE_SECONDS),
        contextlib.aclosing(bob.watch()) as all_news,
    ):
        async for news in all_news:
            if isinstance(news, Arrived):
                told.append((await bob.fetch(news.entry)).content)
                if told == ["first", "second"]:
                    await moved(bob, new.url)
                    await alice.send(name, "third")
                if len(told) == 3:
                    break
    assert told == ["first", "second", "third"]


@pytest.mark.both_hubs
async def test_of_two_moves_at_once_both_end_well(world: World, new: Caller, alice: InboxClient) -> None:
    profile, name, _ = await with_mail(world, alice, Scissors(0, ""))
    async with opened(world, profile) as bob, opened(world, profile) as twin:
        async for step in bob.move(new.url):
            if step.text.startswith("waiting"):
                await moved(twin, new.url)
    await check_moved(world, new, alice, profile, name)


@pytest.mark.both_hubs
async def test_a_message_that_waits_for_the_old_server_follows_the_card(
    world: World, new: Caller, alice: InboxClient, tmp_path: Path
) -> None:
    async with client_of(world, "zoe.id", world.inbox_url, app=APP) as zoe:
        await zoe.account.own(world.inbox_url).claim({"accept": "nobody"})
        refused = await alice.send("zoe.id", "too early")
        assert [(outcome.state, outcome.code) for outcome in refused.outcomes] == [("refused", "not_accepted")]
        await moved(zoe, new.url)
        assert (await alice.send("zoe.id", "hello")).stored == ()  # `nobody` moved with the inbox
        await zoe.claim({"accept": "names"})
        assert (await alice.send("zoe.id", "hello")).stored == (new.url,)


async def test_a_move_that_cannot_begin_says_why_and_changes_nothing(world: World, new: Caller) -> None:
    async with client_of(world, "bob.id", world.inbox_url, app=APP, settings={"blocked": [new.key.address]}) as bob:
        before = bob.account.profile.read()
        forgetful = InMemory(replace(before, settings={}))
        async with opened(world, forgetful) as other:
            with pytest.raises(CannotMove, match="1 blocked, and the profile knows 0"):
                await moved(other, new.url)
        assert forgetful.read().move is None
        with pytest.raises(CannotMove, match="not an inbox on the card"):
            [step async for step in bob.move(new.url, old="http://127.0.0.1:1")]
        await moved(bob, new.url)
        (shown,) = await bob.settings()
        assert shown.answer["blocked"] == 1


async def test_a_move_to_what_is_no_inbox_server_or_refuses_leaves_everything_as_it_was(
    world: World, new: Caller, alice: InboxClient
) -> None:
    profile, name, _ = await with_mail(world, alice, Scissors(0, ""))
    before = profile.read()
    async with opened(world, profile) as bob, scripted() as refusing:
        with pytest.raises(Unreachable):
            await moved(bob, "http://127.0.0.1:1")
        refusing.say(200, {"protocol": "message-inbox", "origin": refusing.url, "limits": {"max_retention_seconds": 1}})
        refusing.say(403, {"code": "not_open", "detail": "By invitation."})
        with pytest.raises(InboxRefused, match="By invitation"):
            await moved(bob, refusing.url)
        assert profile.read() == before
        await moved(bob, new.url)
    await check_moved(world, new, alice, profile, name)


@pytest.mark.both_hubs
async def test_a_move_that_published_nothing_can_be_abandoned_or_go_elsewhere(
    world: World, new: Caller, alice: InboxClient
) -> None:
    profile, name, _ = await with_mail(world, alice, Scissors(0, ""))
    begun = Move(world.inbox_url, "http://127.0.0.1:1", {})
    profile.change(lambda profile: replace(profile, move=begun))
    async with opened(world, profile) as bob:
        assert await bob.abandon_move() == begun
        assert profile.read().move is None
        profile.change(lambda profile: replace(profile, move=begun))
        await moved(bob, new.url)
        await check_moved(world, new, alice, profile, name)
        # The card tells of it, though the program died before it could note that.
        profile.change(lambda profile: replace(profile, inboxes=(world.inbox_url,), move=replace(begun, new=new.url)))
        with pytest.raises(CannotMove, match="senders follow the card"):
            await bob.abandon_move()
        with pytest.raises(CannotMove, match="is not finished"):
            await moved(bob, "http://127.0.0.1:2")
        await moved(bob, new.url)
    assert (profile.read().inboxes, profile.read().move) == ((new.url,), None)


@pytest.mark.both_hubs
async def test_a_device_with_an_old_profile_notices_that_another_has_moved_the_inbox(
    world: World, new: Caller, alice: InboxClient, clock: HandClock
) -> None:
    profile, name, _ = await with_mail(world, alice, Scissors(0, ""))
    copies = [InMemory(profile.read()) for _ in range(3)]
    clock.advance(60)
    async with opened(world, profile) as bob:
        await moved(bob, new.url)
    async with opened(world, copies[0]) as second:
        unread = await second.unread()
        assert unread.taken_over == (new.url,)
        assert len(unread.entries) == 2
    async with opened(world, copies[1]) as third:
        assert await moved(third, new.url) == [
            f"another device has published a newer card, which names {new.url}",
            f"{new.url} has the inbox already: moved",
        ]
    async with (
        opened(world, copies[2]) as watching,
        asyncio.timeout(PATIENCE_SECONDS),
        contextlib.aclosing(watching.watch()) as news,
    ):
        told = [each async for each in _until(news, 2)]
        assert [each.detail for each in told if isinstance(each, Connection) and each.detail] == [
            f"it was moved by another device: the card names {new.url}"
        ]
    assert [copy.read().inboxes for copy in copies] == [(new.url,)] * 3
    await check_moved(world, new, alice, profile, name)


async def _until(all_news: AsyncIterator[object], arrived: int) -> AsyncIterator[object]:
    async for news in all_news:
        yield news
        arrived -= isinstance(news, Arrived)
        if not arrived:
            return


async def test_a_move_tells_how_far_it_is_and_that_it_waits(
    world: World, tmp_path: Path, alice: InboxClient, clock: HandClock
) -> None:
    profile, name, _ = await with_mail(world, alice, Scissors(0, ""))
    for number in range(118):
        await alice.account.others(world.inbox_url).deliver(f"message {number}", sender="alice.id", recipient=name)
    waits: list[Step] = []

    async def sleep(seconds: float) -> None:
        clock.advance(int(seconds) + 1)
        await asyncio.sleep(0)

    limited = _OPEN | {"limits": {"sender_per_hour": 100}}
    async with inbox_server(world, tmp_path / "slow", limited) as slow, opened(world, profile, sleep=sleep) as bob:
        steps = [step async for step in bob.move(slow.url, on_wait=waits.append)]
    carried = [step.carried for step in steps if step.text == "carried over what is unread"]
    assert carried == [50, 100, 120]
    assert {step.text.split(" s, ")[1] for step in waits} == {f"as {slow.url} asks"}
