"""What was answered outlives SIGKILL: the short form of `make torture`."""

import secrets
from pathlib import Path

import pytest

from tests.faults.torture import Figures, torture

KILLS = 10


@pytest.mark.timeout(180)
@pytest.mark.parametrize("store", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_what_was_answered_outlives_being_killed(tmp_path: Path, store: str) -> None:
    seed, figures = secrets.token_hex(4), Figures()
    await torture(tmp_path, f"{seed}/0", KILLS, figures, store)
    again = f"again: python -m tests.faults.torture --kills {KILLS} --store {store} --seed {seed}"
    told = "\n".join([again, *figures.faults.told])
    assert not figures.faults.counts, told
    assert figures.tally["kills"] == KILLS
    done = {word: figures.tally[word] > 0 for word in ("answered", "sealed", "repeats", "cut off", "acks", "pages")}
    assert all(done.values()), done
