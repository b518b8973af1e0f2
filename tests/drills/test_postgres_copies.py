"""A copy of a PostgreSQL database, made beside a running server and put back, as docs/postgresql.md has it."""

import asyncio
import base64
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.clock import system_clock
from inbox_server.store.postgres.opening import connected
from inbox_server.store.postgres.primary import Cluster
from inbox_server.store.postgres.restored import is_home, mark_restored
from inbox_server.store.postgres.upgrading import upgrade
from tests.support.databases import Database, new_database
from tests.support.postgres import server
from tests.support.requests import Caller, at, check_problem, id_of
from tests.support.serving import Deployment, client_session, deploy

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(120)]
PAGE = (Path(__file__).parents[2] / "docs" / "postgresql.md").read_text()
SETTINGS_ONLY = re.findall(r"--exclude-table-data='?([\w*]+)", PAGE)
BOB = AppKey(bytes(range(32)))


@dataclass(frozen=True, slots=True)
class Drill:
    """Bob's inbox, in which "one" and "two" wait, and the file of a copy."""

    place: Deployment
    database: Database
    bob: Caller
    file: Path

    async def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = (sys.executable, "-m", "inbox_server", *arguments, "--config", str(self.place.folder / "config.toml"))
        return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)

    async def deliver(self, text: str) -> int:
        return (await at(self.bob).deliver(text, recipient=BOB.address)).status

    async def acknowledge(self, text: str) -> None:
        entries = (await self.bob.unread()).json()["messages"]
        (id,) = [entry["id"] for entry in entries if entry["message_id"] == text]
        assert (await self.bob.acknowledge(id)).status == 204


@pytest.fixture
async def drill(tmp_path: Path) -> AsyncIterator[Drill]:
    folder = tmp_path / "place"
    folder.mkdir()
    async with new_database(tmp_path) as database, client_session() as session:
        files = {"store__url": database.url, "store__password_file": database.password_file(folder)}
        place = deploy(folder, **files)
        drill = Drill(place, database, Caller(session, place.url, BOB, system_clock), tmp_path / "inbox.dump")
        async with place.running():
            assert (await drill.bob.claim({"accept": "anyone"})).status == 201
            assert [await drill.deliver(text) for text in ("one", "two")] == [201, 201]
        yield drill


async def test_a_copy_is_put_back_and_every_client_notices(drill: Drill) -> None:
    async with drill.place.running():
        await drill.database.dump(drill.file)
        before = (await drill.bob.unread()).json()
        await drill.acknowledge("one")
        assert await drill.deliver("three") == 201
    await drill.database.put_back(drill.file)

    for command in ("serve", "inboxes"):
        refused = await drill.command(command)
        assert refused.returncode == 1
        assert "inbox-server after-restore" in refused.stderr
    done = await drill.command("after-restore")
    assert (done.returncode, done.stderr) == (0, "")
    assert "marked 1 inbox with 2 unread" in done.stdout

    async with drill.place.running():
        check_problem(await drill.bob.unread(after=before["cursor"]), "cursor_gone")
        assert await drill.bob.texts() == ["one", "two"]
        assert await drill.deliver("three") == 201
        await drill.acknowledge("one")
        assert await drill.bob.texts() == ["two", "three"]


async def test_a_copy_of_the_settings_needs_no_day_keys_and_has_no_messages(drill: Drill) -> None:
    excluded = [f"--exclude-table-data={table}" for table in SETTINGS_ONLY]
    await drill.database.dump(drill.file, *excluded)
    plain = drill.file.with_suffix(".sql")
    await drill.database.run("pg_dump", f"--file={plain}", *excluded, drill.database.url)
    for text in ("one", "two"):
        assert base64.urlsafe_b64decode(id_of(text) + "=").hex() not in plain.read_text()
    await drill.database.put_back(drill.file)
    (drill.place.data / "day-keys").unlink()  # every host was lost

    refused = await drill.command("after-restore")
    assert (refused.returncode, "add --settings-only" in refused.stderr) == (1, True)
    done = await drill.command("after-restore", "--settings-only")
    assert (done.returncode, done.stderr) == (0, "")
    assert "marked 1 inbox with 0 unread" in done.stdout

    async with drill.place.running():
        settings = (await drill.bob.settings()).json()
        assert (settings["accept"], settings["unread"]) == ("anyone", 0)
        assert await drill.bob.texts() == []
        assert await drill.deliver("one") == 201
        assert await drill.bob.texts() == ["one"]
        assert (await drill.bob.log()).status == 200


async def test_a_whole_copy_is_not_taken_for_one_of_the_settings(drill: Drill) -> None:
    refused = await drill.command("after-restore", "--settings-only")
    assert (refused.returncode, "leave out --settings-only" in refused.stderr) == (1, True)
    async with drill.place.running():
        assert await drill.bob.texts() == ["one", "two"]


async def test_of_several_clusters_only_the_one_that_was_put_back_is_marked(tmp_path: Path) -> None:
    folder = tmp_path / "place"
    folder.mkdir()
    async with (
        new_database(tmp_path / "one") as one,
        new_database(tmp_path / "two") as two,
        client_session() as session,
    ):
        place = deploy(folder, store__urls=[one.url, two.url], store__password_file=two.password_file(folder))
        drill = Drill(place, two, Caller(session, place.url, BOB, system_clock), tmp_path / "inbox.dump")
        async with place.running():
            pass
        before = await _home(one)
        checked = await drill.command("doctor")
        assert checked.returncode == 0
        assert re.search(r"^ok +database: cluster 2, 127.0.0.1:\d+: PostgreSQL", checked.stdout, re.MULTILINE)
        await two.dump(drill.file)
        await two.put_back(drill.file)
        assert "after-restore" in (await drill.command("serve")).stderr
        assert "no server starts before" in (await drill.command("doctor")).stdout
        assert (await drill.command("after-restore")).returncode == 0
        assert await _home(one) == before
        async with place.running():
            pass
        assert (await drill.command("after-restore")).returncode == 0  # as after a recovery to a moment
        assert await _home(one) != before
        async with place.running():
            pass


async def _home(database: Database) -> int:
    async with connected(Cluster(database.url, server().password)) as db:
        return int(await db.fetchval("SELECT written FROM home"))


async def test_what_was_broken_off_goes_on_where_it_was(tmp_path: Path) -> None:
    count = 2500
    async with new_database(tmp_path) as database:
        cluster = Cluster(database.url, server().password)
        async with connected(cluster) as db:
            await upgrade(db)
            await db.execute(
                "INSERT INTO inbox (inbox, app, generation, change, horizon, retention, accept, settings_at,"
                " settings_request, log_n, log_head, base_n, base_head)"
                " SELECT sha256(number::text::bytea), '', 'original', 1, 1, 1, 'anyone', 1, '', 1, '', 1, ''"
                f" FROM generate_series(1, {count}) AS number"
            )
            given: list[bytes] = []

            def breaks_off(length: int) -> bytes:
                if len(given) == 1700:
                    raise KeyboardInterrupt
                return _next(given, length)

            with pytest.raises(KeyboardInterrupt):
                await mark_restored(db, day=20_000, settings_only=False, random_bytes=breaks_off)
            assert not await is_home(db)
            del given[1000:]  # the second step was undone
            found = await mark_restored(db, day=20_000, settings_only=False, random_bytes=lambda n: _next(given, n))
            assert found.inboxes == count
            assert await is_home(db)
            rows = await db.fetch("SELECT generation, restored FROM inbox")
    assert sorted(row["generation"] for row in rows) == given
    assert len(given) == count
    assert {row["restored"] for row in rows} == {20_000}


def _next(given: list[bytes], length: int) -> bytes:
    given.append(len(given).to_bytes(length))
    return given[-1]
