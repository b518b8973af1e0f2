"""What docs/troubleshooting.md tells an operator to do, done to the end."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox_server.clock import system_clock
from inbox_server.store.sqlite.opening import DATABASE_NAME
from tests.drills.test_folders import operates, run
from tests.support.requests import Caller, at, new_key
from tests.support.serving import Deployment, client_session, deploy

PAGE_BYTES = 4096
ENTRIES = 100


@pytest.fixture
def place(tmp_path: Path) -> Deployment:
    return deploy(tmp_path / "inbox")


@pytest.fixture
async def owner(place: Deployment) -> AsyncIterator[Caller]:
    async with client_session() as session:
        yield Caller(session, place.url, new_key(), system_clock)


async def fill(place: Deployment, owner: Caller) -> None:
    async with place.running() as process:
        assert (await owner.claim({"accept": "anyone", "retention": 86_400 * 9})).status == 201
        for number in range(ENTRIES):
            text = f"{number}".ljust(1000, "x")
            assert (await at(owner).deliver(text, recipient=owner.key.address)).status == 201
        process.terminate()
        await process.wait()


async def unread(owner: Caller) -> int:
    answer = await owner.settings()
    assert answer.status == 200, answer.body
    assert answer.json()["retention"] == 86_400 * 9
    return int(answer.json()["unread"])


def clear(place: Deployment) -> None:
    for path in place.data.iterdir():
        path.rename(place.folder / f"away-{path.name}")


def config(place: Deployment) -> str:
    return str(place.folder / "config.toml")


async def test_a_damaged_database_still_gives_a_copy_of_the_settings(
    place: Deployment, owner: Caller, tmp_path: Path
) -> None:
    """For whoever has no copy: owners keep their inboxes, and what waited is lost."""
    await fill(place, owner)
    path = place.data / DATABASE_NAME
    whole = path.read_bytes()
    middle = len(whole) // PAGE_BYTES // 2 * PAGE_BYTES
    path.write_bytes(whole[:middle] + bytes(PAGE_BYTES) + whole[middle + PAGE_BYTES :])
    code, said = run("doctor", "--config", config(place))
    assert (code, "is damaged" in said, "docs/troubleshooting.md, The database is damaged" in said) == (1, True, True)
    copies = [str(tmp_path / name) for name in ("whole", "settings")]
    assert run("backup", "--config", config(place), copies[0])[0] == 1
    operates(place, "backup", "--settings-only", copies[1])
    clear(place)
    operates(place, "restore", copies[1])
    async with place.running():
        assert await unread(owner) == 0
        assert (await at(owner).deliver("new", recipient=owner.key.address)).status == 201


async def test_after_the_secret_is_lost_a_new_one_serves_a_new_database(
    place: Deployment, owner: Caller, tmp_path: Path
) -> None:
    await fill(place, owner)
    (place.folder / "secret").rename(tmp_path / "lost")
    assert run("serve", "--config", config(place))[0] == 2
    assert run("init", str(tmp_path / "new"), "--url", place.url, "--registration", "open")[0] == 0
    shutil.copy(tmp_path / "new/secret", place.folder / "secret")
    assert run("serve", "--config", config(place))[0] == 1  # the old database is refused, and left as it is
    clear(place)
    async with place.running():
        assert (await owner.settings()).json()["code"] == "no_inbox"
        assert (await owner.claim({"retention": 86_400 * 9})).status == 201
        assert await unread(owner) == 0


async def test_a_start_without_a_database_says_so(place: Deployment) -> None:
    """It may be the first start, or a disk that is not mounted."""
    said = b"", b""
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(*place.command, stdout=subprocess.PIPE)
        assert process.stdout
        said = said[1], await process.stdout.readuntil(b"listens at")
        process.terminate()
        await process.communicate()
    assert f"there is no database in {place.data} yet: the start makes an empty one\n".encode() in said[0]
    assert b"there is no database" not in said[1]
