"""docs/client.md says what is there: the commands, the exit codes, and an example that runs."""

import asyncio
import contextlib
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from inbox_server.cli import main
from inbox_server.client.open_client import profile_file
from inbox_server.client.profile_file import render_profile
from inbox_server.client.reports import Arrived
from inbox_server.client.storage import write_new
from inbox_server.clock import system_clock
from inbox_server.world.local_world import running_world
from tests.client.test_command_line import COMMANDS
from tests.conftest import APP
from tests.support.clients import client_of, opened, profile_of
from tests.support.dev_world import dev_world

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGE = (DOCS / "client.md").read_text()


def test_the_page_has_every_command_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["client", "--help"])
    listed = re.findall(r"^    ([a-z-]+)(?:  |$)", capsys.readouterr().out, re.MULTILINE)
    assert tuple(listed) == COMMANDS
    rows = PAGE.split("## The commands")[1].split("| exit code")[0]
    assert tuple(dict.fromkeys(re.findall(r"^\| `([a-z-]+)", rows, re.MULTILINE))) == COMMANDS


def test_the_table_of_all_commands_has_every_exit_code_of_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["client", "--help"])
    epilog = " ".join(capsys.readouterr().out.split()).partition("Exit codes: ")[2]
    codes = re.findall(r"(?:^|; )(\d+) ", epilog)
    table = (DOCS / "commands.md").read_text()
    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == codes


def test_the_first_example_runs_as_it_is_printed(tmp_path: Path) -> None:
    match = re.search(r"<!-- first example: .*?-->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert match
    (tmp_path / "chat.py").write_text(match[1])
    with dev_world(tmp_path) as world:
        said = subprocess.check_output([sys.executable, "chat.py"], cwd=tmp_path, text=True).splitlines()
    assert said == [f"stored at ('{world['inbox_url']}',)", "alice.id The meadow at noon?"]


async def test_the_example_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    match = re.search(r"<!-- example: .*?-->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert match
    names: dict[str, Callable[[Path], Awaitable[None]]] = {}
    exec(match[1], names)  # the page's own code
    async with running_world(tmp_path / "world", clock=system_clock) as world, contextlib.AsyncExitStack() as stack:
        alice = await stack.enter_async_context(client_of(world, "alice.id", world.inbox_url, app=APP))
        robot = profile_of(world, await world.settle("robot.id", APP))
        path = tmp_path / "robot.json"
        write_new(path, render_profile(robot))
        async with opened(world, profile_file(path)) as client:
            await client.claim({"names": ["robot.id"]}, inboxes=(world.inbox_url,))
            await client.publish((world.inbox_url,))
        answering = asyncio.ensure_future(names["answer_everything"](path))
        stranger = alice.account.others(world.inbox_url)
        await stranger.deliver("no message at all", sender="alice.id", recipient="robot.id")
        await alice.send("robot.id", "hello")
        all_news = await stack.enter_async_context(contextlib.aclosing(alice.watch()))
        async for news in all_news:
            if isinstance(news, Arrived):
                assert (await alice.fetch(news.entry)).content == "You said: 'hello'"
                break
        answering.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await answering
    said = capsys.readouterr().out
    assert "left out: the entry is not encrypted to this key" in said
    assert f"stored at ('{world.inbox_url}',)" in said
