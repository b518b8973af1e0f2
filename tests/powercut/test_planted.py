"""`make powercut` finds what it is for: faults planted in a server, and in the commands that copy its database.

It is clean without them: `.ci/run` runs `make powercut` itself.

The server syncs the folder in which it makes its data directory. That directory SQLite syncs too, with the first sync
of each new log; but a copy that gets its name from `backup` or `restore` has nobody else to do so.
"""

from pathlib import Path

import pytest

from tests.powercut.powercut import Figures, try_states
from tests.powercut.scenarios import Scenario, backing_up, killed, restoring, rotating, serving
from tests.support.tracing import need_strace

STATES = 60
NO_FOLDER = "no folder is synced"

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


async def _faults(scenario: Scenario) -> set[str]:
    """The kinds of faults in the first states."""
    figures = Figures()
    await try_states([(scenario, number) for number in range(STATES)], "planted", figures)
    assert figures.states.total() == STATES
    return set(figures.faults)


@pytest.mark.parametrize("plant", ["synchronous=NORMAL", NO_FOLDER, "answers before the commit"])
async def test_a_fault_in_a_server_is_found(tmp_path: Path, plant: str) -> None:
    need_strace()
    assert "lost" in await _faults(await serving(tmp_path / "serve", "planted", lives=["stopped"], plant=plant))


async def test_a_fault_in_a_command_is_found(tmp_path: Path) -> None:
    need_strace()
    left = killed((await serving(tmp_path / "serve", "planted", lives=["killed"])).recording)
    assert await _faults(await backing_up(tmp_path / "backup", left, NO_FOLDER)) == {"lost"}
    for plant in (NO_FOLDER, "no new file is synced"):
        assert await _faults(await rotating(tmp_path / f"rotate, {plant}", left, plant)) == {"lost"}
    assert await _faults(await restoring(tmp_path / "restore", left, NO_FOLDER)) == {"lost"}
