"""A server that lies to the owner of an inbox: the audit catches and names each cheat, with evidence for others."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inbox_server.client.audit.evidence import Verdict, check_evidence, render_evidence
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.profile_file import Profile, parse_profile, render_profile
from inbox_server.client.reports import Audit
from inbox_server.client.storage import InMemory
from inbox_server.clock import DAY_SECONDS
from inbox_server.world.local_world import World
from tests.conftest import APP, HandClock
from tests.support.clients import client_of, index_of, opened
from tests.support.providers import Document, Lie, Provider, dropped, in_log, unlisted

HOUR = 3600


@pytest.fixture
async def bob(world: World, provider: Provider) -> AsyncIterator[InboxClient]:
    async with client_of(world, "bob.id", provider.url, app=APP) as client:
        yield client


async def sent(world: World, alice: InboxClient, bob: InboxClient, *texts: str) -> list[str]:
    """The ids of the entries, for which Alice has receipts."""
    for text in texts:
        report = await alice.send("bob.id", text)
        assert [outcome.receipt for outcome in report.outcomes] == ["kept"]
    return [entry.entry for entry in index_of(world, alice, bob)][-len(texts) :]


async def read_all(bob: InboxClient) -> None:
    """Every message that is listed, but without telling the server."""
    for entry in (await bob.unread()).entries:
        await bob.fetch(entry)


def codes(audit: Audit) -> list[str]:
    return sorted({finding.code for finding in audit.findings})


def verdicts(audit: Audit) -> list[Verdict]:
    return [check_evidence(render_evidence(finding.evidence)) for finding in audit.findings if finding.evidence]


async def test_an_honest_server_is_not_accused(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    await sent(world, alice, bob, "one", "two")
    await read_all(bob)
    audit = await bob.audit()
    assert audit == Audit((), entries=2, receipts=2)


async def test_an_entry_that_was_checked_and_dropped_is_missed(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    one, _ = await sent(world, alice, bob, "one", "two")
    assert (await bob.audit()).is_in_order
    provider.lies += dropped(one)
    audit = await bob.audit()
    assert codes(audit) == ["rolled_back"]
    assert [verdict.is_proof for verdict in verdicts(audit)] == [True]
    await sent(world, alice, bob, "three")  # now the log is as long as it was
    assert "rewritten" in codes(await bob.audit())


async def test_an_entry_that_was_listed_and_dropped_is_missed(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    (one,) = await sent(world, alice, bob, "one")
    await bob.unread()
    provider.lies += dropped(one)
    audit = await bob.audit()
    assert "not_in_log" in codes(audit)
    assert {finding.entry for finding in audit.findings} == {one}


async def test_an_entry_that_was_never_shown_is_missed_by_its_receipt_and_fetched(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock
) -> None:
    await sent(world, alice, bob, "one")
    await read_all(bob)
    await bob.audit()
    (two,) = await sent(world, alice, bob, "two")
    provider.lies += dropped(two)
    clock.advance(DAY_SECONDS)
    audit = await bob.audit()
    assert [(each.code, each.entry, each.sender) for each in audit.findings] == [
        ("receipt_without_entry", two, "alice.id")
    ]
    (entry,) = audit.found
    assert (await bob.fetch(entry)).content == "two"
    (verdict,) = verdicts(audit)
    assert verdict.is_proof
    assert "lacks the entry" in verdict.says[1]
    await bob.acknowledge([entry])
    assert (await bob.audit()).found == ()


async def test_entries_in_another_order_are_noticed(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    await sent(world, alice, bob, "one", "two")
    await bob.audit()
    provider.lies.append(in_log(lambda ids: ids[::-1]))
    audit = await bob.audit()
    assert codes(audit) == ["rewritten"]
    assert [verdict.is_proof for verdict in verdicts(audit)] == [True]


async def test_a_log_that_is_rolled_back_is_noticed(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    await sent(world, alice, bob, "one", "two")
    await bob.audit()
    provider.lies.append(in_log(lambda ids: ids[:1]))
    assert "rolled_back" in codes(await bob.audit())


async def test_an_answer_that_is_replayed_is_noticed(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    await sent(world, alice, bob, "one")
    kept: list[Document] = []

    def replay(path: str, document: Document) -> Document:
        if path == "/v1/inbox/log":
            kept.append(document)
            return kept[0]
        return document

    provider.lies.append(replay)
    assert (await bob.audit()).is_in_order
    await sent(world, alice, bob, "two")
    audit = await bob.audit()
    assert codes(audit) == ["replayed"]


def swap(_: str, document: Document) -> Document:
    """The texts of the first two entries, under each other's id."""
    if len(document.get("messages", ())) < 2:
        return document
    one, two, *rest = document["messages"]
    swapped = [{**one, "message_id": two["message_id"]}, {**two, "message_id": one["message_id"]}]
    return {**document, "messages": swapped + rest}


async def test_texts_that_were_swapped_are_noticed(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    await sent(world, alice, bob, "one", "two")
    provider.lies.append(swap)
    assert codes(await bob.audit()) == ["swapped"]


async def test_a_base_that_moves_over_what_nobody_has_checked_is_noticed(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider, clock: HandClock
) -> None:
    await sent(world, alice, bob, "one")
    await bob.audit()
    two, _ = await sent(world, alice, bob, "two", "three")
    provider.lies += [in_log(lambda ids: ids, base=2), unlisted(two)]
    clock.advance(40 * DAY_SECONDS)  # longer than anything lives here, but not longer than the log must be kept
    assert "base_moved" in codes(await bob.audit())
    clock.advance(60 * DAY_SECONDS)
    audit = await bob.audit()
    assert "away_too_long" in codes(audit)
    assert not audit.is_accusation
    assert (await bob.audit()).is_in_order


async def test_a_text_that_is_withheld_is_noticed_and_fetched(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    await sent(world, alice, bob, "one")
    await read_all(bob)
    (two,) = await sent(world, alice, bob, "two")
    provider.lies.append(unlisted(two))
    audit = await bob.audit()
    assert [(each.code, each.entry) for each in audit.findings] == [("withheld", two)]
    assert [(await bob.fetch(entry)).content for entry in audit.found] == ["two"]


async def test_two_devices_that_are_shown_different_logs_find_out(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    one, _ = await sent(world, alice, bob, "one", "two")
    laptop: InMemory[Profile] = InMemory(parse_profile(render_profile(bob.account.profile.read())))
    await bob.audit()
    provider.lies += dropped(one)
    await sent(world, alice, bob, "three")
    async with opened(world, laptop) as other:
        assert "rewritten" in codes(await other.audit())


async def test_a_log_that_another_key_signed_is_not_taken(
    world: World, alice: InboxClient, bob: InboxClient, provider: Provider
) -> None:
    await sent(world, alice, bob, "one")

    def forge(path: str, document: Document) -> Document:
        if path == "/v1/inbox/log":
            document["signed"] = alice.account.user.key.token({"iss": provider.url}, "inbox-head+jwt")
        return document

    provider.lies.append(forge)
    assert codes(await bob.audit()) == ["rewritten"]

    def other_key(path: str, document: Document) -> Document:
        return {**document, "receipts": {"key": alice.account.user.key.public}} if "receipts" in document else document

    provider.lies.append(other_key)
    audit = await bob.audit()
    assert codes(audit) == ["other_key"]
    assert not audit.is_accusation
    assert not audit.is_in_order


LIES: dict[str, tuple[bool, object]] = {
    "drop": (True, lambda ids: dropped(ids[1])),
    "drop the newest": (True, lambda ids: dropped(ids[3])),
    "reorder": (True, lambda _: [in_log(lambda logged: [*logged[1:2], *logged[:1], *logged[2:]])]),
    "roll back": (True, lambda _: [in_log(lambda logged: logged[:1])]),
    "move the base": (False, lambda _: [in_log(lambda logged: logged, base=3)]),
    "swap": (False, lambda _: [swap]),
    "withhold": (False, lambda ids: [unlisted(ids[3])]),
}


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.sets(st.sampled_from(sorted(LIES)), min_size=1), hours=st.integers(0, 20))
async def test_no_combination_of_lies_goes_unnoticed(
    world: World, provider: Provider, clock: HandClock, names: set[str], hours: int
) -> None:
    number = len(world.people)
    provider.lies.clear()
    async with (
        client_of(world, f"alice{number}.id", app=APP) as alice,
        client_of(world, f"bob{number}.id", provider.url, app=APP) as bob,
    ):
        for text in ("one", "two"):
            await alice.send(f"bob{number}.id", text)
        await read_all(bob)
        assert (await bob.audit()).is_in_order
        for text in ("three", "four"):
            await alice.send(f"bob{number}.id", text)
        ids = [entry.entry for entry in index_of(world, alice, bob)]
        clock.advance(hours * HOUR)
        for name in sorted(names):
            make = LIES[name][1]
            assert callable(make)
            lies: list[Lie] = make(ids)
            provider.lies += lies
        assert (await bob.audit()).is_accusation
