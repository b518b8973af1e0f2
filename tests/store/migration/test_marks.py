"""Which databases may be used, and migrated, while a migration is not finished and afterwards."""

import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.errors import Refused
from inbox_server.store.contract import BadDatabase
from inbox_server.store.migrating import Mark, migrate, reopen
from inbox_server.store.sqlite.backup import back_up, restore
from inbox_server.store.sqlite.opening import DATABASE_NAME
from tests.conftest import START, HandClock
from tests.support.migrating import ID, Place, full, move, place, quiet, told
from tests.support.stores import (
    BOB,
    CHECK_VALUE,
    Box,
    claimed_box,
    id_of,
)

OTHER_ID = b"another one....."
TODAY = START // DAY_SECONDS


async def test_a_source_is_not_used_again_unless_it_is_reopened_and_then_no_cursor_of_before_is_valid(
    pair: tuple[Place, Place],
) -> None:
    source, target = pair
    async with full(source) as box:
        cursor, texts, head = await box.cursor(), await box.texts(), (await box.log()).head
    await move(source, target)
    for use in (source.store(), _invited(source)):
        with pytest.raises(BadDatabase, match="was copied to another database"):
            async with use:
                pass
    with pytest.raises(BadDatabase, match="was copied to another database"):
        await move(source, source.beside("third"))
    async with source.opened() as database:
        assert await reopen(database, random_bytes=random.Random(1).randbytes, day=TODAY)
    async with source.store() as store:
        box = replace(box, store=store)
        with pytest.raises(Refused, match="cursor_gone"):
            await box.page(cursor)
        assert (await box.texts(), (await box.log()).head, (await box.log()).restored) == (texts, head, TODAY)
    async with target.store() as store:
        assert (await replace(box, store=store).page(cursor)).messages == ()


@contextlib.asynccontextmanager
async def _invited(place: Place) -> AsyncIterator[None]:
    await place.kind.add_invite(place.folder, b"a code, hashed..", expires=UnixTime(9))
    yield


async def test_an_invite_is_refused_while_its_database_is_being_copied(pair: tuple[Place, Place]) -> None:
    """The copy would not have it; and the lock that a migration holds is not a server's."""
    source, target = pair
    async with full(source):
        pass
    for of, mark, why in (
        (source, Mark(ID, "source"), "is being copied"),
        (target, Mark(ID, "target"), "is not whole"),
    ):
        async with of.opened(new=True) as database:
            await database.set_mark(mark)
            with pytest.raises(BadDatabase, match=why):
                async with _invited(of):
                    pass


class Stop(Exception):
    """The machine stops here."""


async def begun(source: Place, target: Place) -> None:
    """A migration that is killed when it has copied everything."""

    def stop(what: str, _inboxes: int, _entries: int, _all: int) -> None:
        if what == "compared":
            raise Stop

    async with source.opened() as old, target.opened(new=True) as new:
        with pytest.raises(Stop):
            await migrate(old, new, new_id=ID, progress=stop)


async def test_while_it_is_not_finished_nobody_uses_either_and_no_other_migration_goes_on_with_it(
    pair: tuple[Place, Place],
) -> None:
    source, target = pair
    other = source.beside("other")
    async with full(source) as box:
        expected = await told(box)
    async with claimed_box(other.folder, kind=other.kind):
        pass
    await begun(source, target)
    for of, why in ((source, "is being copied"), (target, "is not whole")):
        with pytest.raises(BadDatabase, match=why):
            async with of.store():
                pass
    for pair, why in (((other, target), "another migration"), ((target, source.beside("new")), "not whole itself")):
        with pytest.raises(BadDatabase, match=why):
            await move(*pair)
    async with target.opened() as database:
        with pytest.raises(BadDatabase, match="is not whole"):
            await reopen(database, random_bytes=random.Random(1).randbytes, day=TODAY)
    async with other.store() as store:  # what was refused did not mark it
        assert await store.totals() is not None
    await move(source, target, OTHER_ID)
    async with target.store() as store:
        assert await told(replace(box, store=store)) == expected


async def test_what_is_not_whole_is_neither_copied_nor_restored(tmp_path: Path) -> None:
    source, target = place(tmp_path, "first"), place(tmp_path, "second")
    async with full(source):
        pass
    await begun(source, target)
    for use in (_copy_of(target, tmp_path / "copy"), _restored(target.folder / DATABASE_NAME, tmp_path / "restored")):
        with pytest.raises(BadDatabase, match="is not whole"):
            use()


def _copy_of(place: Place, file: Path) -> Callable[[], object]:
    return lambda: back_up(place.folder, file, check_value=CHECK_VALUE, settings_only=False)


def _restored(file: Path, folder: Path) -> Callable[[], object]:
    return lambda: restore(folder, file, check_value=CHECK_VALUE, random_bytes=random.Random(1).randbytes, now=START)


async def test_one_that_is_given_up_leaves_the_source_as_it_was(pair: tuple[Place, Place]) -> None:
    source, target = pair
    async with full(source) as box:
        expected, cursor = await told(box), await box.cursor()
    await begun(source, target)
    async with source.opened() as database:
        assert not await reopen(database, random_bytes=random.Random(1).randbytes, day=TODAY)
        with pytest.raises(BadDatabase, match="can be used as it is"):
            await reopen(database, random_bytes=random.Random(1).randbytes, day=TODAY)
    async with source.store() as store:
        box = replace(box, store=store)
        assert await told(box) == expected
        assert (await box.page(cursor)).messages == ()
    with pytest.raises(BadDatabase, match="another migration"):
        await move(source, target, OTHER_ID)
    async with source.store():  # and that was refused without a trace
        pass
    await move(source, source.beside("third"), OTHER_ID)


async def test_one_that_is_killed_between_its_last_two_commits_is_finished(pair: tuple[Place, Place]) -> None:
    source, target = pair
    async with full(source) as box:
        expected = await told(box)
    await begun(source, target)
    async with source.opened() as database:
        await database.set_mark(Mark(ID, "left"))
    await move(source, target, OTHER_ID)
    async with target.store() as store:
        assert await told(replace(box, store=store)) == expected


async def test_one_that_is_finished_is_not_done_again(pair: tuple[Place, Place]) -> None:
    """Whoever was killed after the last commit learns that by the same command, also once a server has gone on."""
    source, target = pair
    async with full(source) as box:
        pass
    await move(source, target)
    for text in ("one", "two"):
        async with target.store() as store:
            await store.operating.drain(on=False)
            await replace(box, store=store).claim(accept="anyone")
            await replace(box, store=store).acknowledge(text)
        async with source.opened() as old, target.opened(new=True) as new:
            assert await migrate(old, new, new_id=OTHER_ID, progress=quiet) is None
    back = source.beside("back")
    await move(target, back)
    async with back.store() as store:
        assert (await replace(box, store=store).settings()).accept == "anyone"


@pytest.mark.parametrize("what", ["an inbox", "an invite", "a suspension"])
async def test_a_target_that_holds_something_is_left_as_it_is(pair: tuple[Place, Place], what: str) -> None:
    source, target = pair
    async with full(source):
        pass
    if what == "an invite":
        async with _invited(target):
            pass
    async with target.store() as store:
        if what == "an inbox":
            await Box(store, HandClock()).claim()
        elif what == "a suspension":
            await store.operating.suspend(BOB)
    with pytest.raises(BadDatabase, match="is not empty: it has 1 "):
        await move(source, target)
    for each in (source, target):
        async with each.store():
            pass


async def test_a_target_on_which_a_server_has_only_started_is_as_good_as_a_new_one(pair: tuple[Place, Place]) -> None:
    source, target = pair
    async with full(source) as box:
        expected = await told(box)
    async with target.store() as store:
        await store.sweep(UnixTime(1))
        await store.operating.drain(on=True)
    await move(source, target)
    async with target.store() as store:
        assert await told(replace(box, store=store)) == expected


async def test_what_is_under_a_new_secret_meanwhile_is_not_mixed_with_the_old(
    pair: tuple[Place, Place],
) -> None:
    source, target = pair
    async with full(source):
        pass
    await begun(source, target)
    async with source.opened() as database:
        await database.set_secret_check((b"of a new secret.",))
        async with target.opened() as other:
            with pytest.raises(BadDatabase, match="under a new secret since"):
                await migrate(database, other, new_id=ID, progress=quiet)


async def test_a_text_that_a_disk_has_changed_stays_changed_and_is_counted(tmp_path: Path) -> None:
    source, target = place(tmp_path, "first"), place(tmp_path, "second")
    async with claimed_box(source.folder) as box:
        for text in ("one", "two", "three"):
            await box.deliver(text)
    with contextlib.closing(sqlite3.connect(source.folder / DATABASE_NAME)) as db, db:
        db.execute("UPDATE text SET body = CAST(replace(body, 'two', 'tw\xff') AS BLOB) WHERE instr(body, 'two')")
    tally = await move(source, target)
    assert (tally.counts["damaged"], tally.counts["unread"]) == (1, 3)
    async with target.store() as store:
        entries = await replace(box, store=store).entries()
    assert [(entry.id == id_of(entry.message_id), entry.message_id) for entry in entries] == [
        (True, "one"),
        (False, "???"),
        (True, "three"),
    ]


async def test_a_copy_that_differs_is_not_used(tmp_path: Path) -> None:
    source, target = place(tmp_path, "first"), place(tmp_path, "second")
    async with full(source):
        pass
    await begun(source, target)
    change = "UPDATE inbox SET horizon = horizon + 1", "DELETE FROM listed", "INSERT INTO suspended VALUES (x'01')"
    for sql in change:
        with contextlib.closing(sqlite3.connect(target.folder / DATABASE_NAME)) as db:
            db.execute("BEGIN")
            db.execute(sql)
            db.execute("COMMIT")
        with pytest.raises(BadDatabase, match=r"The copy is not the same: .* has other"):
            await move(source, target)
        with pytest.raises(BadDatabase, match="is not whole"):
            async with target.store():
                pass
