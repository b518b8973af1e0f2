"""A rotation of the secret that is killed before any of its statements: all of it is done or nothing, and it ends."""

import asyncio
import itertools
import os
import secrets
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HandClock
from tests.store.sqlite.test_rekeying import ONCE, fill, opened, rotate
from tests.store.sqlite.test_upgrading import seen
from tests.support.stores import Box

EACH = 6
"""One of so many statements is killed in a run, another one in the next."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


async def test_a_rotation_that_is_killed_anywhere_loses_nothing_and_is_finished_later(tmp_path: Path) -> None:
    told = await fill(tmp_path)
    for statements in itertools.count(secrets.randbelow(EACH), EACH):
        run = [sys.executable, "-m", "tests.faults.test_rotation_killed", str(tmp_path), str(statements)]
        process = await asyncio.create_subprocess_exec(*run)
        ended = await process.wait()
        async with opened(tmp_path, ONCE) as store:
            assert await seen(Box(store, HandClock())) == told, f"killed before statement {statements}"
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
    assert statements > 60
    assert await rotate(tmp_path, ONCE) == []


def _main(place: Path, statements: int) -> None:
    """Rotate, and be killed after so many statements."""
    left, connect = iter(range(statements)), sqlite3.connect

    def connect_and_count(*arguments: Any, **named: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*arguments, **named)
        db.set_trace_callback(lambda _: None if next(left, None) is not None else os.kill(os.getpid(), signal.SIGKILL))
        return db

    sqlite3.connect = connect_and_count  # type: ignore[assignment]
    asyncio.run(rotate(place, ONCE))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
