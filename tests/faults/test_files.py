"""Database files that are damaged, newer, somebody else's or in use: refused in one line, and no byte is changed."""

import asyncio
import contextlib
import logging
import re
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random

import aiohttp
import pytest

from inbox_server.clock import system_clock
from inbox_server.config.file import load_config
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.serving import running
from inbox_server.store.sqlite.opening import DATABASE_NAME, open_store
from tests.conftest import APP, HandClock
from tests.faults.probes import digests, listed, refused_start, said_when_stopped, until
from tests.support.requests import SECRET, Caller, at, check_problem, id_of, new_key
from tests.support.serving import Deployment, deploy
from tests.support.stores import QUOTA, Box

ENTRIES = 60  # before the server stopped, and once more after that
PAGE_BYTES = 4096
LOG_NAME = f"{DATABASE_NAME}-wal"
NEWER_VERSION = 99

Change = Callable[[Path], object]
GARBAGE = Random(4).randbytes(100 * PAGE_BYTES)


@pytest.fixture
def place(tmp_path: Path) -> Deployment:
    return deploy(tmp_path / "inbox")


@pytest.fixture
def owner(place: Deployment, session: aiohttp.ClientSession) -> Caller:
    return Caller(session, place.url, new_key(), system_clock)


async def _keep(
    place: Deployment, owner: Caller, *, killed: bool = False, change: Change = lambda path: None
) -> list[str]:
    """Write the owner's inbox into the place's files, as a server that stopped leaves them, or one that was killed,
    with half of the entries in the log alone. `change` is done to the database last, while it is open; the entries.
    """
    texts = [f"entry {number:03}".ljust(1000, "x") for number in range(2 * ENTRIES)]
    making, hashes, clock = place.folder / "making", KeyedHash(SECRET), HandClock()
    clock.now = system_clock()
    inbox = hashes.inbox(owner.key.address)
    for part in (texts[:ENTRIES], texts[ENTRIES:]):
        async with open_store(making, check_value=hashes.check_value(), quota=QUOTA) as store:
            box = Box(store, clock, inbox)
            await box.claim(app=hashes.app(inbox, APP), accept="anyone")
            await asyncio.gather(*(box.deliver(text, life=86_000) for text in part))
            if part[-1] == texts[-1]:
                change(making / DATABASE_NAME)
                if killed:
                    shutil.copytree(making, place.data)
    if not killed:
        shutil.copytree(making, place.data)
    assert (place.data / LOG_NAME).exists() == killed
    return texts


def _over(path: Path, start: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(content)


def _root_page(path: Path, name: str) -> int:
    """Where the root page of a table or index begins, in bytes."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
    return (int(page) - 1) * PAGE_BYTES


DAMAGES: dict[str, Change] = {
    "empty": lambda path: path.write_bytes(b""),
    "a page less": lambda path: path.write_bytes(path.read_bytes()[:-PAGE_BYTES]),
    "zeros in all": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "garbage in the first page": lambda path: _over(path, 100, GARBAGE[: PAGE_BYTES - 100]),
    "garbage in the secret's check": lambda path: _over(path, _root_page(path, "secret_check"), GARBAGE[:PAGE_BYTES]),
}


@pytest.mark.parametrize("name", DAMAGES)
async def test_a_damaged_file_is_refused_and_not_changed(place: Deployment, owner: Caller, name: str) -> None:
    await _keep(place, owner)
    DAMAGES[name](place.data / DATABASE_NAME)
    await _check_refused(place, str(place.data / DATABASE_NAME))


BESIDE_A_LOG: dict[str, Change] = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(GARBAGE),
}


@pytest.mark.parametrize("name", BESIDE_A_LOG)
async def test_a_log_whose_file_is_lost_is_not_thrown_away(place: Deployment, owner: Caller, name: str) -> None:
    """It may hold the last of what was answered."""
    await _keep(place, owner, killed=True)
    BESIDE_A_LOG[name](place.data / DATABASE_NAME)
    await _check_refused(place, str(place.data / DATABASE_NAME))


async def test_the_refusal_of_a_damaged_file_says_what_to_do(place: Deployment, owner: Caller) -> None:
    await _keep(place, owner)
    DAMAGES["a page less"](place.data / DATABASE_NAME)
    assert re.search("backup|copy|restore", await _check_refused(place, DATABASE_NAME))


def _make_newer(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version={NEWER_VERSION}")


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
async def test_a_newer_versions_file_is_refused_and_not_changed(place: Deployment, owner: Caller, killed: bool) -> None:
    await _keep(place, owner, killed=killed, change=_make_newer)
    assert str(place.data / DATABASE_NAME) in await _check_refused(place, "newer version")


async def test_a_file_of_another_secret_and_its_log_are_refused_and_not_changed(
    place: Deployment, owner: Caller
) -> None:
    await _keep(place, owner, killed=True)
    (place.folder / "secret").write_text("42" * 32)
    await _check_refused(place, "secret")


async def test_a_second_server_changes_nothing_and_the_first_goes_on(place: Deployment, owner: Caller) -> None:
    read, *texts = await _keep(place, owner)
    other = deploy(place.folder.parent / "other", server__data_dir=str(place.data))

    async def log_is_copied() -> bool:
        return (place.data / LOG_NAME).stat().st_size == 0

    async with place.running() as process:
        await owner.acknowledge(id_of(read))
        await until(log_is_copied, within_seconds=5)  # from now on the first one has nothing to write
        await _check_refused(other, "in use by another inbox-server", data=place.data)
        assert (await at(owner).deliver("one more", recipient=owner.key.address)).status == 201
        assert await listed(owner) == [*texts, "one more"]
        assert await said_when_stopped(process) == ["stopping"]


async def _check_refused(place: Deployment, reason: str, *, data: Path | None = None) -> str:
    """That it is refused in one line, for this reason, and that no file in `data` is changed; the line."""
    before = digests(data or place.data)
    code, said = await refused_start(place)
    assert code == 1
    assert reason in said
    assert len(said.splitlines()) == 1, said
    assert digests(data or place.data) == before
    return said


# What SQLite does not see when it opens the file. These servers run in this process, because they all start.


@contextlib.asynccontextmanager
async def _running(place: Deployment) -> AsyncIterator[None]:
    async with running(load_config(place.folder / "config.toml"), SECRET):
        yield


async def test_a_log_of_garbage_beside_a_whole_file_is_ignored(place: Deployment, owner: Caller) -> None:
    texts = await _keep(place, owner)
    (place.data / LOG_NAME).write_bytes(GARBAGE)
    for _ in range(2):
        async with _running(place):
            assert await listed(owner) == texts
            texts.append(f"one more, {len(texts)}")
            assert (await at(owner).deliver(texts[-1], recipient=owner.key.address)).status == 201


async def test_an_index_of_garbage_does_not_keep_a_log_from_being_read(place: Deployment, owner: Caller) -> None:
    texts = await _keep(place, owner, killed=True)
    (place.data / f"{DATABASE_NAME}-shm").write_bytes(GARBAGE)
    async with _running(place):
        assert await listed(owner) == texts


def _damage_page(place: Deployment, name: str, content: bytes) -> None:
    """Write over the root page of a table or an index."""
    path = place.data / DATABASE_NAME
    _over(path, _root_page(path, name), content)


@pytest.mark.parametrize("content", [GARBAGE[:PAGE_BYTES], bytes(PAGE_BYTES)], ids=["garbage", "zeros"])
@pytest.mark.parametrize("name", ["inbox", "message", "text"])
async def test_who_meets_a_damaged_page_is_refused_and_never_told_that_there_is_nothing(
    place: Deployment, owner: Caller, name: str, content: bytes
) -> None:
    await _keep(place, owner)
    _damage_page(place, name, content)
    async with _running(place):
        check_problem(await owner.unread(), "storage_full")
        check_problem(await at(owner).deliver("one more", recipient=owner.key.address), "storage_full")


async def test_who_meets_a_damaged_page_does_not_take_others_with_it(place: Deployment, owner: Caller) -> None:
    await _keep(place, owner)
    _damage_page(place, "message", GARBAGE[:PAGE_BYTES])
    async with _running(place):
        for _ in range(5):  # reads that wait together are done together
            listings, settings = await asyncio.gather(
                asyncio.gather(*(owner.unread() for _ in range(5))),
                asyncio.gather(*(owner.settings() for _ in range(20))),
            )
            assert {answer.status for answer in listings} == {507}
            assert {answer.status for answer in settings} == {200}


@pytest.mark.parametrize("name", ["message", "message_by_forget_at"], ids=["listing", "sweeping"])
async def test_a_damaged_page_is_told_to_the_operator(
    place: Deployment, owner: Caller, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    await _keep(place, owner)
    _damage_page(place, name, GARBAGE[:PAGE_BYTES])
    async with _running(place):
        await owner.unread()

        async def is_told() -> bool:
            return any(record.levelno == logging.ERROR for record in caplog.records)

        await until(is_told, within_seconds=2)


@pytest.mark.parametrize(
    "content", [bytes(1000), b"\xff" * 1000, b"y" * 1000], ids=["never written", "not a text", "another text"]
)
async def test_a_text_that_a_disk_lost_hides_no_other_and_can_be_acknowledged(
    place: Deployment, owner: Caller, content: bytes
) -> None:
    """Its owner sees that something came: the id is not that of the text, which a disk that loses writes left blank."""
    texts = await _keep(place, owner)
    path = place.data / DATABASE_NAME
    file = path.read_bytes()
    assert file.count(texts[7].encode()) == 1
    path.write_bytes(file.replace(texts[7].encode(), content))
    async with _running(place):
        messages = (await owner.unread(limit=1000)).json()["messages"]
        assert [entry["message_id"] for entry in messages if entry["id"] != id_of(texts[7])] == texts[:7] + texts[8:]
        assert [entry["id"] for entry in messages] == [id_of(text) for text in texts]
        assert (await owner.acknowledge(id_of(texts[7]))).status == 204
        messages = (await owner.unread(limit=1000)).json()["messages"]
        assert [entry["message_id"] for entry in messages] == texts[:7] + texts[8:]
