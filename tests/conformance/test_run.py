"""`inbox-server conformance`: it passes this server, deletes what it claimed, and says what it could not run."""

from pathlib import Path

import pytest

from inbox_server.conformance.run import CannotRun
from tests.support.bent import behind
from tests.support.conformance import report_on, said, timely_world
from tests.support.stores import row_counts


@pytest.mark.timeout(300, func_only=True)
async def test_this_server_conforms(tmp_path: Path) -> None:
    async with timely_world(tmp_path / "data") as (world, names):
        report = await report_on(world.inbox_url, names=names)
        assert said(report) == {}
        assert report.conforms
        assert report.left == ()
        counts = row_counts(world.data_dir)
        assert (counts["inbox"], counts["message"]) == (0, 0)


async def test_without_inboxes_nothing_is_said(tmp_path: Path) -> None:
    async with behind(tmp_path, registration={"mode": "listed"}) as proxy:
        with pytest.raises(CannotRun, match="not_registered"):
            await report_on(proxy.url, "deliver")


async def test_a_server_that_drains_is_not_judged(tmp_path: Path) -> None:
    async with timely_world(tmp_path / "data") as (world, _):
        await world.store.operating.drain(on=True)
        with pytest.raises(CannotRun, match="draining"):
            await report_on(world.inbox_url, "deliver")
