"""`inbox-server migrate-store` as an operator runs it: clients go on with their cursors, and a kill is no harm."""

import asyncio
import itertools
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.filling import fill
from benchmarks.signing import people
from inbox_server.clock import system_clock
from tests.support import postgres
from tests.support.requests import SECRET, Caller, id_of, new_key
from tests.support.serving import Deployment, client_session, deploy

KILLS = 20
INBOXES, ENTRIES = 100, 150
FIRST_SECONDS = 4.0
"""Of a migration: longer than it takes on a quiet machine."""


def configure(place: Deployment, **values: str) -> None:
    """Change the configuration."""
    text = (place.folder / "config.toml").read_text()
    for key, value in values.items():
        text, count = re.subn(rf"^{key} = .*$", f"{key} = {json.dumps(value)}", text, flags=re.MULTILINE)
        assert count == 1
    (place.folder / "config.toml").write_text(text)


async def command(place: Deployment, name: str, *more: str, code: int = 0) -> str:
    """What it says."""
    arguments = sys.executable, "-m", "inbox_server", name, "--config", str(place.folder / "config.toml"), *more
    process = await asyncio.create_subprocess_exec(*arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said, _ = await process.communicate()
    assert process.returncode == code, said.decode()
    return said.decode()


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--to", "sqlite:"], "--from and --to are the same database"),
        (["--to", "postgresql://inbox:a-password@127.0.0.1/inbox"], "--to-password-file names a password's file"),
        (["--to", "postgresql://inbox@db.example/inbox"], "must say how the connection to another host is secured"),
        (["--to", "somewhere"], "(here sqlite:DIRECTORY is SQLite"),
        (["--to", "sqlite:again", "--reopen"], "not allowed with argument --to"),
    ],
)
async def test_a_store_that_cannot_be_used_is_a_usage_error(tmp_path: Path, more: list[str], why: str) -> None:
    said = await command(deploy(tmp_path / "place"), "migrate-store", *more, code=2)
    assert why in said
    assert "a-password" not in said


async def test_with_several_clusters_the_one_with_all_shards_must_be_named(tmp_path: Path) -> None:
    urls = ["postgresql://inbox@127.0.0.1:1/one", "postgresql://inbox@127.0.0.1:1/two"]
    place = deploy(tmp_path / "place", store__urls=urls)
    assert "bring all shards into the first" in await command(place, "migrate-store", "--to", "sqlite:", code=2)
    said = await command(place, "migrate-store", "--from", urls[0], "--to", "sqlite:", code=1)
    assert "cannot be reached: Connection refused" in said


@pytest.mark.postgres
@pytest.mark.timeout(180)
async def test_clients_go_on_with_their_cursors_on_postgresql_and_back(tmp_path: Path) -> None:
    place = deploy(tmp_path / "place")
    to_postgres = postgres.config_of(tmp_path / "postgres")
    bob, alice = new_key(), new_key()
    async with client_session() as session:
        owner = Caller(session, place.url, bob, system_clock)
        sender = Caller(session, place.url, alice, system_clock)

        async def deliver(text: str) -> int:
            return (await sender.deliver(text, recipient=bob.public)).status

        async with place.running():
            assert (await owner.claim({"accept": "contacts", "contacts": [alice.address]})).status == 201
            assert [await deliver(text) for text in ("one", "two", 'th"ree')] == [201] * 3
            cursor = (await owner.unread()).json()["cursor"]
            await owner.acknowledge(id_of("one"))
            log = (await owner.log(nonce="A" * 22)).json()["head"]
            await command(place, "drain")
            assert (await sender.deliver("late", recipient=bob.public)).status == 503
            assert "Stop that one first" in await command(place, "migrate-store", "--to", to_postgres["url"], code=1)
        password = ("--to-password-file", to_postgres["password_file"])
        said = await command(place, "migrate-store", "--to", to_postgres["url"], *password)
        assert "copied 1 inbox with 2 unread from" in said
        assert "inbox-server drain --end" in said
        assert "was copied to another database" in await command(place, "serve", code=1)
        configure(place, **to_postgres)
        assert "are taken again" in await command(place, "drain", "--end")
        async with place.running():
            assert (await owner.log(nonce="A" * 22)).json()["head"] == log
            changes = (await owner.unread(after=cursor)).json()
            assert (changes["messages"], changes["read"]) == ([], [id_of("one")])
            assert [await deliver(text) for text in ("four", "two")] == [201, 200]
            changes = (await owner.unread(after=changes["cursor"])).json()
            assert [entry["message_id"] for entry in changes["messages"]] == ["four"]
            await owner.acknowledge(id_of("two"))
            back = ("--to", f"sqlite:{tmp_path / 'again'}")
            assert "Stop all of them first" in await command(place, "migrate-store", *back, code=1)
        assert "is not empty" in await command(place, "migrate-store", "--to", f"sqlite:{place.data}", code=1)
        said = await command(place, "migrate-store", *back, "--json")
        counts = json.loads(said)
        assert (counts["inboxes"], counts["unread"], counts["read"]) == (1, 2, 2)
        configure(place, url="", password_file="", data_dir=str(tmp_path / "again"))
        async with place.running():
            changes = (await owner.unread(after=changes["cursor"])).json()
            assert (changes["messages"], changes["read"]) == ([], [id_of("two")])
            assert await deliver("five") == 201
            assert await owner.texts() == ['th"ree', "four", "five"]


@pytest.mark.postgres
async def test_a_server_is_not_empty_all_at_once_because_it_was_not_moved_yet(tmp_path: Path) -> None:
    """Senders would be told for good that there is no such inbox."""
    place = deploy(tmp_path / "place")
    store = postgres.config_of(tmp_path / "postgres")
    async with place.running():
        pass
    configure(place, **store)
    async with place.running():  # where there are no inboxes, none is missed
        pass
    await asyncio.to_thread(fill, place.data, SECRET, people(1), entries=1)
    for name in ("serve", "inboxes"):
        said = await command(place, name, code=1)
        assert "inbox.sqlite3 has inboxes, and the PostgreSQL database has none" in said
    said = await command(place, "doctor", code=1)
    assert "FAILED   database: " in said
    assert "inbox.sqlite3 has inboxes" in said
    assert "unless --from names another one" in await command(place, "migrate-store", "--to", store["url"], code=2)
    await command(place, "migrate-store", "--from", "sqlite:", "--to", store["url"])
    async with place.running():
        assert "1 inbox," in await command(place, "inboxes")


@pytest.mark.postgres
async def test_a_rotation_of_the_secret_is_not_left_behind(tmp_path: Path) -> None:
    """Only SQLite can finish it."""
    place = deploy(tmp_path / "place")
    store = postgres.config_of(tmp_path / "postgres")
    to_postgres = ("migrate-store", "--to", store["url"], "--to-password-file", store["password_file"])
    async with place.running():
        pass
    await command(place, "rotate-secret")
    assert "Start the server once" in await command(place, *to_postgres, code=1)
    async with place.running():
        pass
    assert "hold the same" in await command(place, *to_postgres)


@pytest.mark.postgres
async def test_day_keys_are_to_be_deleted_only_where_no_texts_are_sealed_any_more(tmp_path: Path) -> None:
    place = deploy(tmp_path / "place")
    async with place.running():
        pass
    stores = [postgres.config_of(tmp_path / name) for name in ("first", "second")]
    password = ("--to-password-file", stores[0]["password_file"], "--from-password-file", stores[0]["password_file"])
    ends = [f"sqlite:{place.data}", *(store["url"] for store in stores), f"sqlite:{tmp_path / 'again'}"]
    delete = f"Delete it, and {place.data / 'day-keys'} on every host, once"
    said = [
        await command(place, "migrate-store", "--from", source, "--to", target, *password)
        for source, target in itertools.pairwise(ends)
    ]
    assert [delete in each for each in said] == [False, False, True]
    assert ["Every host needs a copy of" in each for each in said] == [True, True, False]


@pytest.mark.postgres
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_the_day_keys_that_root_makes_belong_to_the_owner_of_their_directory(tmp_path: Path) -> None:
    place = deploy(tmp_path / "place")
    store = postgres.config_of(tmp_path / "postgres")
    async with place.running():
        pass
    os.chown(place.data, 61_184, 61_184)
    await command(place, "migrate-store", "--to", store["url"], "--to-password-file", store["password_file"])
    assert (place.data / "day-keys").stat().st_uid == 61_184


def killed(place: Deployment, seconds: float, *more: str) -> tuple[bool, str]:
    """Whether a migration was killed after so many seconds, because it was not finished; and what it said."""
    arguments = sys.executable, "-m", "inbox_server", "migrate-store", "--config", str(place.folder / "config.toml")
    with subprocess.Popen([*arguments, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return True, process.communicate()[0]
    assert process.returncode == 0, said
    return False, said


@pytest.mark.postgres
@pytest.mark.timeout(600)
def test_migrations_that_are_killed_twenty_times_are_whole(tmp_path: Path) -> None:
    """Wherever it is: before it begins, while it copies or compares, at its end; there, on, and back."""
    place = deploy(tmp_path / "place")
    fill(place.data, SECRET, people(INBOXES), entries=ENTRIES)
    file = postgres.config_of(tmp_path / "any")["password_file"]
    passwords = ("--from-password-file", file, "--to-password-file", file)

    def store(number: int) -> str:
        """SQLite, PostgreSQL, PostgreSQL, and so on: all are new but the first."""
        folder = tmp_path / f"place {number}"
        if number % 3:
            return postgres.config_of(folder)["url"]
        return f"sqlite:{folder}" if number else f"sqlite:{place.data}"

    chance, kills, digests, went_on = random.Random(15), 0, set[str](), 0
    for leg in itertools.count():
        ends = ("--from", store(leg), "--to", store(leg + 1))
        seconds, is_killed = FIRST_SECONDS, True
        while is_killed:
            is_killed, said = killed(place, chance.uniform(0, seconds), *ends, *passwords)
            kills += is_killed
            went_on += "are there already" in said
            seconds *= 1.2
        digests |= set(re.findall("SHA-256 ([0-9a-f]{64})", said))
        is_told = f"copied {INBOXES} inboxes with {INBOXES * ENTRIES} unread from" in said
        assert is_told or "Nothing was done now" in said  # killed after the last commit
        if kills >= KILLS:
            break
    assert len(digests) == 1
    assert went_on
