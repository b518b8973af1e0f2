"""A store of each kind that there is, with one inbox in it. A file or a test may name another `quota`."""

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from inbox_server.store.contract import Quota
from tests.support.stores import MARKS, QUOTA, STORES, Box, Kind, claimed_box

Count = Callable[[], dict[str, int]]


def _params() -> Iterator[ParameterSet]:
    for name, marks in MARKS.items():
        yield pytest.param(STORES[name], id=name, marks=marks)


@pytest.fixture(scope="session", params=_params())
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def quota() -> Quota:
    return QUOTA


@pytest.fixture
async def box(tmp_path: Path, kind: Kind, quota: Quota) -> AsyncIterator[Box]:
    async with claimed_box(tmp_path, kind=kind, quota=quota) as box:
        yield box


@pytest.fixture
def count(tmp_path: Path, kind: Kind, box: Box) -> Count:
    """How many there are of each in `COUNTED` in the store that `box` lies in."""
    return partial(kind.count, tmp_path)
