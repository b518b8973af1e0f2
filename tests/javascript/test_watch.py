"""`watch` of the JavaScript client in clients/js: news from several inboxes as they come, whatever ends a stream."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inbox_server.client.user import AppUser
from inbox_server.world.local_world import World
from tests.conftest import APP
from tests.support.javascript import Lines, Node
from tests.support.pages import Page, SecondInbox, page_of

pytestmark = pytest.mark.timeout(60, func_only=True)


@pytest.fixture
async def second(world: World, tmp_path: Path) -> AsyncIterator[SecondInbox]:
    second = SecondInbox(world, tmp_path / "second")
    await second.start()
    yield second
    await second.stop()


@pytest.fixture
async def alice_page(node: Node, world: World, alice: AppUser) -> Page:
    return page_of(node, world, alice.key, "alice.id")


@pytest.fixture
async def bob_page(node: Node, world: World, second: SecondInbox) -> Page:
    """bob.id, with two inboxes on his card."""
    person = await world.settle("bob.id", APP)
    page = page_of(node, world, person.app_key, "bob.id")
    await page.call("publish", [world.inbox_url, second.url])
    await page.call("claim", {"names": ["bob.id"]})
    return page


def watched(page: Page, **given: Any) -> dict[str, Any]:
    return {"options": page.options, "now": page.world.clock(), **given}


async def both_up(lines: Lines) -> None:
    assert {(await lines.next())["kind"] for _ in range(2)} == {"up"}


async def test_what_is_unread_comes_first_and_what_comes_later_at_once(alice_page: Page, bob_page: Page) -> None:
    first = await alice_page.call("send", "bob.id", "one")
    async with bob_page.node.start("inbox_watch.mjs", watched(bob_page)) as lines:
        news = await lines.next_of("message")
        assert news["entry"]["id"] == first["stored"][0]["id"]
        second = await alice_page.call("send", "bob.id", "two")
        assert (await lines.next_of("message"))["entry"]["id"] == second["stored"][0]["id"]


async def test_an_entry_is_told_once_by_two_inboxes_and_so_is_that_it_was_read(
    alice_page: Page, bob_page: Page
) -> None:
    async with bob_page.node.start("inbox_watch.mjs", watched(bob_page, reads=True)) as lines:
        await both_up(lines)
        for text in ("one", "two", "three"):
            await alice_page.call("send", "bob.id", text)
            message, read = await lines.next(), await lines.next()
            assert (message["kind"], message["content"]) == ("message", text)
            assert (read["kind"], read["id"]) == ("read", message["entry"]["id"])


async def test_what_another_device_read_is_told(alice_page: Page, bob_page: Page) -> None:
    async with bob_page.node.start("inbox_watch.mjs", watched(bob_page)) as lines:
        await alice_page.call("send", "bob.id", "one")
        entry = (await lines.next_of("message"))["entry"]
        await bob_page.call("acknowledge", [entry])
        assert (await lines.next_of("message", "read")) == {"kind": "read", "id": entry["id"]}


async def test_a_server_that_stops_and_comes_back_loses_and_doubles_nothing(
    alice_page: Page, bob_page: Page, second: SecondInbox
) -> None:
    async with bob_page.node.start("inbox_watch.mjs", watched(bob_page)) as lines:
        await both_up(lines)
        await alice_page.call("send", "bob.id", "one")
        texts = [await lines.next_of("message")]
        await second.stop()
        assert (await lines.next_of("down", "message"))["inbox"] == second.url
        report = await alice_page.call("send", "bob.id", "two")
        assert [each["inbox"] for each in report["waiting"]] == [second.url]
        texts.append(await lines.next_of("message"))
        await second.start()
        assert (await lines.next_of("up", "message"))["inbox"] == second.url
        await alice_page.call("send", "bob.id", "three")
        texts.append(await lines.next_of("message", "read"))
    contents = [(await bob_page.call("fetch", news["entry"]))["content"] for news in texts]
    assert contents == ["one", "two", "three"]


async def test_deliveries_that_wait_are_repeated_while_watching(
    alice_page: Page, bob_page: Page, world: World, second: SecondInbox
) -> None:
    await alice_page.call("publish", [world.inbox_url])
    await alice_page.call("claim", {"names": ["alice.id"]})
    alice_page.down = [second.url]
    report = await alice_page.call("send", "bob.id", "one")
    given = watched(alice_page, stored=alice_page.stored) | {"now": world.clock() + 30}
    async with alice_page.node.start("inbox_watch.mjs", given) as lines:
        sent = (await lines.next_of("sent"))["report"]
    assert (sent["id"], [each["inbox"] for each in sent["stored"]]) == (report["id"], [second.url])


async def test_watching_resumes_at_what_was_not_dealt_with(alice_page: Page, bob_page: Page, world: World) -> None:
    await bob_page.call("publish", [world.inbox_url])
    await alice_page.call("send", "bob.id", "one")
    async with bob_page.node.start("inbox_watch.mjs", watched(bob_page, most=3)) as lines:
        one = await lines.next_of("message")
        await alice_page.call("send", "bob.id", "two")
        two = await lines.next_of("message")  # the third, after which the page is left before it dealt with it
        stored = (await lines.next_of("left"))["stored"]
    given = watched(bob_page, stored=stored, resume=True)
    async with bob_page.node.start("inbox_watch.mjs", given) as lines:
        assert await lines.next_of("message") == two
    async with bob_page.node.start("inbox_watch.mjs", watched(bob_page, stored=stored)) as lines:
        assert [await lines.next_of("message") for _ in range(2)] == [one, two]
