"""The audit: what honest servers do is explained and never an accusation, and what is said of it."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inbox_server.client.audit.checkpoint import CHECKPOINT_FILE, SharedCheckpoints
from inbox_server.client.audit.evidence import BadEvidence, check_evidence, render_evidence
from inbox_server.client.audit.findings import ACCUSES, CANNOT_CHECK
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.profile_file import parse_profile, render_profile
from inbox_server.client.publish import Publishing
from inbox_server.client.reports import Audit
from inbox_server.client.storage import InMemory
from inbox_server.client.user import NotAuthentic
from inbox_server.clock import DAY_SECONDS
from inbox_server.world.local_world import World
from tests.conftest import APP, HandClock
from tests.support.clients import client_of, index_of, opened, profile_of
from tests.support.providers import Document, Provider, dropped
from tests.test_docs import table_in


@pytest.fixture
async def bob(world: World, provider: Provider) -> AsyncIterator[InboxClient]:
    async with client_of(world, "bob.id", provider.url, app=APP) as client:
        yield client


def codes(audit: Audit) -> list[str]:
    assert not audit.is_accusation, audit.findings
    return sorted({finding.code for finding in audit.findings})


async def test_a_crash_and_a_restart_are_nothing(alice: InboxClient, bob: InboxClient, provider: Provider) -> None:
    await alice.send("bob.id", "one")
    await bob.audit()
    await alice.send("bob.id", "two")
    await provider.restart()
    assert codes(await bob.audit()) == []


async def test_a_copy_that_was_put_back_is_said_and_what_it_lost_is_fetched(
    alice: InboxClient, bob: InboxClient, provider: Provider, tmp_path: Path, clock: HandClock
) -> None:
    await alice.send("bob.id", "one")
    provider.back_up(tmp_path / "copy")
    await alice.send("bob.id", "two")
    for entry in (await bob.unread()).entries:
        await bob.fetch(entry)
    await bob.audit()
    clock.advance(DAY_SECONDS)
    await alice.send("bob.id", "three")
    await provider.restore(tmp_path / "copy")
    audit = await bob.audit()
    assert codes(audit) == ["restored"]
    assert [(await bob.fetch(entry)).content for entry in audit.found] == ["two", "three"]
    await bob.acknowledge(audit.found)
    for text in ("four", "five", "six"):
        await alice.send("bob.id", text)
    await bob.audit()
    clock.advance(DAY_SECONDS)
    assert codes(await bob.audit()) in ([], ["restored"])


async def test_what_expired_unread_or_read_is_nothing(
    alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock
) -> None:
    for ttl in (60, 3600, 86_400, 100_000, 10 * DAY_SECONDS):
        await alice.send("bob.id", f"lives {ttl}", ttl=ttl)
    await bob.unread()
    for days in (1, 1, 3, 10, 100):
        clock.advance(days * DAY_SECONDS)
        await bob.acknowledge((await bob.unread()).entries[:1])
        await provider.restart()
        assert codes(await bob.audit()) in ([], ["away_too_long"])


async def test_an_inbox_that_was_deleted_and_claimed_anew_has_another_log(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock
) -> None:
    other_device = InMemory(parse_profile(render_profile(bob.account.profile.read())))
    await alice.send("bob.id", "one")
    async with opened(world, other_device) as other:
        for device in (bob, other):
            await device.fetch((await device.unread()).entries[0])
        await other.audit()
        await bob.forget()
        await bob.claim({"names": ["bob.id"]}, inboxes=(provider.url,))
        await bob.publish((provider.url,))
        assert codes(await bob.audit()) == []  # although Alice has a receipt of today
        assert codes(await other.audit()) == []
        clock.advance(DAY_SECONDS)
        await alice.send("bob.id", "two")
        provider.lies += dropped(index_of(world, alice, bob)[-1].entry)
        assert [finding.code for finding in (await bob.audit()).findings] == ["receipt_without_entry"]


async def test_a_move_carries_the_log_s_promise_along(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock
) -> None:
    await alice.send("bob.id", "one")
    await bob.audit()
    async for _ in bob.move(world.inbox_url):
        pass
    assert codes(await bob.audit()) == []
    clock.advance(DAY_SECONDS)
    await alice.send("bob.id", "two")
    async for _ in bob.move(provider.url):
        pass
    assert codes(await bob.audit()) == []
    assert [(await bob.fetch(entry)).content for entry in (await bob.unread()).entries] == ["one", "two"]


async def test_what_another_device_has_read_is_not_withheld(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock
) -> None:
    """Also what it had read at another inbox before it came here, late."""
    await bob.claim({"names": ["bob.id"]}, inboxes=(world.inbox_url,))
    await bob.publish((world.inbox_url, provider.url))
    laptop = InMemory(parse_profile(render_profile(bob.account.profile.read())))
    async with opened(world, laptop) as other:
        await alice.send("bob.id", "one")
        await other.acknowledge((await other.unread()).entries)
        assert codes(await bob.audit()) == []
        await provider.stop()
        await alice.send("bob.id", "two")
        two = (await other.unread()).entries
        await provider.start()
        await other.acknowledge(two)
        assert codes(await bob.audit()) == []
        await alice.retry()  # it comes to the second inbox now, where it was read already
        assert codes(await bob.audit()) == []
        assert (await bob.unread()).entries == ()


async def test_a_wrong_clock_of_the_client_accuses_nobody(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    await alice.send("bob.id", "one", ttl=2 * DAY_SECONDS)
    for ahead in (-400 * DAY_SECONDS, -3600, 90, 3 * DAY_SECONDS, 400 * DAY_SECONDS):
        async with opened(world, bob.account.profile, ahead=ahead) as wrong:
            assert codes(await wrong.audit()) == ([] if abs(ahead) <= 7200 else ["other_time"])
        await alice.send("bob.id", "more")


async def test_a_server_without_the_feature_cannot_be_checked(
    world: World, bob: InboxClient, provider: Provider
) -> None:
    def older(path: str, document: Document) -> Document:
        return {**document, "features": []} if "features" in document else document

    provider.lies.append(older)
    assert codes(await bob.audit()) == ["no_log"]
    await provider.stop()
    assert codes(await bob.audit()) == ["unreachable"]


async def test_a_half_written_index_or_checkpoint_accuses_nobody(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    await alice.send("bob.id", "one")
    for entry in (await bob.unread()).entries:
        await bob.fetch(entry)
    await bob.audit()
    address = alice.account.user.key.address
    (path,) = (path for path in world.hub.list(address, None).files if path.startswith("index/"))
    world.hub.cut(address, path, 100)
    audit = await bob.audit()
    assert codes(audit) == []
    assert [(sender, "being written" in why) for sender, why in audit.unread_indexes] == [("alice.id", True)]
    world.hub.cut(bob.account.user.key.address, CHECKPOINT_FILE, 100)
    assert codes(await bob.audit()) == ["no_checkpoint"]
    assert codes(await bob.audit()) == []  # it was written anew


async def test_a_card_that_lacks_a_receipt_key_is_published_again_by_itself(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    await bob.account.user.publish((provider.url,), seq=bob.account.profile.read().seq)  # as an older client does
    sent = await alice.send("bob.id", "one")
    assert [outcome.receipt for outcome in sent.outcomes] == [""]
    assert await Publishing(bob.account).renew()
    sent = await alice.send("bob.id", "two")
    assert [outcome.receipt for outcome in sent.outcomes] == ["kept"]
    assert await Publishing(bob.account).renew() is None


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (lambda receipt: None, "gave no receipt"),
        (lambda receipt: {**receipt, "salt": "A" * 22}, "another delivery"),
        (lambda receipt: {**receipt, "token": receipt["token"][:-4] + "AAAA"}, "not signed"),
        (lambda receipt: {**receipt, "path": receipt["path"][1:]}, "form of a receipt"),
        (lambda receipt: "x", "form of a receipt"),
    ],
)
async def test_a_receipt_that_does_not_hold_is_told_and_the_message_counts(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, lie: Any, words: str
) -> None:
    def told(path: str, document: Document) -> Document:
        return {**document, "receipt": lie(document["receipt"])} if "receipt" in document else document

    provider.lies.append(told)
    sent = await alice.send("bob.id", "one")
    assert sent.stored == (provider.url,)
    assert words in sent.outcomes[0].receipt
    assert [entry.receipts for entry in index_of(world, alice, bob)] == [{}]


async def test_a_delivery_that_is_repeated_later_gets_its_receipt(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock
) -> None:
    await provider.stop()
    await alice.send("bob.id", "one")
    assert [entry.receipts for entry in index_of(world, alice, bob)] == [{}]
    await provider.start()
    clock.advance(8 * DAY_SECONDS)
    (report,) = await alice.retry()
    assert [outcome.receipt for outcome in report.outcomes] == ["kept"]
    assert [[*entry.receipts] for entry in index_of(world, alice, bob, weeks_ago=1)] == [[provider.url]]


async def test_what_contacts_sent_is_read_without_any_server(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    await alice.send("bob.id", "before")
    read = (await bob.unread()).entries
    await bob.fetch(read[0])
    await bob.acknowledge(read)
    await alice.send("bob.id", "stored, and then the server went away")
    await provider.stop()
    await alice.send("bob.id", "to no server at all")
    unread = await bob.unread()
    assert unread.without_server
    texts = [(await bob.fetch(entry)).content for entry in unread.entries]
    assert texts == ["stored, and then the server went away", "to no server at all"]
    await bob.acknowledge(unread.entries)
    assert (await bob.unread()).entries == ()
    await provider.start()
    await alice.retry()
    again = await bob.unread()
    assert (again.entries, again.without_server) == ((), False)
    assert codes(await bob.audit()) == []


async def test_a_contact_of_whom_only_the_address_is_known_is_asked_too(world: World, provider: Provider) -> None:
    profiles = [InMemory(profile_of(world, await world.settle(f"{name}.id", APP), named=False)) for name in "cd"]
    async with opened(world, profiles[0]) as carl, opened(world, profiles[1]) as dora:
        contacts = {"accept": "contacts", "contacts": [carl.account.user.key.address]}
        await dora.claim(contacts, inboxes=(provider.url,))
        await dora.publish((provider.url,))
        await carl.account.user.publish((provider.url,), seq=1)  # his key, where his address leads
        await carl.send(dora.account.user.key.public, "hello")
        await provider.stop()
        (entry,) = (await dora.unread()).entries
        assert (await dora.fetch(entry)).content == "hello"


async def test_a_contact_whose_bucket_does_not_give_the_key_now_is_not_passed_over(
    world: World, bob: InboxClient, provider: Provider
) -> None:
    profile = InMemory(profile_of(world, await world.settle("carl.id", APP), named=False))
    async with opened(world, profile) as carl:
        await carl.account.user.publish((provider.url,), seq=1)
        address = carl.account.user.key.address
        await bob.claim({"contacts": [address]})
        world.hub.cut(address, "key.json", 0)
        audit = await bob.audit()
        assert [(sender, "being written" in why) for sender, why in audit.unread_indexes] == [(address, True)]
        assert not audit.is_in_order


async def test_a_pointer_that_its_sender_did_not_make_is_not_taken(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    await alice.send("bob.id", "one")
    (entry,) = (await bob.unread()).entries
    assert entry.pointer
    assert entry.pointer.link
    forged = replace(entry, pointer=replace(entry.pointer, link=replace(entry.pointer.link, n=7)))
    with pytest.raises(NotAuthentic, match="did not send"):
        await bob.fetch(forged)
    await bob.fetch(entry)
    people = bob.account.profile.read().remembered.people
    assert [(person.identity, person.n) for person in people.values()] == [("alice.id", 1)]


def test_the_page_lists_every_finding() -> None:
    rows = table_in("docs/client.md", "findings")
    told = {code.strip("`"): verdict for code, _, verdict in rows}
    assert told == dict.fromkeys(ACCUSES, "accuses") | dict.fromkeys(CANNOT_CHECK, "cannot be checked")


async def test_evidence_that_was_changed_proves_nothing(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock
) -> None:
    await alice.send("bob.id", "one")
    await bob.audit()
    await alice.send("bob.id", "two")
    for entry in (await bob.unread()).entries:
        await bob.fetch(entry)
    provider.lies += dropped(index_of(world, alice, bob)[-1].entry)
    clock.advance(DAY_SECONDS)
    found = next(each for each in (await bob.audit()).findings if each.code == "receipt_without_entry")
    assert found.evidence
    document = json.loads(render_evidence(found.evidence))
    assert check_evidence(json.dumps(document).encode()).is_proof
    assert not check_evidence(json.dumps({**document, "log": []}).encode()).is_proof
    other = alice.account.user.key
    for changes in (
        {"key": other.public},
        {"address": other.address},
        {"inbox": "https://other.example"},
        {"entry": {**document["entry"], "expires": document["entry"]["expires"] + 86_400}},
        {"receipt": {**document["receipt"], "token": document["receipt"]["token"][:-8] + "AAAAAAAA"}},
        {"log": [{**document["log"][0], "entries": []}]},
        {"receipt": None},
        {"kind": "x"},
        {"v": 2},
        {"entry": None},
        {"key": "x"},
    ):
        with pytest.raises(BadEvidence):
            check_evidence(json.dumps(document | changes).encode())
    for content in (b"", b"[]", b"{}", b"\xff", json.dumps({**document, "receipt": 5}).encode()):
        with pytest.raises(BadEvidence):
            check_evidence(content)


async def test_the_checkpoint_is_kept_for_all_devices(alice: InboxClient, bob: InboxClient, provider: Provider) -> None:
    await alice.send("bob.id", "one")
    await bob.audit()
    (point,) = (await SharedCheckpoints(bob.account.user).read()).values()
    assert point.signed
    assert point.n == bob.account.profile.read().remembered.audited[provider.url].n
