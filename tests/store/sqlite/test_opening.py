"""Opening the database: what is refused and left as it is, and what holds once it is open."""

import asyncio
import contextlib
import sqlite3
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from inbox_server.clock import UnixTime
from inbox_server.errors import Unavailable
from inbox_server.store.contract import BadDatabase
from inbox_server.store.sqlite.database import open_connection, schema_steps, upgrade, upgrade_steps
from inbox_server.store.sqlite.opening import DATABASE_NAME, add_invite, open_store
from tests.support.stores import CHECK_VALUE, QUOTA, claimed_box, read_rows, row_counts

COLUMNS = {
    "inbox": "inbox app generation change horizon retention accept unread unread_bytes tombstones refused"
    " settings_at settings_request gone log_n log_head log_until base_n base_head restored most_entries most_bytes",
    "logged": "inbox n id",
    "log_mark": "inbox n until",
    "name": "name inbox",
    "listed": "inbox kind address",
    "subscription": "inbox channel id sealed",
    "message": "inbox change id slot size expires forget_at listed n",
    "text": "slot body",
    "free_slot": "slot",
    "due": "inbox at",
    "invite": "code expires",
    "secret_check": "value",
    "seen": "time",
    "suspended": "inbox",
    "sheet": "number inbox week fill ids used",
    "recent_use": "page body",
    "draining": "one",
    "migration": "one mark state",
}


async def _open(folder: Path, check_value: bytes = CHECK_VALUE) -> None:
    async with open_store(folder, check_value=check_value, quota=QUOTA):
        pass


def _schema(path: Path) -> list[tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name").fetchall()


async def test_what_was_delivered_is_there_after_closing(tmp_path: Path) -> None:
    async with claimed_box(tmp_path) as box:
        await box.deliver("opaque")
    async with open_store(tmp_path, check_value=CHECK_VALUE, quota=QUOTA) as box.store:
        assert await box.texts() == ["opaque"]


async def test_a_second_server_is_refused_while_the_first_one_runs(tmp_path: Path) -> None:
    async with claimed_box(tmp_path) as box:
        with pytest.raises(BadDatabase, match="in use by another"):
            await _open(tmp_path)
        await box.deliver("opaque")
    await _open(tmp_path)


async def test_another_secret_is_refused_and_the_right_one_still_fits(tmp_path: Path) -> None:
    async with claimed_box(tmp_path) as box:
        await box.deliver("opaque")
    before = (tmp_path / DATABASE_NAME).read_bytes()
    with pytest.raises(BadDatabase, match="secret"):
        await _open(tmp_path, b"another secret's")
    with pytest.raises(BadDatabase, match="secret"):
        await add_invite(tmp_path, b"code", expires=UnixTime(1), check_value=b"another secret's")
    assert (tmp_path / DATABASE_NAME).read_bytes() == before
    await _open(tmp_path)


async def test_a_refused_start_frees_the_directory(tmp_path: Path) -> None:
    await _open(tmp_path)
    for _ in range(2):
        with pytest.raises(BadDatabase, match="secret"):
            await _open(tmp_path, b"another secret's")


def _newer(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version={len(schema_steps()) + 1}")


def _newer_copy(path: Path) -> None:
    """As `VACUUM INTO` makes copies: without write-ahead logging."""
    _newer(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=DELETE")


def _text(path: Path) -> None:
    path.write_text("Dear diary,\n" * 1000)


def _almost(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)


def _anothers(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE recipe (text TEXT)")


@pytest.mark.parametrize("make", [_newer, _newer_copy, _text, _almost, _anothers])
async def test_a_file_that_is_not_ours_is_refused_and_not_changed(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / DATABASE_NAME
    await _open(tmp_path)
    make(path)
    before = path.read_bytes()
    with pytest.raises(BadDatabase, match=str(path)):
        await _open(tmp_path)
    assert path.read_bytes() == before


async def test_a_newer_file_is_named_as_newer(tmp_path: Path) -> None:
    await _open(tmp_path)
    _newer(tmp_path / DATABASE_NAME)
    with pytest.raises(BadDatabase, match="newer version"):
        await _open(tmp_path)


def test_a_refused_file_leaves_no_thread_that_answers_to_a_closed_loop(tmp_path: Path) -> None:
    _text(tmp_path / DATABASE_NAME)
    for _ in range(30):  # what a thread raises, pytest reports
        with pytest.raises(BadDatabase):
            asyncio.run(_open(tmp_path))


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadDatabase, match="file"):
        await _open(tmp_path / "file" / "data")


async def test_only_the_owner_can_read_what_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    async with claimed_box(folder) as box:
        await box.deliver("opaque")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.glob(f"{DATABASE_NAME}*")}
    assert modes == {f"{DATABASE_NAME}{suffix}": 0o600 for suffix in ("", "-wal", "-shm")}


@pytest.mark.parametrize("read_only", [False, True])
async def test_the_pragmas_that_the_promises_rest_on_hold(tmp_path: Path, read_only: bool) -> None:
    await _open(tmp_path)
    expected = {"synchronous": 2, "secure_delete": 1, "journal_mode": "wal", "temp_store": 2, "auto_vacuum": 2}
    expected |= {"query_only": int(read_only)}
    async with open_connection(tmp_path / DATABASE_NAME, read_only=read_only) as connection:
        actual = await connection.run(
            lambda db: {pragma: db.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in expected}
        )
    assert actual == expected


async def test_the_connection_that_reads_cannot_write(tmp_path: Path) -> None:
    await _open(tmp_path)
    async with open_connection(tmp_path / DATABASE_NAME, read_only=True) as connection:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await connection.run(lambda db: db.execute("DELETE FROM message"))


async def test_a_fresh_schema_equals_an_upgraded_one(tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.sqlite3"
    async with open_connection(fresh) as connection:
        await upgrade(connection, fresh)
    steps = schema_steps()
    for already in range(len(steps) + 1):
        path = tmp_path / f"after-step-{already}.sqlite3"
        async with open_connection(path) as connection:
            await connection.run(partial(upgrade_steps, path=path, steps=steps[:already]))
            await upgrade(connection, path)
            assert await connection.run(lambda db: db.execute("PRAGMA user_version").fetchone()) == (len(steps),)
        assert _schema(path) == _schema(fresh)
        assert path.with_name(f"{path.name}.before-step-{already + 1}").exists() == (0 < already < len(steps))


async def test_upgrading_twice_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_NAME
    async with open_connection(path) as connection:
        await upgrade(connection, path)
        before = _schema(path)
        await upgrade(connection, path)
    assert _schema(path) == before


async def test_the_schema_has_these_columns_and_no_more(tmp_path: Path) -> None:
    await _open(tmp_path)
    tables = [name for (name,) in read_rows(tmp_path, "SELECT name FROM sqlite_schema WHERE type = 'table'")]
    columns = {
        table: " ".join(name for (name,) in read_rows(tmp_path, f"SELECT name FROM pragma_table_info('{table}')"))
        for table in tables
    }
    assert columns == COLUMNS


async def test_every_table_is_strict(tmp_path: Path) -> None:
    await _open(tmp_path)
    assert read_rows(tmp_path, "SELECT name FROM pragma_table_list WHERE schema = 'main' AND strict = 0") == [
        ("sqlite_schema",)
    ]


async def test_an_invite_can_be_added_beside_a_running_server(tmp_path: Path) -> None:
    async with claimed_box(tmp_path) as box:
        await add_invite(tmp_path, b"code", expires=UnixTime(box.clock() + 1), check_value=CHECK_VALUE)
        await box.deliver("opaque")
        assert row_counts(tmp_path)["invite"] == 1


async def test_an_invite_never_makes_or_changes_a_database_that_is_served(tmp_path: Path) -> None:
    async with claimed_box(tmp_path) as box:
        with contextlib.closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as db:
            db.execute("PRAGMA user_version=1")
            (tmp_path / DATABASE_NAME).rename(tmp_path / "moved")
            with pytest.raises(BadDatabase, match="There is no file"):
                await add_invite(tmp_path, b"code", expires=UnixTime(1), check_value=CHECK_VALUE)
            assert not (tmp_path / DATABASE_NAME).exists()
            (tmp_path / "moved").rename(tmp_path / DATABASE_NAME)
        await box.deliver("opaque")


async def test_invites_that_are_made_at_once_all_stand(tmp_path: Path) -> None:
    async def add(number: int) -> None:
        await add_invite(tmp_path, bytes([number]), expires=UnixTime(1), check_value=CHECK_VALUE)

    await _open(tmp_path)
    await asyncio.gather(*map(add, range(5)))
    assert row_counts(tmp_path)["invite"] == 5


async def test_the_copies_of_earlier_upgrades_are_kept(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_NAME
    for _ in range(2):
        path.unlink(missing_ok=True)
        async with open_connection(path) as connection:
            await connection.run(lambda db: db.executescript(f"{schema_steps()[0]}\nPRAGMA user_version=1;"))
            await connection.run(
                lambda db: upgrade_steps(db, path, [*schema_steps(), "CREATE TABLE extra (a INTEGER) STRICT;"])
            )
    first, second = (path.with_name(f"{DATABASE_NAME}.before-step-2{end}") for end in ("", ".2"))
    assert first.exists()
    assert second.exists()
    with contextlib.closing(sqlite3.connect(first)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)


@pytest.mark.parametrize("rename", [True, False])
async def test_what_would_be_written_to_a_file_without_a_name_is_refused(tmp_path: Path, rename: bool) -> None:
    path = tmp_path / DATABASE_NAME
    async with claimed_box(tmp_path) as box:
        await box.deliver("one")
        if rename:
            path.rename(tmp_path / "moved")
        else:
            path.unlink()
        with pytest.raises(Unavailable):
            await box.deliver("two")
        with pytest.raises(Unavailable):
            await box.store.ping()
        if rename:
            (tmp_path / "moved").rename(path)
            assert (await box.deliver("two")).new
            await box.store.ping()
