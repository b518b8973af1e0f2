"""Where a migration comes from and where it leads: every pair of kinds of databases."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.support.migrating import Place, place

KINDS = ("sqlite", "postgres")


def _pairs() -> Iterator[ParameterSet]:
    for source, target in product(KINDS, repeat=2):
        marks = [pytest.mark.postgres] if "postgres" in (source, target) else []
        yield pytest.param((source, target), id=f"{source}-{target}", marks=marks)


@pytest.fixture(params=_pairs())
def pair(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Place, Place]:
    source, target = request.param
    return place(tmp_path, "first", source), place(tmp_path, "second", target)
