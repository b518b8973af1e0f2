"""The suite finds faults: each faulty server fails the case for its fault, and the server without one fails none."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox_server.conformance.identities import Identity
from inbox_server.world.local_world import World
from tests.conformance.faults import FAULTS, Fault
from tests.support.conformance import report_on, said, timely_world
from tests.support.second_server import FOLDER, second_server

pytestmark = [pytest.mark.long, pytest.mark.timeout(300, func_only=True)]

CASES = sorted({fault.case for fault in FAULTS})
LIMITS = "inbox_entries=200,inbox_read_entries=1000"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[tuple[World, tuple[Identity, ...]]]:
    async with timely_world(tmp_path / "world") as place:
        yield place


async def failed_at(
    source: Path, folder: Path, place: tuple[World, tuple[Identity, ...]], cases: list[str]
) -> dict[str, str]:
    world, names = place
    options = ("--names", world.names_url, "--allow-private", "--any-key", "--limits", LIMITS)
    async with second_server(folder, *options, source=source) as url:
        report = await report_on(url, *cases, names=names)
    assert not {*cases} & {*said(report, "not run")}
    return said(report)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.says)
async def test_a_fault_is_found(fault: Fault, tmp_path: Path, place: tuple[World, tuple[Identity, ...]]) -> None:
    assert fault.case in await failed_at(fault.server(tmp_path), tmp_path, place, fault.cases)


async def test_where_there_is_no_fault_none_is_found(tmp_path: Path, place: tuple[World, tuple[Identity, ...]]) -> None:
    assert await failed_at(FOLDER, tmp_path, place, CASES) == {}
