"""The example page in Chromium, as people use it: each test is a script beside this file, and a world that runs.

Every script also fails for an error on the console, a breach of the Content-Security-Policy, a dialog, or a request to
another host. What they saw lies in tests/browser/screenshots.
"""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from inbox_server.clock import system_clock
from inbox_server.world.hub_rules import HubRules
from inbox_server.world.local_world import World, running_world
from inbox_server.world.page_server import showing_page
from tests.conftest import APP
from tests.store.sqlite.test_opening import COLUMNS
from tests.support.javascript import Node, build_client, missing, open_node, search_path
from tests.support.pages import SecondInbox
from tests.support.requests import Caller, at
from tests.support.serving import free_port

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120, func_only=True)]

HERE: Final = Path(__file__).parent
CHROMIUMS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True, slots=True)
class Stage:
    """A world with Alice and Bob in it, and its page."""

    node: Node
    world: World
    given: dict[str, Any]

    async def play(self, script: str, **more: Any) -> Any:
        return await self.node.run(HERE / script, {**self.given, **more})


@pytest.fixture(scope="session")
def node() -> Node:
    return open_node(search_path(), HERE)


@pytest.fixture(scope="session")
def bundle() -> Path:
    return build_client(search_path()) / "inbox-client.js"


@pytest.fixture(scope="session")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    return found or missing("no chromium on PATH: apt install chromium")


@pytest.fixture
def own_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For the browser's profiles: what it leaves behind goes with it. Its sockets want a short path."""
    with tempfile.TemporaryDirectory(prefix="page-", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield


@pytest.fixture
async def world(tmp_path: Path, hub_rules: HubRules) -> AsyncIterator[World]:
    """By the system's clock, which is the browser's."""
    async with running_world(tmp_path / "data", clock=system_clock, rules=hub_rules) as world:
        for name in ("alice.id", "bob.id"):
            await world.settle(name, APP)
        yield world


@pytest.fixture
async def stage(
    node: Node, bundle: Path, chromium: str, world: World, own_temporary_folder: None
) -> AsyncIterator[Stage]:
    async with showing_page(world, 0, bundle=bundle) as url:
        yield Stage(node, world, {"url": url, "chromium": chromium})


@pytest.fixture
async def second(world: World, tmp_path: Path) -> AsyncIterator[SecondInbox]:
    second = SecondInbox(world, tmp_path / "second")
    await second.start()
    yield second
    await second.stop()


@pytest.mark.both_hubs
async def test_two_windows_talk_and_a_third_follows(stage: Stage) -> None:
    told = await stage.play("talk.mjs")
    assert len(told["texts"]) == 4


async def test_the_rows_change_while_people_talk_and_show_nothing_of_it(stage: Stage) -> None:
    told = await stage.play("rows.mjs")
    people = [word for person in stage.world.people for word in (person.name, person.app, person.app_key.address)]
    for shown in (told["waiting"], told["read"]):
        for word in (*people, "Alice", "Bob", told["secret"], "sentence"):
            assert word not in shown
    shown_columns = {name: " ".join(columns) for name, columns in told["columns"].items() if columns}
    assert shown_columns.items() <= COLUMNS.items()
    assert {"message", "inbox", "name", "secret_check"} <= shown_columns.keys()
    assert told["columns"].keys() == COLUMNS.keys()


async def test_settings_say_what_is_wrong_with_a_server_and_take_one_that_will_do(
    stage: Stage, second: SecondInbox
) -> None:
    nobody, world = f"http://127.0.0.1:{free_port()}", stage.world
    await stage.play("settings.mjs", inbox=world.inbox_url, names=world.names_url, second=second.url, nobody=nobody)
    bob = world.people[1]
    async with world.user(world.people[0]) as alice:
        _, card = await alice.look_up(bob.name)
    assert card.inboxes == (second.url,)


async def test_an_audit_finds_what_the_server_does_not_show(stage: Stage) -> None:
    await stage.play("audit.mjs")


async def test_messages_go_sealed_once_both_have_written(stage: Stage) -> None:
    await stage.play("sealed.mjs")


async def test_an_inbox_that_goes_away_is_told_and_caught_up_with(stage: Stage, second: SecondInbox) -> None:
    async with stage.node.start(HERE / "offline.mjs", {**stage.given, "second": second.url}) as lines:
        assert (await lines.next())["kind"] == "stop"
        await second.stop()
        assert (await lines.next())["kind"] == "start"
        await second.start()
        assert (await lines.next())["kind"] == "done"


async def test_a_delivery_that_cannot_be_opened_is_shown_and_can_be_discarded(stage: Stage) -> None:
    world = stage.world
    alice, bob = world.people
    owner = Caller(world.session, world.inbox_url, bob.app_key, system_clock, APP)
    await owner.claim({"names": [bob.name]})
    async with world.user(bob) as user:
        await user.publish((world.inbox_url,), seq=1)
    await at(owner, alice.app_key).deliver("of no meaning", sender=alice.name, recipient=bob.name)
    await stage.play("unreadable.mjs")
    assert await owner.texts() == []


async def test_a_page_whose_client_is_not_built_says_how(
    node: Node, chromium: str, world: World, tmp_path: Path, own_temporary_folder: None
) -> None:
    async with showing_page(world, 0, bundle=tmp_path / "none.js") as url:
        await node.run(HERE / "unbuilt.mjs", {"url": url, "chromium": chromium})


async def test_everything_has_a_name_enough_contrast_and_room(stage: Stage) -> None:
    told = await stage.play("basics.mjs", nobody=f"http://127.0.0.1:{free_port()}")
    assert {name: found for name, found in told["findings"].items() if any(found.values())} == {}
    assert len(told["findings"]) == 16
    walked = [each["what"] for each in told["walked"]]
    assert [what for what in walked if what in {"leave", "open-settings", "toggle-rows", "second", "text"}] == [
        *("leave", "open-settings", "toggle-rows", "second", "text")
    ]
    assert [each["what"] for each in told["walked"] if each["outline"] < 2] == []
