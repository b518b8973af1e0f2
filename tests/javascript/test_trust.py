"""Receipts, indexes and audits of the JavaScript client at the real server, and with the Python client beside it."""

import json
import re
from dataclasses import replace

import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.client.audit.checkpoint import CHECKPOINTS, Checkpoint
from inbox_server.client.audit.evidence import check_evidence
from inbox_server.client.audit.findings import ACCUSES, CANNOT_CHECK
from inbox_server.client.ecies import decrypt
from inbox_server.client.index import read_index
from inbox_server.client.own_file import OwnFile
from inbox_server.client.pairs import Pair, week_of
from inbox_server.client.sheets import PEOPLE
from inbox_server.client.storage import InMemory
from inbox_server.client.user import AppUser
from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.world.local_world import World
from tests.conftest import APP, START, HandClock
from tests.support.clients import client_of, opened, profile_of
from tests.support.javascript import CLIENT, Node
from tests.support.pages import Page, page_of
from tests.support.second_hub import at_another_hub

# npm ci has its own limit, and comes in only once.
pytestmark = pytest.mark.timeout(60, func_only=True)


@pytest.fixture
async def alice_page(node: Node, world: World) -> Page:
    return page_of(node, world, (await world.settle("alice.id", APP)).app_key, "alice.id")


@pytest.fixture
async def bob_page(node: Node, world: World) -> Page:
    page = page_of(node, world, (await world.settle("bob.id", APP)).app_key, "bob.id")
    await page.call("publish", [world.inbox_url])
    await page.call("claim", {"names": ["bob.id"]})
    return page


def key_of(page: Page) -> AppKey:
    return AppKey.from_hex(page.options["privateKey"])


@pytest.mark.both_hubs
async def test_the_real_server_is_never_accused(alice_page: Page, bob_page: Page, clock: HandClock) -> None:
    other_page = page_of(bob_page.node, bob_page.world, key_of(bob_page), "bob.id")
    for page in (bob_page, other_page):
        report = await alice_page.call("send", "bob.id", "hello")
        assert report["stored"][0]["signed"]["path"]
        assert "index" not in report
        await alice_page.call("send", "bob.id", "of a short life", {"ttlSeconds": 60})
        first, *_ = (await page.call("unread"))["entries"]
        await page.call("fetch", first)
        await page.call("acknowledge", [first])
        audit = await page.call("audit")
        assert (audit["verdict"], audit["findings"], audit["fetched"]) == ("accounted", [], [])
        clock.advance(DAY_SECONDS)
    assert audit["entries"] == 2
    assert audit["receipts"] == 4


@pytest.mark.both_hubs
async def test_python_reads_the_index_that_javascript_wrote(alice_page: Page, bob_page: Page, world: World) -> None:
    sent = [await alice_page.call("send", "bob.id", text) for text in ("one", "two")]
    pair, week = Pair.of(key_of(alice_page).public, key_of(bob_page)), week_of(world.clock())
    file = world.hub.read(key_of(alice_page).address, pair.index_path(week))
    assert file
    entries = read_index(file.content, pair, week, key_of(bob_page))
    assert [(entry.n, entry.id) for entry in entries] == [(1, sent[0]["id"]), (2, sent[1]["id"])]
    for entry, report in zip(entries, sent, strict=True):
        (stored,) = report["stored"]
        assert (entry.entry, entry.expires) == (stored["id"], stored["expires"])
        assert entry.receipts[world.inbox_url] == {**stored["signed"], "expires": stored["expires"]}


async def test_javascript_reads_the_index_that_python_wrote(bob_page: Page, world: World) -> None:
    async with client_of(world, "alice.id", app=APP) as alice:
        await alice.send("bob.id", "one")
        assert await bob_page.read_all() == ["one"]
        bob_page.down = [world.inbox_url]
        await alice.send("bob.id", "two")
    unread = await bob_page.call("unread")
    assert unread["withoutServer"] is True
    found = [await bob_page.call("fetch", entry) for entry in unread["entries"]]
    assert sorted(message["content"] for message in found) == ["one", "two"]
    bob_page.down = []
    audit = await bob_page.call("audit")
    assert (audit["verdict"], audit["receipts"]) == ("accounted", 2)


async def test_both_clients_go_on_with_one_index(alice_page: Page, bob_page: Page, world: World) -> None:
    await alice_page.call("send", "bob.id", "from a page")
    async with opened(world, InMemory(profile_of(world, world.people[0]))) as alice:
        assert alice.account.user.key.public == key_of(alice_page).public
        sent = await alice.send("bob.id", "from a program")
        assert sent.index == ""
    report = await alice_page.call("send", "bob.id", "from the page again")
    assert "index" not in report
    assert await bob_page.read_all() == ["from a page", "from a program", "from the page again"]
    assert (await bob_page.call("audit"))["receipts"] == 3


async def test_python_checks_what_an_audit_in_javascript_wrote(node: Node, alice: AppUser) -> None:
    key = alice.key
    points = {"https://inbox.test": Checkpoint(7, bytes(range(32)), START, UnixTime(START - 1), "a.b.c", DAY_SECONDS)}
    written = CHECKPOINTS.render(points, alice).decode()
    told = await node.run("trust_documents.mjs", {"key": key.secret.hex(), "checkpoint": written})
    assert told["points"] == json.loads(decrypt(key, json.loads(written)["cipherText"]))["inboxes"]
    assert CHECKPOINTS.read(told["checkpoint"].encode(), key)["https://inbox.test"].signed
    for evidence in told["evidence"]:
        verdict = check_evidence(json.dumps(evidence).encode())
        assert verdict.is_proof, verdict.says


def test_the_findings_are_the_same_in_both_clients() -> None:
    source = (CLIENT / "src" / "findings.ts").read_text()
    codes = re.findall(r"^  ([a-z_]+): \[(!?)ACCUSES,", source, re.MULTILINE)
    assert {code for code, excuses in codes if not excuses} == set(ACCUSES)
    assert {code for code, excuses in codes if excuses} == set(CANNOT_CHECK)


async def test_the_card_of_each_is_read_by_the_other(alice_page: Page, bob_page: Page, world: World) -> None:
    async with client_of(world, "carol.id", world.inbox_url, app=APP) as carol:
        sent = await carol.send("bob.id", "to a page")
        assert [outcome.receipt for outcome in sent.outcomes] == ["kept"]
        report = await alice_page.call("send", "carol.id", "to a program")
        assert report["stored"][0]["signed"]


async def test_each_client_reads_as_whom_somebody_wrote_to_the_other(node: Node, world: World) -> None:
    """A device that has met nobody finds the bucket of a contact at another hub by the name that another one shared."""
    async with at_another_hub(world) as elsewhere, client_of(world, "alice.id", world.inbox_url, app=APP) as alice:
        await alice.claim({"accept": "anyone"})
        bob = await elsewhere.settle("bob.id", APP)
        phone = page_of(node, elsewhere, bob.app_key)
        await phone.call("claim", {"accept": "anyone"}, {"inboxes": [world.inbox_url]})
        await phone.call("publish", [world.inbox_url])
        await phone.call("send", "alice.id", "hello")
        profile = replace(alice.account.profile.read(), prefixes=(world.read_url, elsewhere.read_url))
        async with opened(world, InMemory(profile)) as wide:
            for entry in (await wide.unread()).entries:
                await wide.fetch(entry)
            assert (await wide.send(bob.app_key.public, "hello")).stored
        assert await phone.read_all() == ["hello"]
        await phone.call("publish", [world.inbox_url])
        program = profile_of(elsewhere, bob, named=False, allow=(world.reader_origin,), inboxes=(world.inbox_url,))
        async with opened(elsewhere, InMemory(program)) as laptop:
            people, _ = await OwnFile(laptop.account.user, PEOPLE).read()
            assert people.known[alice.account.user.key.public].name == "alice.id"
            await laptop.publish((world.inbox_url,))
        tablet = page_of(node, elsewhere, bob.app_key)
        tablet.down = [world.inbox_url]
        assert await tablet.read_all() == ["hello"]
