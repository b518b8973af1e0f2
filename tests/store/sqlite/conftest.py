"""Here every store is SQLite's."""

import pytest

from tests.support.stores import STORES, Kind


@pytest.fixture
def kind() -> Kind:
    return STORES["sqlite"]
