"""Databases that came under a migration, or were put back, while a server could not reach them: it must not go on."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from inbox_server.clock import DAY_SECONDS
from inbox_server.errors import Refused, Unavailable
from inbox_server.store.contract import Changed
from inbox_server.store.postgres.opening import open_store
from inbox_server.store.postgres.primary import Cluster
from inbox_server.store.postgres.restored import mark_restored
from tests.conftest import START, HandClock
from tests.store.postgres.conftest import beside
from tests.support.lines import Line
from tests.support.migrating import move, place
from tests.support.patience import PATIENCE_SECONDS
from tests.support.postgres import server, url_of
from tests.support.stores import BOB, CHECK_VALUE, QUOTA, Box

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(60)]


@contextlib.asynccontextmanager
async def served(folder: Path, changed: Changed = lambda _inboxes: None) -> AsyncIterator[tuple[Box, Line]]:
    """A store with an inbox that somebody waits for, and the only line to its database."""
    port = urlsplit(server().url).port or 0
    async with Line(port).open() as line:
        cluster = Cluster(url_of(folder).replace(f":{port}/", f":{line.port}/"), server().password)
        async with open_store(
            cluster,
            day_keys_file=folder / "day-keys",
            check_value=CHECK_VALUE,
            quota=QUOTA,
            changed=changed,
            watched=lambda: [BOB],
            clock=lambda: START,
        ) as store:
            box = Box(store, HandClock())
            await box.claim()
            yield box, line


async def outcome(box: Box) -> Refused | None:
    """Of a delivery, once the database is reached again."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await box.deliver("after")
            except Unavailable as refusal:
                if refusal.code != "storage_full":
                    return refusal
            else:
                return None
            await asyncio.sleep(0)


async def test_a_server_that_was_cut_off_during_a_migration_takes_nothing_into_the_old_database(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, target = place(tmp_path, "first", "postgres"), place(tmp_path, "second", "postgres")
    woken = asyncio.Event()
    async with served(source.folder, lambda _inboxes: woken.set()) as (box, line):
        await box.deliver("before")
        line.cut()
        with pytest.raises(Unavailable, match="storage_full"):
            await box.page()
        await move(source, target)
        woken.clear()
        line.join()
        refusal = await outcome(box)
        assert refusal
        assert refusal.code == "moving"
        for asking in (box.page(), box.acknowledge("before"), box.claim(), box.store.ping()):
            with pytest.raises(Unavailable, match="moving"):
                await asking
        await woken.wait()  # so who waits here reads, and learns it
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    for what in ("reading from", "writing to", "delivering to"):
        why = "PostgreSQL fails: The PostgreSQL database was copied to another database"
        assert any(error.startswith(f"{what} {why}") and "store.url" in error for error in errors)
    async with target.store() as store:
        assert await Box(store, HandClock()).texts() == ["before"]


async def test_a_copy_that_was_put_back_is_used_again_once_its_inboxes_have_new_generations(tmp_path: Path) -> None:
    """Whether the line was cut meanwhile or not."""
    async with served(tmp_path) as (box, line), beside(tmp_path) as db:
        for is_cut in (True, False):
            cursor = await box.cursor()
            if is_cut:
                line.cut()
            await db.execute("UPDATE home SET written = 0")
            line.join()
            refusal = None
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not refusal:
                    refusal = await outcome(box)
            assert refusal.code == "moving"
            await mark_restored(db, day=START // DAY_SECONDS, settings_only=False, random_bytes=random.randbytes)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await outcome(box):
                    pass
            with pytest.raises(Refused, match="cursor_gone"):
                await box.page(cursor)


async def test_a_database_that_was_made_anew_with_other_day_keys_gets_no_texts_that_nobody_there_can_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its other hosts could not: they have the new keys."""
    async with served(tmp_path) as (box, line), beside(tmp_path) as db:
        value = await db.fetchval("SELECT value FROM day_check")
        line.cut()
        await db.execute("UPDATE day_check SET value = $1", bytes(len(value)))
        line.join()
        refusal = await outcome(box)
        assert refusal
        assert refusal.code == "moving"
        assert "The day keys of this host are not those" in caplog.text
        await db.execute("UPDATE day_check SET value = $1", value)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await outcome(box):
                pass
