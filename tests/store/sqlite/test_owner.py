"""A data directory that belongs to somebody else than who runs a command, as under systemd's DynamicUser."""

import asyncio
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox_server.clock import UnixTime
from inbox_server.store.sqlite.backup import back_up, restore
from inbox_server.store.sqlite.opening import DATABASE_NAME, LOCK_NAME, add_invite
from tests.support.migrating import Place, move
from tests.support.stores import CHECK_VALUE, claimed_box

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

USER = 61_184  # the first that systemd gives to a service


@pytest.fixture
def data() -> Iterator[Path]:
    """The directory of a service's user, where that user can come."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        data = Path(folder) / "data"
        data.mkdir(mode=0o700)
        os.chown(data, USER, USER)
        yield data


def owners(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_uid, path.stat().st_gid) for path in folder.iterdir()}


async def test_what_root_restores_belongs_to_the_owner_of_the_directory(tmp_path: Path, data: Path) -> None:
    async with claimed_box(tmp_path / "old") as box:
        await box.deliver("one")
        back_up(tmp_path / "old", tmp_path / "copy", check_value=CHECK_VALUE, settings_only=False)
    restore(data, tmp_path / "copy", check_value=CHECK_VALUE, random_bytes=secrets.token_bytes, now=box.clock())
    assert owners(data) == dict.fromkeys((DATABASE_NAME, LOCK_NAME), (USER, USER))


async def test_what_root_makes_for_an_invite_belongs_to_the_owner_of_the_directory(data: Path) -> None:
    await add_invite(data, b"a keyed hash....", expires=UnixTime(2_000_000_000), check_value=CHECK_VALUE)
    assert owners(data) == dict.fromkeys((DATABASE_NAME, LOCK_NAME), (USER, USER))


async def test_what_root_migrates_belongs_to_the_owner_of_the_directory(tmp_path: Path, data: Path) -> None:
    async with claimed_box(tmp_path / "old") as box:
        await box.deliver("one")
    await move(Place("sqlite", tmp_path / "old"), Place("sqlite", data / "new"))
    assert owners(data) == {"new": (USER, USER)}
    assert owners(data / "new") == dict.fromkeys((DATABASE_NAME, LOCK_NAME), (USER, USER))


@pytest.mark.parametrize("name", [LOCK_NAME, DATABASE_NAME])
def test_a_file_of_another_user_is_named_with_what_to_do(data: Path, name: str) -> None:
    asyncio.run(add_invite(data, b"a keyed hash....", expires=UnixTime(2_000_000_000), check_value=CHECK_VALUE))
    os.chown(data / name, 0, 0)
    program = (
        "import asyncio, os, pathlib\n"
        "from inbox_server.store.contract import BadDatabase\n"
        "from inbox_server.store.sqlite.opening import add_invite\n"
        f"os.setgid({USER}); os.setuid({USER})\n"
        "try:\n"
        f"    asyncio.run(add_invite(pathlib.Path({str(data)!r}), b'', expires=0, check_value={CHECK_VALUE!r}))\n"
        "except BadDatabase as error:\n"
        "    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert f"{data / name} belongs to another user (0)." in said.stdout, said.stderr
    assert f"chown --reference={data} {data / name}" in said.stdout
