"""Sending: one delivery with the same bytes however often it is tried, and true reports about each inbox."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from inbox_server.client.http_sessions import open_sessions
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.open_client import outbox_file
from inbox_server.client.outbox import KEPT_SECONDS, Outbox
from inbox_server.client.refusals import Unreachable
from inbox_server.client.storage import InMemory
from inbox_server.client.user import NotReachable
from inbox_server.outgoing.guard import NotAllowed
from inbox_server.world.local_world import World
from tests.conftest import APP, HandClock
from tests.support.clients import ITS_ID, Scripted, client_of, opened, profile_of, scripted

_STORED = {"id": ITS_ID, "expires": 1}
pytestmark = pytest.mark.both_hubs


@pytest.fixture
async def bob(world: World) -> AsyncIterator[InboxClient]:
    """Nobody's inbox is claimed for him: tests say what stands on his card."""
    async with client_of(world, "bob.id", app=APP) as client:
        yield client


def claims_of(authorization: str) -> dict[str, object]:
    payload = authorization.split(".")[1]
    claims: dict[str, object] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def messages_of(world: World, client: InboxClient) -> list[str]:
    """What lies in the client's bucket for others."""
    listed = world.hub.list(client.account.user.key.address, None).files
    return [path for path in listed if path.startswith("outbox/")]


def problem(code: str, status: int, **more: object) -> dict[str, object]:
    return {"status": status, "code": code, "title": "x", "detail": f"{code}.", **more}


async def test_a_retry_repeats_the_same_bytes_also_after_a_restart(
    world: World, bob: InboxClient, server: Scripted, tmp_path: Path
) -> None:
    await bob.publish((server.url,))
    server.say(500)
    profile = InMemory(profile_of(world, await world.settle("alice.id", APP)))
    path = tmp_path / "alice.json"
    async with opened(world, profile, outbox_file(path)) as alice:
        sent = await alice.send("bob.id", "hello")
        assert [(outcome.state, outcome.code) for outcome in sent.outcomes] == [("later", "")]
    server.answers.clear()
    server.say(201, _STORED)
    async with opened(world, profile, outbox_file(path)) as alice:
        (again,) = await alice.retry()
        assert again == replace(sent, outcomes=(replace(again.outcomes[0], state="done"),))
        assert await alice.retry() == ()
    first, second = server.asked
    assert first.body == second.body
    assert len(json.loads(first.body)["message_id"]) == 816
    assert len(messages_of(world, alice)) == 1


async def test_every_inbox_on_the_card_gets_the_same_id_and_a_token_of_its_own(
    world: World, alice: InboxClient, bob: InboxClient, server: Scripted
) -> None:
    async with scripted() as other:
        await bob.publish((server.url, other.url))
        server.say(201, _STORED)
        other.say(403, problem("not_accepted", 403))
        sent = await alice.send("bob.id", "hello")
    assert sent.stored == (server.url,)
    assert [(outcome.state, outcome.code) for outcome in sent.outcomes] == [("done", ""), ("refused", "not_accepted")]
    assert alice.account.outbox.read() == {}
    assert server.asked[0].body == other.asked[0].body
    assert [claims_of(each.asked[0].authorization)["aud"] for each in (server, other)] == [server.url, other.url]


async def test_no_gaia_token_is_sent_to_an_inbox(alice: InboxClient, bob: InboxClient, server: Scripted) -> None:
    await bob.publish((server.url,))
    server.say(200, {"protocol": "message-inbox", "origin": server.url, "unread": 0, "id": ITS_ID})
    await bob.claim({})
    await alice.send("bob.id", "hello")
    await bob.unread()
    await bob.forget()
    tokens = [asked.authorization for asked in server.asked if asked.authorization]
    assert len(tokens) == 5
    for token in tokens:
        assert token.startswith("Bearer eyJ")
        assert not claims_of(token).keys() & {"gaiaChallenge", "hubUrl", "associationToken", "salt", "scopes"}


async def test_an_inbox_that_refuses_is_looked_for_on_a_newer_card(
    world: World, alice: InboxClient, bob: InboxClient, server: Scripted
) -> None:
    await bob.claim({"names": ["bob.id"]}, inboxes=(world.inbox_url,))
    await bob.publish((server.url,))
    server.say(500)
    await alice.send("bob.id", "hello")
    await bob.publish((world.inbox_url,))  # he has moved
    assert [report.stored for report in await alice.retry()] == [(world.inbox_url,)]
    assert len(server.asked) == 1
    assert len((await bob.unread()).entries) == 1


async def test_what_a_draining_server_refuses_is_kept_and_follows_the_recipient(
    world: World, alice: InboxClient, bob: InboxClient, server: Scripted, clock: HandClock
) -> None:
    await bob.claim({"names": ["bob.id"]}, inboxes=(world.inbox_url,))
    await bob.publish((world.inbox_url,))
    await world.store.operating.drain(on=True)
    sent = await alice.send("bob.id", "hello")
    assert [(outcome.state, outcome.code) for outcome in sent.outcomes] == [("later", "draining")]
    await bob.publish((server.url,))  # he has moved
    server.say(201, _STORED)
    clock.advance(59)
    assert await alice.retry() == ()
    clock.advance(1)
    assert [report.stored for report in await alice.retry()] == [(server.url,)]
    assert alice.account.outbox.read() == {}


async def test_the_longer_a_draining_server_holds_something_back_the_more_seldom_the_card_is_read(
    world: World, alice: InboxClient, bob: InboxClient, clock: HandClock
) -> None:
    await bob.claim({"names": ["bob.id"]}, inboxes=(world.inbox_url,))
    await bob.publish((world.inbox_url,))
    await world.store.operating.drain(on=True)
    await alice.send("bob.id", "hello")
    for least, most in ((20, 40), (6, 12)):
        looked = set()
        for _ in range(120):
            clock.advance(30)
            await alice.retry()
            looked |= {waiting.looked for waiting in alice.account.outbox.read().values()}
        assert least <= len(looked) <= most, looked


async def test_an_older_card_than_one_that_was_seen_is_refused(
    world: World, alice: InboxClient, bob: InboxClient, server: Scripted
) -> None:
    await bob.publish((server.url,))
    address = bob.account.user.key.address
    old = world.hub.read(address, "inbox.json")
    assert old
    await bob.publish((server.url,))
    server.say(201, _STORED)
    assert (await alice.send("bob.id", "hello")).stored
    world.hub.store(address, "inbox.json", old.content, old.content_type)
    with pytest.raises(NotReachable, match="older than one seen before"):
        await alice.send("bob.id", "hello again")
    assert len(server.asked) == 1


async def test_retry_after_is_obeyed_by_every_message_to_that_inbox(
    alice: InboxClient, bob: InboxClient, server: Scripted, clock: HandClock
) -> None:
    await bob.publish((server.url,))
    server.say(429, problem("too_many", 429), Retry_After="90")
    await alice.send("bob.id", "one")
    second = await alice.send("bob.id", "two")
    assert [(outcome.state, outcome.code) for outcome in second.outcomes] == [("later", "too_many")]
    clock.advance(89)
    assert await alice.retry() == ()
    assert len(server.asked) == 1
    server.answers.clear()
    server.say(201, _STORED)
    clock.advance(1)
    assert len(await alice.retry()) == 2
    assert alice.account.outbox.read() == {}


@pytest.mark.parametrize("status", [429, 503])
async def test_a_client_with_patience_waits_as_long_as_the_server_says(
    world: World, bob: InboxClient, server: Scripted, status: int
) -> None:
    await bob.publish((server.url,))
    server.say(status, problem("too_many", status), Retry_After="7")
    server.say(status, problem("too_many", status), Retry_After="5")
    server.say(201, _STORED)
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    profile = InMemory(profile_of(world, await world.settle("alice.id", APP)))
    async with opened(world, profile, sleep=sleep, patience_seconds=12) as alice:
        assert (await alice.send("bob.id", "hello")).stored
        assert waited == [7, 5]
        server.answers[:] = [(status, {"Retry-After": "13"}, b"")]
        assert not (await alice.send("bob.id", "hello")).stored
    assert waited == [7, 5]


async def test_a_wrong_clock_is_corrected_once(
    alice: InboxClient, bob: InboxClient, server: Scripted, clock: HandClock
) -> None:
    await bob.publish((server.url,))
    server.say(401, problem("bad_token", 401, member="iat", now=clock.now - 4000))
    server.say(201, _STORED)
    assert (await alice.send("bob.id", "hello")).stored
    assert [claims_of(asked.authorization)["iat"] for asked in server.asked] == [clock.now, clock.now - 4000]
    server.answers[:] = []
    server.say(401, problem("bad_token", 401, now=1))
    sent = await alice.send("bob.id", "hello")
    assert [(outcome.state, outcome.code) for outcome in sent.outcomes] == [("refused", "bad_token")]
    assert len(server.asked) == 4


@pytest.mark.parametrize("has_inbox", [True, False])
async def test_a_clock_that_goes_wrong_does_not_empty_the_outbox(
    world: World, bob: InboxClient, server: Scripted, clock: HandClock, has_inbox: bool
) -> None:
    await bob.publish((server.url,))
    server.say(500)
    server.say(503, problem("busy", 503), Retry_After="60")
    profile = InMemory(profile_of(world, await world.settle("alice.id", APP)))
    outbox = InMemory[Outbox]({})
    async with opened(world, profile, outbox) as alice:
        if has_inbox:
            await alice.claim({}, inboxes=(world.inbox_url,))
            await alice.publish((world.inbox_url,))
        await alice.send("bob.id", "hello")
    async with opened(world, profile, outbox, ahead=KEPT_SECONDS + 86_400) as fast:
        assert [report.outcomes[0].state for report in await fast.retry()] == ["later"]
    server.answers[:] = [(201, {}, json.dumps(_STORED).encode())]
    clock.advance(60)  # and not the month that a fast clock noted
    async with opened(world, profile, outbox) as alice:
        assert [report.stored for report in await alice.retry()] == [(server.url,)]


async def test_a_refusal_is_not_final_while_nobody_can_tell_whether_the_recipient_has_moved(
    world: World, alice: InboxClient, bob: InboxClient, server: Scripted
) -> None:
    await bob.publish((server.url,))
    server.say(500)
    await alice.send("bob.id", "hello")
    server.answers.clear()
    server.say(403, problem("not_accepted", 403))
    profile, outbox = alice.account.profile, alice.account.outbox
    services = profile.read().services
    profile.change(lambda profile: replace(profile, services=("http://127.0.0.1:1",)))
    async with opened(world, profile, outbox) as cut_off:
        (report,) = await cut_off.retry()
    assert [(outcome.state, outcome.code) for outcome in report.outcomes] == [("later", "not_accepted")]
    profile.change(lambda profile: replace(profile, services=services))
    await bob.claim({"names": ["bob.id"]}, inboxes=(world.inbox_url,))
    await bob.publish((world.inbox_url,))
    assert [report.stored for report in await alice.retry()] == [(world.inbox_url,)]
    assert outbox.read() == {}


async def test_what_waits_for_thirty_days_is_given_up_and_told(
    world: World, alice: InboxClient, bob: InboxClient, server: Scripted, clock: HandClock
) -> None:
    await bob.publish((server.url,))
    server.say(500)
    await alice.claim({}, inboxes=(world.inbox_url,))
    await alice.publish((world.inbox_url,))
    await alice.send("bob.id", "hello")
    clock.advance(KEPT_SECONDS)
    (report,) = await alice.retry()
    assert [(outcome.state, outcome.code) for outcome in report.outcomes] == [("refused", "gave_up")]
    assert alice.account.outbox.read() == {}
    assert len(server.asked) == 1


async def test_a_redirect_of_an_inbox_is_not_followed(alice: InboxClient, bob: InboxClient, server: Scripted) -> None:
    await bob.publish((server.url,))
    server.say(307, Location=f"{server.url}/elsewhere")
    sent = await alice.send("bob.id", "hello")
    assert sent.stored == ()
    assert [asked.path for asked in server.asked] == ["/v1/messages"]


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8710", "https://127.0.0.1", "https://10.0.0.1", "https://printer", "https://x.example:8443"],
)
async def test_a_strangers_card_cannot_lead_into_the_own_network(url: str) -> None:
    async with open_sessions(frozenset()) as sessions:
        with pytest.raises(NotAllowed):
            sessions.to_stranger(url)
    async with open_sessions(frozenset({url})) as sessions:
        assert sessions.to_stranger(url) is sessions.trusted
    async with open_sessions(frozenset(), is_local=True) as sessions:
        if "127.0.0.1" in url:
            assert sessions.to_stranger(url) is sessions.trusted
        else:
            with pytest.raises(NotAllowed):
                sessions.to_stranger(url)


async def test_an_inbox_that_may_not_be_asked_is_reported_and_not_asked(world: World, bob: InboxClient) -> None:
    await bob.publish(("https://10.0.0.1",))
    outbox = InMemory[Outbox]({})
    profile = InMemory(profile_of(world, await world.settle("alice.id", APP)))
    async with opened(world, profile, outbox) as alice:
        sent = await alice.send("bob.id", "hello")
        assert [(outcome.state, outcome.code) for outcome in sent.outcomes] == [("later", "unreachable")]
        assert "not on the public web" in sent.outcomes[0].detail
        with pytest.raises(Unreachable):
            alice.account.others("https://10.0.0.1")


async def test_who_has_no_card_or_withdrew_it_is_not_reachable(
    world: World, alice: InboxClient, bob: InboxClient
) -> None:
    with pytest.raises(NotReachable, match="no inbox card is published"):
        await alice.send("bob.id", "hello")
    with pytest.raises(NotReachable, match="knows no such name"):
        await alice.send("nobody.id", "hello")
    with pytest.raises(NotReachable, match="neither a name"):
        await alice.send("Bob", "hello")
    await bob.claim({"names": ["bob.id"]}, inboxes=(world.inbox_url,))
    await bob.publish((world.inbox_url,))
    await bob.forget()
    with pytest.raises(NotReachable, match="withdrawn"):
        await alice.send("bob.id", "hello")
    assert messages_of(world, alice) == []  # nothing was written for nobody


async def test_people_without_names_write_to_each_other_by_key_and_by_address(world: World) -> None:
    profiles = [InMemory(profile_of(world, await world.settle(f"{name}.id", APP), named=False)) for name in "cd"]
    async with opened(world, profiles[0]) as carl, opened(world, profiles[1]) as dora:
        await carl.claim({"accept": "anyone"}, inboxes=(world.inbox_url,))
        await carl.publish((world.inbox_url,))
        await dora.send(carl.account.user.key.public, "by key")
        await dora.send(carl.account.user.key.address, b"\x00by address")
        entries = (await carl.unread()).entries
        messages = [await carl.fetch(entry) for entry in entries]
        assert [message.content for message in messages] == ["by key", b"\x00by address"]
        assert {message.sender for message in messages} == {dora.account.user.key.public}


async def test_a_card_is_read_by_the_own_inbox_s_time_when_the_clock_here_is_wrong(
    world: World, bob: InboxClient, server: Scripted
) -> None:
    await bob.publish((server.url,))
    server.say(201, _STORED)
    profile = InMemory(profile_of(world, await world.settle("alice.id", APP)))
    async with opened(world, profile, ahead=-7200) as alice:
        with pytest.raises(NotReachable, match=r"or the clock here is wrong: it says \d{4}-\d\d-\d\d \d\d:\d\d UTC"):
            await alice.send("bob.id", "hello")
        await alice.claim({"names": ["alice.id"]}, inboxes=(world.inbox_url,))
        await alice.publish((world.inbox_url,))
    async with opened(world, profile, ahead=-7200) as alice:
        assert (await alice.send("bob.id", "hello")).stored == (server.url,)


@pytest.mark.parametrize("ahead", [-86_400, 600, 86_400 * 500])
async def test_a_card_is_dated_by_the_inbox_s_time(world: World, alice: InboxClient, ahead: int) -> None:
    profile = InMemory(profile_of(world, await world.settle("bob.id", APP)))
    async with opened(world, profile, ahead=ahead) as bob:
        await bob.claim({"names": ["bob.id"]}, inboxes=(world.inbox_url,))
        assert await bob.publish((world.inbox_url,)) == world.clock()
        assert (await alice.send("bob.id", "hello")).stored == (world.inbox_url,)
        assert len((await bob.unread()).entries) == 1


async def test_a_card_after_a_lost_profile_is_newer_to_whoever_saw_the_last(
    world: World, alice: InboxClient, bob: InboxClient, server: Scripted, clock: HandClock
) -> None:
    server.say(201, _STORED)
    for _ in range(3):
        await bob.publish((server.url,))
    await alice.send("bob.id", "hello")
    await bob.forget()  # no card is left that tells its number
    clock.advance(60)
    async with opened(world, InMemory(profile_of(world, await world.settle("bob.id", APP)))) as again:
        await again.publish((server.url,))
    assert (await alice.send("bob.id", "hello")).stored == (server.url,)
