"""An installation without the extra `server`: the client and the checks from outside work; the rest says so."""

import asyncio
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from inbox_server.world.local_world import World
from tests.support.serving import deploy

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
# None in sys.modules makes an import fail as if the module were not installed.
_RUN = """
import sys
sys.modules.update(dict.fromkeys({lacking!r}))
from inbox_server.cli import main
sys.exit(main())
"""


def modules(requirements: list[str]) -> list[str]:
    return [requirement.partition(">")[0].replace("-", "_") for requirement in requirements]


def run_without(lacking: list[str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _RUN.format(lacking=lacking), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def run_client_only(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_without(modules(PROJECT["optional-dependencies"]["server"]), *arguments)


async def test_a_client_needs_none_of_the_servers_libraries(world: World, tmp_path: Path) -> None:
    of_bob = ("--profile", tmp_path / "bob.json")
    settings = ("--app", "https://chat.example", "--hub", world.hub_url, "--names", world.names_url)
    made = await asyncio.to_thread(run_client_only, "client", "keygen", *of_bob, *settings)
    assert (made.returncode, made.stderr) == (0, "")
    published = await asyncio.to_thread(run_client_only, "client", "publish", *of_bob, "--inbox", world.inbox_url)
    assert (published.returncode, published.stderr) == (0, "")


@pytest.mark.parametrize("command", [("ping", "--quick"), ("conformance", "--only", "deliver/the-id-is-the-hash")])
async def test_a_check_from_outside_needs_none_of_the_servers_libraries(tmp_path: Path, command: tuple[str]) -> None:
    place = deploy(tmp_path / "inbox")
    async with place.running():
        done = await asyncio.to_thread(run_client_only, *command, place.url)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.parametrize("command", ["serve", "init", "dev"])
def test_a_command_of_the_server_says_what_to_install(command: str) -> None:
    done = run_client_only(command)
    assert done.returncode == 2
    assert "Only the client is installed here" in done.stderr
    assert "[server]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_usage_error_of_the_client_is_not_blamed_on_the_installation() -> None:
    done = run_client_only("ping", "--unheard-of")
    assert done.returncode == 2
    assert "Only the client" not in done.stderr


def test_another_library_that_is_missing_is_not_called_the_servers() -> None:
    done = run_without(["coincurve"], "serve")
    assert "No module named 'coincurve'" in done.stderr or "coincurve" in done.stderr.splitlines()[-1]
    assert "Only the client" not in done.stderr
