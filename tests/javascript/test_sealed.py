"""Sealed delivery between pages in JavaScript, over the running servers."""

import json
from typing import Any

import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.clock import system_clock
from inbox_server.protocol.bearer import DELIVER
from inbox_server.world.local_world import World
from tests.conftest import APP, HandClock
from tests.support.javascript import Node
from tests.support.pages import Page, page_of

# npm ci has its own limit, and comes in only once.
pytestmark = pytest.mark.timeout(120, func_only=True)

EARLIER = -1
"""By a clock that was put back, everything that waits is due."""


@pytest.fixture(autouse=True)
def of_today(clock: HandClock) -> None:
    """`Date` is of the machine's clock, whatever the world's is."""
    clock.now = system_clock()


@pytest.fixture
async def pair(node: Node, world: World) -> tuple[Page, Page]:
    """alice.id and bob.id, who have written to each other, and whose cards say so."""
    pages = []
    for name in ("alice.id", "bob.id"):
        person = await world.settle(name, APP)
        page = page_of(node, world, person.app_key, name)
        await page.call("claim", {"names": [name]}, {"inboxes": [world.inbox_url]})
        await page.call("publish", [world.inbox_url])
        pages.append(page)
    alice, bob = pages
    assert ways(await tell(alice, bob, "first")) == ["signed, first contact"]
    assert ways(await tell(bob, alice, "second")) == ["signed, first contact"]
    for page in pages:
        await page.call("publish", [world.inbox_url])
    return alice, bob


def ways(report: Any) -> list[str]:
    return [stored["way"] for stored in report["stored"]]


async def tell(sender: Page, recipient: Page, text: str) -> Any:
    """Send, read and acknowledge."""
    report = await sender.call("send", recipient.options["name"], text)
    entries = (await recipient.call("unread"))["entries"]
    assert [(await recipient.call("fetch", entry))["content"] for entry in entries] == [text]
    await recipient.call("acknowledge", entries)
    return report


def sent(page: Page, scheme: str) -> list[Any]:
    return [request for request in page.requests if (request["authorization"] or "").startswith(scheme + " ")]


async def test_who_has_spoken_with_somebody_writes_without_a_name(pair: tuple[Page, Page]) -> None:
    alice, bob = pair
    assert ways(await tell(alice, bob, "third")) == ["sealed"]
    assert ways(await tell(bob, alice, "fourth")) == ["sealed"]
    key = AppKey.from_hex(alice.options["privateKey"])
    (request,) = sent(alice, "InboxTicket")
    assert json.loads(request["body"]).keys() == {"message_id", "to", "receipt"}
    shown = request["body"] + request["authorization"]
    assert not [told for told in ("alice", key.public, key.address) if told in shown]
    assert len([each for each in alice.requests if each["type"] == DELIVER]) == 1


async def test_a_repeat_and_a_device_without_counters_deliver_once_each(pair: tuple[Page, Page], world: World) -> None:
    alice, bob = pair
    counters = next(name for name in bob.stored if name.endswith(":contacts")).replace("contacts", "tickets")
    assert ways(await alice.call("send", "bob.id", "one")) == ["sealed"]
    alice.stored = {name: kept for name, kept in alice.stored.items() if not name.endswith(":tickets")}
    assert ways(await alice.call("send", "bob.id", "two")) == ["sealed"]  # after one that is spent
    assert counters not in alice.stored
    assert len(sent(alice, "InboxTicket")) == 3
    assert await bob.read_all() == ["one", "two"]

    alice.down = [world.inbox_url]
    report = await alice.call("send", "bob.id", "three")
    assert [each["problem"]["error"] for each in report["waiting"]] == ["Unreachable"]
    alice.down = []
    assert ways((await alice.call("retry", clock_ahead=30))[0]) == ["sealed"]
    assert await bob.read_all() == ["one", "two", "three"]


async def test_no_refusal_makes_a_page_sign(pair: tuple[Page, Page], world: World) -> None:
    alice, bob = pair
    await tell(alice, bob, "sealed")
    signed = len([each for each in alice.requests if each["type"] == DELIVER])
    await bob.call("claim", {"accept": "nobody"})
    report = await alice.call("send", "bob.id", "to nobody")
    assert [each["problem"]["code"] for each in report["waiting"]] == ["no_tickets"]
    await bob.call("claim", {"accept": "names", "blocked": [AppKey.from_hex(alice.options["privateKey"]).address]})
    await bob.call("publish", [world.inbox_url])
    report = await alice.call("send", "bob.id", "blocked")
    assert [each["problem"]["code"] for each in report["waiting"]] == ["no_tickets"]
    assert len([each for each in alice.requests if each["type"] == DELIVER]) == signed
    await bob.call("claim", {"blocked": []})
    await bob.call("publish", [world.inbox_url])
    for again in await alice.call("retry", clock_ahead=EARLIER):
        assert ways(again) == ["sealed"]
    assert (await bob.read_all())[-2:] == ["to nobody", "blocked"]

    await bob.call("claim", {"accept": "nobody"})
    report = await alice.call("send", "bob.id", "once more")
    assert [each["problem"]["code"] for each in report["waiting"]] == ["no_tickets"]
    await bob.call("claim", {"accept": "names"})
    assert ways(await alice.call("sign", report["id"])) == ["sealed"]  # it may be signed, and need not be


@pytest.mark.parametrize("ahead", [-8 * 86_400, -7200, 3600, 8 * 86_400])
async def test_the_week_is_the_servers(pair: tuple[Page, Page], ahead: int) -> None:
    alice, bob = pair
    assert ways(await alice.call("send", "bob.id", "from a wrong clock", clock_ahead=ahead)) == ["sealed"]
    assert await bob.read_all() == ["from a wrong clock"]


async def test_after_a_move_the_tickets_are_the_other_servers(
    pair: tuple[Page, Page], world: World, second_inbox: str
) -> None:
    alice, bob = pair
    await tell(alice, bob, "at the first")
    for page in pair:
        await page.call("publish", [world.inbox_url, second_inbox])  # not claimed at the second yet: nothing is changed
        await page.call("claim", {"names": [page.options["name"]]}, {"inboxes": [second_inbox]})
    await bob.call("publish", [second_inbox])
    report = await alice.call("send", "bob.id", "at the second")
    assert [(each["inbox"], each["way"]) for each in report["stored"]] == [(second_inbox, "sealed")]
    assert await bob.read_all() == ["at the second"]
