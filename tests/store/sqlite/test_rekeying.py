"""A rotation of the secret puts all that is stored under a new one, and leaves nothing under the old one behind."""

import asyncio
import contextlib
import random
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from inbox_server.clock import UnixTime
from inbox_server.identity.layer import ONLY_ONE, Layers, layers_of
from inbox_server.store.contract import BadDatabase, Store
from inbox_server.store.sqlite.backup import back_up, restore
from inbox_server.store.sqlite.database import open_connection
from inbox_server.store.sqlite.opening import DATABASE_NAME, add_invite, open_store
from inbox_server.store.sqlite.rekeying import HASHES, SEALED, TICKETS, WITHOUT, extent_of, finish_rotation, rekey
from tests.conftest import HandClock
from tests.store.sqlite.test_upgrading import fill as fill_two
from tests.store.sqlite.test_upgrading import seen
from tests.store.test_sheets import give, outcome
from tests.store.test_subscriptions import kept, subscribe
from tests.support.stores import ADMISSION, BOB, CHECK_VALUE, QUOTA, Box, read_rows

ONCE = layers_of([b"the second secret"])
TWICE = layers_of([b"the third secret", b"the second secret"])
NOW = HandClock()()
INVITE = b"a code, hashed.."


async def rotate(folder: Path, layers: Layers) -> list[str]:
    """What a start says of it."""
    said: list[str] = []
    await finish_rotation(folder, check_value=CHECK_VALUE, layers=layers, announce=said.append)
    return said


def opened(folder: Path, layers: Layers = ONLY_ONE) -> contextlib.AbstractAsyncContextManager[Store]:
    return open_store(folder, check_value=CHECK_VALUE, layers=layers, quota=QUOTA)


async def fill(folder: Path, layers: Layers = ONLY_ONE) -> list[object]:
    """Everything that two owners are told of what is put there."""
    async with opened(folder, layers) as store:
        box = Box(store, HandClock())
        await box.claim(names=(b"bob.id, keyed...",), blocked=(b"Mallory, as Bobs",))
        await fill_two(box)
        await add_invite(folder, INVITE, expires=UnixTime(box.clock() + 9), check_value=CHECK_VALUE, layers=layers)
        return await seen(box)


def stored_hashes(folder: Path) -> set[bytes]:
    """Everything in the columns that a rotation changes; of sealed addresses, a piece that lies in one place."""
    columns = [(table, column) for table, columns in HASHES.items() for column in columns]
    pieces = [(table, f"substr({column}, 20, 100)") for table, columns in SEALED.items() for column in columns]
    values = [read_rows(folder, f"SELECT {column} FROM {table}") for table, column in columns + pieces]
    return {value for rows in values for (value,) in rows}


def in_files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob(f"{DATABASE_NAME}*"))


def columns_of_bytes(folder: Path) -> Iterator[tuple[str, str]]:
    for table in (name for (name,) in read_rows(folder, "SELECT name FROM sqlite_schema WHERE type = 'table'")):
        for column, type in read_rows(folder, f"SELECT name, type FROM pragma_table_info('{table}')"):
            if type == "BLOB":
                yield table, column


async def test_it_is_known_of_every_column_of_bytes_whether_it_is_a_hash(tmp_path: Path) -> None:
    async with opened(tmp_path):
        known = [
            (table, column)
            for of in (HASHES, TICKETS, SEALED, WITHOUT)
            for table, each in of.items()
            for column in each
        ]
        assert sorted(columns_of_bytes(tmp_path)) == sorted(known)


async def test_tickets_are_as_good_after_a_rotation_as_before(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        box = Box(store, HandClock())
        await box.claim()
        await give(box, *range(100))
        assert await outcome(box, "used before", 3) is True
    for number, layers in enumerate((ONCE, TWICE), 10):
        before = {value for row in read_rows(tmp_path, "SELECT ids, used FROM sheet") for value in row}
        await rotate(tmp_path, layers)
        assert not before & {value for row in read_rows(tmp_path, "SELECT ids, used FROM sheet") for value in row}
        async with opened(tmp_path, layers) as store:
            box = Box(store, HandClock())
            for ticket, text in ((3, "used before"), *((ticket, f"used {ticket}") for ticket in range(10, number))):
                assert await outcome(box, text, ticket) is False
                assert await outcome(box, "something else", ticket) == "ticket_spent"
            assert await outcome(box, f"used {number}", number) is True
            assert await outcome(box, "a stranger", 100) == "not_accepted"


async def test_after_a_rotation_everybody_is_told_what_they_were_told_before(tmp_path: Path) -> None:
    told = await fill(tmp_path)
    schema = read_rows(tmp_path, "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name")
    for layers in (ONCE, TWICE):
        said = await rotate(tmp_path, layers)
        assert re.fullmatch(r"the rotation is finished after \d+\.\d s", said[-1]), said
        async with opened(tmp_path, layers) as store:
            box = Box(store, HandClock())
            assert await seen(box) == told
            assert await store.proven(b"bob.id, keyed...") == BOB
            assert await store.proven(b"bob.id, another.") is None
            policy = await store.policy(BOB, b"Mallory, as Bobs")
            assert policy
            assert policy.blocked
            assert await store.subscriptions(BOB, "push") == (kept(1),)
        assert read_rows(tmp_path, "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name") == schema
        assert read_rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]


async def test_an_invite_from_before_a_rotation_lets_somebody_in(tmp_path: Path) -> None:
    await fill(tmp_path)
    await rotate(tmp_path, ONCE)
    async with opened(tmp_path, ONCE) as store:
        dan = Box(store, HandClock(), b"Dan's inbox.....")
        assert await dan.claim(admission=replace(ADMISSION, invite=INVITE))


async def test_after_a_rotation_nothing_under_the_old_secret_is_in_any_file(tmp_path: Path) -> None:
    dice = random.Random(1)
    async with opened(tmp_path) as store:
        boxes = [Box(store, HandClock(), dice.randbytes(16)) for _ in range(60)]
        for box in boxes:
            contacts = tuple(dice.randbytes(16) for _ in range(40))
            await box.claim(contacts=contacts, names=(dice.randbytes(16),))
            await subscribe(box, kept(dice.randrange(1000)))
        await asyncio.gather(*(dice.choice(boxes).deliver(f"text {number}") for number in range(1200)))
    for layers in (ONCE, TWICE):
        before = stored_hashes(tmp_path)
        assert len(before) > 60 * 43
        await rotate(tmp_path, layers)
        found = in_files(tmp_path)
        assert [each for each in before if each in found] == []
        assert all(each in found for each in dice.sample(sorted(stored_hashes(tmp_path)), 100))


async def test_until_the_next_start_a_database_goes_on_under_the_old_secret(tmp_path: Path) -> None:
    told = await fill(tmp_path)
    async with opened(tmp_path, ONCE) as store:
        box = Box(store, HandClock())
        assert await seen(box) == told
        await add_invite(
            tmp_path, b"a new code, hash", expires=UnixTime(box.clock() + 9), check_value=CHECK_VALUE, layers=ONCE
        )
        dan = box.of(b"Dan's inbox.....")
        assert await dan.claim(admission=replace(ADMISSION, invite=b"a new code, hash"))
        assert extent_of(tmp_path, check_value=CHECK_VALUE, layers=ONCE).is_newest is False
    async with opened(tmp_path) as store:
        assert await store.settings(b"Dan's inbox.....")


async def test_a_rotation_that_is_finished_is_not_begun_again(tmp_path: Path) -> None:
    await fill(tmp_path)
    await rotate(tmp_path, ONCE)
    assert await rotate(tmp_path, ONCE) == []
    assert extent_of(tmp_path, check_value=CHECK_VALUE, layers=ONCE).is_newest


async def test_where_nothing_is_stored_yet_there_is_nothing_to_rotate(tmp_path: Path) -> None:
    assert await rotate(tmp_path, ONCE) == []
    async with opened(tmp_path, ONCE):
        pass
    assert await rotate(tmp_path, ONCE) == []


@pytest.mark.parametrize("layers", [ONLY_ONE, layers_of([b"another second secret"])], ids=["none", "another"])
async def test_the_old_secret_alone_opens_nothing_after_a_rotation(tmp_path: Path, layers: Layers) -> None:
    await fill(tmp_path)
    await rotate(tmp_path, ONCE)
    with pytest.raises(BadDatabase, match="The secret is not the one"):
        await rotate(tmp_path, layers)
    with pytest.raises(BadDatabase, match="The secret is not the one"):
        async with opened(tmp_path, layers):
            pass


@pytest.mark.parametrize("settings_only", [False, True])
async def test_a_copy_from_before_a_rotation_is_restored_after_it(tmp_path: Path, settings_only: bool) -> None:
    made_under, copy, fresh = ONCE, tmp_path / "copy", tmp_path / "fresh"
    await fill(tmp_path / "data", made_under)
    back_up(tmp_path / "data", copy, check_value=CHECK_VALUE, layers=made_under, settings_only=settings_only)
    await rotate(tmp_path / "data", TWICE)
    restore(fresh, copy, check_value=CHECK_VALUE, layers=TWICE, random_bytes=random.Random(1).randbytes, now=NOW)
    assert len(await rotate(fresh, TWICE)) == 2
    async with opened(tmp_path / "data", TWICE) as now, opened(fresh, TWICE) as restored:
        expected, settings = await now.settings(BOB), await restored.settings(BOB)
        assert expected
        assert settings
        assert (settings.names, settings.blocked) == (expected.names, expected.blocked)
        assert await restored.subscriptions(BOB, "push") == (kept(1),)
        assert settings.unread == (0 if settings_only else expected.unread)


async def test_a_full_disk_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    told = await fill(tmp_path)
    async with open_connection(tmp_path / DATABASE_NAME) as connection:
        pages = "PRAGMA max_page_count"

        def rekey_without_room(db: sqlite3.Connection) -> None:
            (now,) = db.execute("PRAGMA page_count").fetchone()
            db.execute(f"{pages}={now + 2}").fetchall()
            with pytest.raises(sqlite3.OperationalError, match="full"):
                rekey(db, ONLY_ONE[0], ONCE[0])

        await connection.run(rekey_without_room)
    async with opened(tmp_path, ONCE) as store:
        assert await seen(Box(store, HandClock())) == told
