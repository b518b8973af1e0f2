"""Copies of the database: made beside a running server, checked, and put back so that clients notice."""

import contextlib
import hashlib
import shutil
import sqlite3
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from inbox_server.cli import main
from inbox_server.clock import DAY_SECONDS, UnixTime, end_of_day
from inbox_server.errors import Refused
from inbox_server.store.contract import BadDatabase, LogPage
from inbox_server.store.sqlite.backup import Copied, back_up, restore
from inbox_server.store.sqlite.database import schema_steps, upgrade_steps
from inbox_server.store.sqlite.files import make_private, new_file
from inbox_server.store.sqlite.opening import DATABASE_NAME, LOCK_NAME, open_store
from tests.conftest import HandClock
from tests.support.old_databases import write_old_database
from tests.support.stores import (
    CAROL,
    CHECK_VALUE,
    MAX_RETENTION,
    QUOTA,
    Box,
    claimed_box,
    file_names,
    id_of,
    read_rows,
    texts_of,
)

GENERATION, NOW = b"restored", HandClock()()
LONG = end_of_day(UnixTime(NOW + DAY_SECONDS)) - NOW


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    async with claimed_box(tmp_path / "running") as box:
        yield box


def _copy(folder: Path, target: Path, *, settings_only: bool = False) -> Copied:
    return back_up(folder, target, check_value=CHECK_VALUE, settings_only=settings_only)


def _put_back(folder: Path, copy: Path) -> Copied:
    return restore(
        folder, copy, check_value=CHECK_VALUE, random_bytes=lambda count: GENERATION[:count].ljust(count), now=NOW
    )


async def _reopened(folder: Path, box: Box) -> AsyncIterator[Box]:
    async with open_store(folder, check_value=CHECK_VALUE, quota=QUOTA) as store:
        yield Box(store, box.clock)


async def test_a_copy_made_beside_a_running_server_holds_what_was_unread_then(box: Box, tmp_path: Path) -> None:
    for text in ("one", "two", "three"):
        await box.deliver(text)
    await box.acknowledge("two")
    assert _copy(tmp_path / "running", tmp_path / "copy") == Copied(inboxes=1, unread=2)
    await box.deliver("four")
    await box.acknowledge("one")
    assert _put_back(tmp_path / "fresh", tmp_path / "copy") == Copied(inboxes=1, unread=2)
    async for other in _reopened(tmp_path / "fresh", box):
        assert await other.texts() == ["one", "three"]
        assert not (await other.deliver("one")).new


async def test_after_a_restore_every_cursor_from_before_is_gone(box: Box, tmp_path: Path) -> None:
    await box.deliver("one")
    early = await box.cursor()
    _copy(tmp_path / "running", tmp_path / "copy")
    await box.deliver("two")
    late = await box.cursor()
    _put_back(tmp_path / "fresh", tmp_path / "copy")
    async for other in _reopened(tmp_path / "fresh", box):
        for cursor in (early, late):
            with pytest.raises(Refused) as refused:
                await other.page(cursor)
            assert refused.value.code == "cursor_gone"
        page = await other.page()
        assert (texts_of(page), page.cursor.generation) == (["one"], GENERATION)


async def test_a_restored_inbox_takes_deliveries_and_acknowledgements(box: Box, tmp_path: Path) -> None:
    await box.deliver("one")
    _copy(tmp_path / "running", tmp_path / "copy")
    _put_back(tmp_path / "fresh", tmp_path / "copy")
    async for other in _reopened(tmp_path / "fresh", box):
        await other.deliver("two")
        await other.acknowledge("one")
        assert await other.texts() == ["two"]
        assert await other.counts() == (1, 3)


async def test_a_copy_carries_the_log_and_restoring_it_says_on_which_day_that_was(box: Box, tmp_path: Path) -> None:
    for text in ("one", "two"):
        await box.deliver(text, life=LONG)
    copied = await box.log()
    _copy(tmp_path / "running", tmp_path / "copy")
    await box.deliver("after the copy", life=LONG)
    _put_back(tmp_path / "fresh", tmp_path / "copy")
    async for other in _reopened(tmp_path / "fresh", box):
        assert await other.log() == replace(copied, restored=NOW // DAY_SECONDS)
        await other.deliver("after restoring", life=LONG)
        assert await other.logged() == [id_of(text) for text in ("one", "two", "after restoring")]
        other.clock.advance(MAX_RETENTION)
        assert (await other.log()).restored == NOW // DAY_SECONDS
        other.clock.advance(DAY_SECONDS)
        await other.sweep()
        page = await other.log()
        assert (page.base, page.restored) == (page.head, None)


async def test_a_copy_of_the_settings_has_a_log_that_begins_at_its_head(box: Box, tmp_path: Path) -> None:
    for text in ("one", "two"):
        await box.deliver(text, life=LONG)
    head = (await box.log()).head
    _copy(tmp_path / "running", tmp_path / "copy", settings_only=True)
    assert id_of("one") not in (tmp_path / "copy").read_bytes()
    _put_back(tmp_path / "fresh", tmp_path / "copy")
    async for other in _reopened(tmp_path / "fresh", box):
        assert await other.log() == LogPage(head, (), head, more=False, restored=NOW // DAY_SECONDS)
        await other.deliver("two", life=LONG)
        assert await other.logged() == [id_of("two")]
        other.clock.advance(3 * DAY_SECONDS)
        await other.sweep()
        assert await other.logged() == [id_of("two")]


@pytest.mark.parametrize("version", [4, 6])
async def test_an_old_copy_is_brought_up_to_date_so_that_its_log_says_the_day(
    box: Box, tmp_path: Path, version: int
) -> None:
    await box.deliver("one", life=LONG)
    write_old_database(tmp_path / "copy", version, tmp_path / "running" / DATABASE_NAME)
    _put_back(tmp_path / "fresh", tmp_path / "copy")
    assert file_names(tmp_path / "fresh") == [DATABASE_NAME, LOCK_NAME]
    async for other in _reopened(tmp_path / "fresh", box):
        assert await other.texts() == ["one"]
        assert await other.logged() == [id_of("one")]
        assert (await other.log()).restored == NOW // DAY_SECONDS


async def test_a_copy_of_the_settings_holds_no_message_and_no_trace_of_one(box: Box, tmp_path: Path) -> None:
    carol = box.of(CAROL)
    await carol.claim(accept="contacts", retention=7200, names=(b"carol.id, keyed.",), contacts=(b"Alice, as Carol's",))
    for number in range(200):
        await carol.deliver(f"<mark {number:05}>")
    await carol.acknowledge("<mark 00003>")
    copied = _copy(tmp_path / "running", tmp_path / "copy", settings_only=True)
    assert copied == Copied(inboxes=2, unread=0)
    assert b"<mark" not in (tmp_path / "copy").read_bytes()
    assert id_of("<mark 00003>") not in (tmp_path / "copy").read_bytes()
    _put_back(tmp_path / "fresh", tmp_path / "copy")
    async for other in _reopened(tmp_path / "fresh", box):
        other.inbox = CAROL
        settings = await other.settings()
        assert (settings.accept, settings.retention, settings.contacts, settings.names) == ("contacts", 7200, 1, 1)
        assert await other.counts() == (0, 0)
        await other.deliver("after")
        assert await other.texts() == ["after"]


async def test_what_is_there_is_never_written_over(box: Box, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("a letter")
    with pytest.raises(BadDatabase, match="exists already"):
        _copy(tmp_path / "running", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "a letter"
    _copy(tmp_path / "running", tmp_path / "second")
    async with claimed_box(tmp_path / "other") as other:
        await other.deliver("kept")
    with pytest.raises(BadDatabase, match="Move everything in that directory away"):
        _put_back(tmp_path / "other", tmp_path / "second")
    async for other in _reopened(tmp_path / "other", box):
        assert await other.texts() == ["kept"]


async def test_nothing_is_restored_under_a_running_server(box: Box, tmp_path: Path) -> None:
    _copy(tmp_path / "running", tmp_path / "copy")
    with pytest.raises(BadDatabase, match="in use by another inbox-server"):
        _put_back(tmp_path / "running", tmp_path / "copy")


async def test_only_its_owner_can_read_a_copy(box: Box, tmp_path: Path) -> None:
    _copy(tmp_path / "running", tmp_path / "copy")
    _put_back(tmp_path / "fresh", tmp_path / "copy")
    for path in (tmp_path / "copy", tmp_path / "fresh" / DATABASE_NAME):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_copy_under_another_secret_is_refused_and_nothing_is_made(box: Box, tmp_path: Path) -> None:
    _copy(tmp_path / "running", tmp_path / "copy")
    with pytest.raises(BadDatabase, match="The secret is not the one"):
        restore(tmp_path / "fresh", tmp_path / "copy", check_value=b"another", random_bytes=bytes, now=NOW)
    assert not (tmp_path / "fresh").exists()


async def test_a_database_of_another_secret_is_not_copied(box: Box, tmp_path: Path) -> None:
    with pytest.raises(BadDatabase, match="secret is not the one"):
        back_up(tmp_path / "running", tmp_path / "copy", check_value=b"another", settings_only=False)
    assert not (tmp_path / "copy").exists()


def _missing(copy: Path) -> None:
    copy.unlink()


def _empty(copy: Path) -> None:
    copy.write_bytes(b"")


def _letter(copy: Path) -> None:
    copy.write_text("not a database at all, but long enough to be read as one" * 100)


def _damage(copy: Path) -> None:
    """The middle of a page of messages, which opening alone does not read."""
    content = bytearray(copy.read_bytes())
    at = content.index(b"<mark 00100>") // 4096 * 4096
    content[at : at + 4096] = bytes(4096)
    copy.write_bytes(content)


def _newer(copy: Path) -> None:
    with contextlib.closing(sqlite3.connect(copy)) as db, db:
        db.execute(f"PRAGMA user_version={len(schema_steps()) + 1}")


@pytest.mark.parametrize("spoil", [_missing, _empty, _letter, _damage, _newer])
async def test_what_is_no_whole_copy_is_refused_and_leaves_nothing(box: Box, tmp_path: Path, spoil: object) -> None:
    for number in range(200):
        await box.deliver(f"<mark {number:05}>")
    copy = tmp_path / "copy"
    _copy(tmp_path / "running", copy)
    assert callable(spoil)
    spoil(copy)
    before = hashlib.sha256(copy.read_bytes()).digest() if copy.exists() else None
    with pytest.raises(BadDatabase):
        _put_back(tmp_path / "fresh", copy)
    assert (hashlib.sha256(copy.read_bytes()).digest() if copy.exists() else None) == before
    left = file_names(tmp_path / "fresh") if (tmp_path / "fresh").exists() else []
    assert left in ([], ["lock"])


async def test_a_damaged_database_gives_no_copy(box: Box, tmp_path: Path) -> None:
    _copy(tmp_path / "running", tmp_path / "whole")
    for number in range(200):
        await box.deliver(f"<mark {number:05}>")
    (tmp_path / "damaged").mkdir()
    _copy(tmp_path / "running", tmp_path / "damaged" / DATABASE_NAME)
    _damage(tmp_path / "damaged" / DATABASE_NAME)
    with pytest.raises(BadDatabase, match=r"damaged|malformed"):
        _copy(tmp_path / "damaged", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert file_names(tmp_path) == ["damaged", "running", "whole"]


async def test_a_copy_that_was_broken_off_is_in_nobodys_way(box: Box, tmp_path: Path) -> None:
    others = (tmp_path / "copy.partial", tmp_path / "copy.partial-notes")
    for path in others:
        path.write_text("somebody's")
    await box.deliver("one")
    assert _copy(tmp_path / "running", tmp_path / "copy").unread == 1
    assert file_names(tmp_path) == ["copy", "copy.partial", "copy.partial-notes", "running"]
    assert all(path.read_text() == "somebody's" for path in others)


async def test_what_a_killed_restore_left_is_cleared_at_the_next_start(box: Box, tmp_path: Path) -> None:
    left = tmp_path / "fresh" / f"{DATABASE_NAME}.x1.partial"
    left.mkdir(parents=True)
    (left / DATABASE_NAME).write_bytes(b"half of it")
    async for _ in _reopened(tmp_path / "fresh", box):
        assert not left.exists()


async def test_a_log_that_is_left_of_another_database_is_never_read_into_a_restored_one(
    box: Box, tmp_path: Path
) -> None:
    _copy(tmp_path / "running", tmp_path / "copy")
    for number in range(20):
        await box.deliver(f"after the copy {number}")
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    log = tmp_path / "running" / f"{DATABASE_NAME}-wal"
    assert log.stat().st_size
    shutil.copy(log, fresh)  # as a killed server leaves it, when only the file itself is moved away
    for make in (
        _put_back,
        lambda folder, copy: _copy(tmp_path / "running", folder / DATABASE_NAME),
    ):
        with pytest.raises(BadDatabase, match="-wal is there"):
            make(fresh, tmp_path / "copy")
    assert not (fresh / DATABASE_NAME).exists()


async def test_a_copy_can_be_read_where_nothing_can_be_written(box: Box, tmp_path: Path) -> None:
    await box.deliver("one")
    for settings_only in (False, True):
        copy = tmp_path / f"copy {settings_only}"
        _copy(tmp_path / "running", copy, settings_only=settings_only)
        assert copy.read_bytes()[18:20] == b"\1\1"  # no write-ahead log: that one is read with two files beside it
        with contextlib.closing(sqlite3.connect(f"{copy.as_uri()}?mode=ro&immutable=1", uri=True)) as db:
            assert db.execute("SELECT count(*) FROM inbox").fetchone() == (1,)


async def test_a_backup_never_takes_a_name_that_was_taken_meanwhile(box: Box, tmp_path: Path) -> None:
    def write() -> None:
        with new_file(tmp_path / "copy") as partial:
            partial.write_text("ours")
            (tmp_path / "copy").write_text("theirs")

    with pytest.raises(BadDatabase, match="exists already"):
        write()
    assert (tmp_path / "copy").read_text() == "theirs"


def test_where_there_is_no_database_there_is_no_copy(tmp_path: Path) -> None:
    with pytest.raises(BadDatabase, match="no database"):
        _copy(tmp_path, tmp_path / "copy")
    assert file_names(tmp_path) == []


async def test_the_schema_of_a_copy_of_the_settings_is_that_of_the_database(box: Box, tmp_path: Path) -> None:
    (tmp_path / "settings").mkdir()
    _copy(tmp_path / "running", tmp_path / "settings" / DATABASE_NAME, settings_only=True)
    sql = "SELECT name, sql FROM sqlite_schema ORDER BY name"
    for asked in (sql, "PRAGMA auto_vacuum", "PRAGMA user_version"):
        assert read_rows(tmp_path / "settings", asked) == read_rows(tmp_path / "running", asked)


def test_the_commands_say_what_they_did_and_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, copy = tmp_path / "config.toml", tmp_path / "copy"
    assert main(["init", str(tmp_path), "--url", "https://inbox.example"]) == 0
    (tmp_path / "data").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / DATABASE_NAME)) as db:
        upgrade_steps(db, tmp_path, schema_steps())
    capsys.readouterr()
    assert main(["backup", "--config", str(config), str(copy)]) == 0
    said = capsys.readouterr().out
    assert "0 inboxes, 0 unread" in said
    assert f"The secret ({tmp_path / 'secret'}) is not in it" in said
    assert main(["backup", "--config", str(config), str(copy)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main(["restore", "--config", str(config), str(copy)]) == 1
    assert "Move everything in that directory away" in capsys.readouterr().err
    (tmp_path / "data").rename(tmp_path / "old")
    assert main(["restore", "--config", str(config), str(tmp_path)]) == 1
    assert "is a directory. Name the file in it." in capsys.readouterr().err
    assert main(["restore", "--config", str(config), str(copy)]) == 0
    said = capsys.readouterr().out
    assert "nothing is unread in the copy" in said
    assert "unread again" not in said
    assert main(["restore", "--config", str(config), str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err == f"There is no file {tmp_path / 'nowhere'}.\n"


def test_a_data_directory_that_was_moved_from_behind_its_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to("private")
    with pytest.raises(BadDatabase, match="a link to private, which is not there"):
        make_private(tmp_path / "data")
