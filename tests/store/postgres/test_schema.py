"""The schema of PostgreSQL and what the documents say of it."""

import contextlib
import re
import sqlite3
from pathlib import Path

import pytest

from inbox_server.store.postgres.opening import connected
from inbox_server.store.postgres.upgrading import upgrade
from inbox_server.store.sqlite.database import schema_steps, upgrade_steps
from tests.support.postgres import cluster_of, read_rows

pytestmark = pytest.mark.postgres
THREATS = Path(__file__).parents[3] / "docs" / "threat-model.md"


async def test_the_threat_model_places_every_column_that_sqlite_does_not_have(tmp_path: Path) -> None:
    async with connected(cluster_of(tmp_path)) as db:
        await upgrade(db)
    columns = (
        "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = current_schema()"
    )
    ours = {column for (column,) in read_rows(tmp_path, columns)}
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        upgrade_steps(db, tmp_path, schema_steps())
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()]
        of_sqlite = {f"{name}.{row[1]}" for name in tables for row in db.execute(f"PRAGMA table_info({name})")}
    section = THREATS.read_text().split("## With PostgreSQL")[1].split("\n## ")[0]
    assert sorted(re.findall(r"`(\w+\.\w+)`", section)) == sorted(ours - of_sqlite)
