"""`init` says that it wrote a secret when no power cut can take it any more: nothing is ever found without it."""

from pathlib import Path

import pytest

from tests.powercut.powercut import Figures, try_states
from tests.powercut.scenarios import beginning
from tests.support.tracing import need_strace

STATES = 60


@pytest.mark.parametrize(
    ("plant", "faults"), [("", set()), ("no new file is synced", {"lost"}), ("no folder is synced", {"lost"})]
)
async def test_what_init_wrote_outlives_a_power_cut(tmp_path: Path, plant: str, faults: set[str]) -> None:
    need_strace()
    scenario, figures = await beginning(tmp_path / "init", plant), Figures()
    await try_states([(scenario, number) for number in range(STATES)], "init", figures)
    assert set(figures.faults) == faults, figures.told
    assert figures.states.total() == STATES
