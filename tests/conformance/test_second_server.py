"""A server that was written from the protocol page alone (examples/second-server): the suite passes it, and both
clients work with it as with ours."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from inbox_server.client.reports import Arrived, WasRead
from inbox_server.clock import Clock, system_clock
from inbox_server.world.local_world import World
from tests.conftest import APP
from tests.support.clients import client_of
from tests.support.conformance import report_on, said, timely_world
from tests.support.javascript import Node, build_client, find_node, open_node, search_path
from tests.support.pages import page_of
from tests.support.patience import PATIENCE_SECONDS
from tests.support.second_server import FOLDER, OLDEST_NODE, second_server

pytestmark = pytest.mark.timeout(300, func_only=True)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    build_client(search_path())
    node = open_node(search_path())
    yield node
    node.close()


@pytest.fixture
def clock() -> Clock:
    """The second server goes by the machine's."""
    return system_clock


@pytest.fixture
async def second(world: World, tmp_path: Path) -> AsyncIterator[str]:
    """In the local world: names lead to it as to ours."""
    async with second_server(tmp_path, "--names", world.names_url, "--allow-private") as url:
        yield url


INVITES = [f"code-{number}" for number in range(6)]
SMALL = "inbox_entries=500,inbox_bytes=300000,inbox_read_entries=1000"


@pytest.mark.parametrize(
    ("options", "only", "quick"),
    [
        (("--any-key", "--limits", SMALL), ("deliver", "ack"), True),
        (("--invites", ",".join(INVITES)), ("settings", "names"), True),
        pytest.param(("--any-key", "--limits", SMALL), (), False, marks=pytest.mark.long),
    ],
    ids=["deliveries", "by invite", "with all cases"],
)
async def test_the_suite_passes_it(
    tmp_path: Path, options: tuple[str, ...], only: tuple[str, ...], quick: bool
) -> None:
    async with (
        timely_world(tmp_path / "data") as (world, names),
        second_server(tmp_path, "--names", world.names_url, "--allow-private", *options) as url,
    ):
        report = await report_on(url, *only, names=names, invites=INVITES, quick=quick)
    assert said(report) == {}
    assert report.conforms
    assert report.left == ()


async def test_the_python_client_sends_watches_reads_and_moves(world: World, second: str) -> None:
    told: list[str | bytes] = []
    async with client_of(world, "alice.id", app=APP) as alice, client_of(world, "bob.id", second, app=APP) as bob:
        assert (await alice.send("bob.id", "before")).stored == (second,)
        async with asyncio.timeout(PATIENCE_SECONDS), contextlib.aclosing(bob.watch()) as all_news:
            async for news in all_news:
                if isinstance(news, Arrived):
                    told.append((await bob.fetch(news.entry)).content)
                    if told == ["before"]:
                        await alice.send("bob.id", "meanwhile")
                    else:
                        await bob.acknowledge([news.entry])
                if isinstance(news, WasRead):
                    break
        assert told == ["before", "meanwhile"]
        (entry,) = (await bob.unread()).entries

        async for _ in bob.move(world.inbox_url):  # what is unread goes with it, to ours and back
            pass
        assert [each.inboxes for each in (await bob.unread()).entries] == [(world.inbox_url,)]
        async for _ in bob.move(second):
            pass
        moved = await bob.unread()
        assert [(each.ids, each.inboxes) for each in moved.entries] == [(entry.ids, (second,))]
        assert [outcome.state for outcome in await bob.forget()] == ["done"]


async def test_the_javascript_client_sends_watches_and_reads(node: Node, world: World, second: str) -> None:
    people = [await world.settle(name, APP) for name in ("alice.id", "bob.id")]
    alice, bob = (page_of(node, world, person.app_key, person.name) for person in people)
    await bob.call("publish", [second])
    (claimed,) = await bob.call("claim", {"names": ["bob.id"]})
    assert claimed["result"]["names"] == 1
    watching = {"options": bob.options, "now": world.clock(), "reads": True}
    async with asyncio.timeout(PATIENCE_SECONDS), node.start("inbox_watch.mjs", watching) as lines:
        for text in ("one", "two"):
            report = await alice.call("send", "bob.id", text)
            assert [stored["inbox"] for stored in report["stored"]] == [second]
            message, read = await lines.next_of("message"), await lines.next_of("read")
            assert (message["content"], message["entry"]["id"]) == (text, read["id"])
    assert (await bob.call("unread"))["entries"] == []


async def test_its_own_tests_pass() -> None:
    running = await asyncio.create_subprocess_exec(
        find_node(search_path(), oldest=OLDEST_NODE),
        "--test",
        FOLDER / "second-server.test.mjs",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await running.communicate()
    assert running.returncode == 0, said.decode()


async def test_names_lead_it_to_no_private_address(world: World, tmp_path: Path) -> None:
    """The world's hub is at one, and the server was not told to allow that."""
    async with (
        second_server(tmp_path, "--names", world.names_url) as url,
        client_of(world, "bob.id", app=APP) as bob,
    ):
        (claimed,) = await bob.claim({"names": ["bob.id"]}, inboxes=(url,))
    assert (claimed.state, claimed.code) == ("refused", "name_unproven")
    assert "not an https URL" in claimed.detail


async def test_what_was_accepted_is_there_after_a_restart(world: World, tmp_path: Path) -> None:
    async with client_of(world, "alice.id", app=APP) as alice, contextlib.AsyncExitStack() as running:
        options = ("--names", world.names_url, "--allow-private")
        url = await running.enter_async_context(second_server(tmp_path, *options))
        async with client_of(world, "bob.id", url, app=APP) as bob:
            await alice.send("bob.id", "read me")
            (entry,) = (await bob.unread()).entries
            await alice.send("bob.id", "keep me")
            await bob.acknowledge([entry])
            await running.aclose()
            async with second_server(tmp_path, *options, at=url):
                unread = [(await bob.fetch(each)).content for each in (await bob.unread()).entries]
                assert unread == ["keep me"]
