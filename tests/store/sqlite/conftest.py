"""Here every store is SQLite's."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox_server.store.sqlite.opening import DATABASE_NAME, open_store
from tests.support.stores import CHECK_VALUE, QUOTA, STORES, Kind


@pytest.fixture
def kind() -> Kind:
    return STORES["sqlite"]


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[sqlite3.Connection]:
    """A new database that no server runs on."""
    async with open_store(tmp_path, check_value=CHECK_VALUE, quota=QUOTA):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)) as db:
        yield db
