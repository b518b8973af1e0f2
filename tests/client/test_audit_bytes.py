"""Any single byte that changes in the rows on which the log rests is noticed at the next audit."""

import contextlib
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox_server.client.inbox_client import InboxClient
from inbox_server.store.sqlite.opening import DATABASE_NAME
from inbox_server.world.local_world import World
from tests.conftest import APP
from tests.support.clients import client_of
from tests.support.providers import Provider

# A column, and how many bytes of it there are. What is not read yet is logged in its message's row.
_COLUMNS = {"message": {"n": 6, "id": 32}, "inbox": {"log_n": 6, "log_head": 32, "base_n": 6, "base_head": 32}}

Change = tuple[str, int, str, int]
"""The table, its row, the column, and the byte."""


def changes(path: Path) -> Iterator[Change]:
    """All that there are."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        for table, columns in _COLUMNS.items():
            (rows,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
            for row in range(rows):
                for column, size in columns.items():
                    yield from ((table, row, column, byte) for byte in range(size))


def change(path: Path, changed: Change) -> bool:
    """Whether the database takes it: not a number that another row has."""
    table, row, column, byte = changed
    order = {"message": "n", "inbox": "inbox"}[table]
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        keys = [key for (key,) in db.execute(f"SELECT {order} FROM {table} ORDER BY {order}")]
        (value,) = db.execute(f"SELECT {column} FROM {table} WHERE {order} = ?", (keys[row],)).fetchone()
        if isinstance(value, int):
            value ^= 1 << (8 * byte)
        else:
            value = value[:byte] + bytes([value[byte] ^ 1]) + value[byte + 1 :]
        with contextlib.suppress(sqlite3.IntegrityError):
            db.execute(f"UPDATE {table} SET {column} = ? WHERE {order} = ?", (value, keys[row]))
            return True
    return False


async def noticed(world: World, provider: Provider, most: int | None) -> None:
    """Two entries that were checked, and one that came after that."""
    async with (
        client_of(world, "alice.id", app=APP) as alice,
        client_of(world, "bob.id", provider.url, app=APP) as bob,
    ):
        for text in ("one", "two"):
            await alice.send("bob.id", text)
        await bob.audit()
        await alice.send("bob.id", "three")
        await provider.stop()
        database, kept = provider.folder / DATABASE_NAME, provider.folder.parent / "kept"
        shutil.copy(database, kept)
        all_changes = [*changes(database)]
        assert len(all_changes) == 3 * 38 + 76
        for changed in random.Random(7).sample(all_changes, most or len(all_changes)):
            await _changed(bob, provider, kept, changed)
        shutil.copy(kept, database)
        await provider.start()
        assert (await bob.audit()).is_in_order


async def _changed(bob: InboxClient, provider: Provider, kept: Path, changed: Change) -> None:
    before = bob.account.profile.read()
    for path in provider.folder.glob(f"{DATABASE_NAME}*"):
        path.unlink()
    shutil.copy(kept, provider.folder / DATABASE_NAME)
    if not change(provider.folder / DATABASE_NAME, changed):
        return
    await provider.start()
    audit = await bob.audit()
    assert audit.is_accusation, (changed, audit.findings)
    await provider.stop()
    bob.account.profile.change(lambda _: before)


async def test_a_changed_byte_is_noticed(world: World, provider: Provider) -> None:
    await noticed(world, provider, 12)


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_any_changed_byte_is_noticed(world: World, provider: Provider) -> None:
    await noticed(world, provider, None)
