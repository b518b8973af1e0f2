"""Every host of a database has the same day keys, or does not start; the first one on an empty database makes them."""

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.store.contract import Store
from inbox_server.store.postgres.day_keys import BadDayKeys, DayKeys, make_day_keys
from inbox_server.store.postgres.opening import open_store
from tests.support.postgres import cluster_of, read_rows
from tests.support.stores import CHECK_VALUE, QUOTA

pytestmark = pytest.mark.postgres
TODAY = 20_000


def opened(folder: Path, file: str, *, state: int = 1) -> AbstractAsyncContextManager[Store]:
    """The store of a host that keeps its day keys there. If it has to make some, they begin with this state."""
    return open_store(
        cluster_of(folder),
        day_keys_file=folder / file,
        check_value=CHECK_VALUE,
        quota=QUOTA,
        random_bytes=lambda length: state.to_bytes(length),
        clock=lambda: UnixTime(TODAY * DAY_SECONDS),
    )


async def test_a_host_needs_the_file_of_the_others(tmp_path: Path) -> None:
    async with opened(tmp_path, "first"):
        assert (tmp_path / "first").stat().st_mode & 0o777 == 0o600
    with pytest.raises(BadDayKeys, match="Copy the file from another host"):
        async with opened(tmp_path, "second"):
            pass
    assert not (tmp_path / "second").exists()
    (tmp_path / "second").write_bytes((tmp_path / "first").read_bytes())
    async with opened(tmp_path, "second"):
        pass


async def test_a_file_of_another_chain_is_seen_however_far_both_have_moved_on(tmp_path: Path) -> None:
    async with opened(tmp_path, "first"):
        pass
    make_day_keys(tmp_path / "other", TODAY, bytes(32))
    for days in (0, 1, 400):
        for name in ("first", "other"):
            DayKeys(tmp_path / name).move_on(TODAY + days)
        async with opened(tmp_path, "first"):
            pass
        with pytest.raises(BadDayKeys, match="not those that the texts in the database were sealed with"):
            async with opened(tmp_path, "other"):
                pass


async def test_of_two_hosts_that_are_first_at_the_same_time_one_is(tmp_path: Path) -> None:
    async def start(number: int) -> bool:
        try:
            async with opened(tmp_path, f"host {number}", state=number):
                return True
        except BadDayKeys:
            return False

    started = await asyncio.gather(*(start(number) for number in range(1, 4)))
    assert started.count(True) == 1
    ((day, value),) = read_rows(tmp_path, "SELECT day, value FROM day_check")
    assert DayKeys(tmp_path / f"host {started.index(True) + 1}").check(day) == value


async def test_the_check_opens_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, "first"):
        pass
    ((day, value),) = read_rows(tmp_path, "SELECT day, value FROM day_check")
    keys = DayKeys(tmp_path / "first")
    assert day > TODAY + 10_000
    assert value not in (keys.key(day), keys.key(TODAY))
