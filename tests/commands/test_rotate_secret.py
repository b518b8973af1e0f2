"""`inbox-server rotate-secret`: the new secret is in the file, and the next start puts everything under it."""

import asyncio
import json
import stat
from pathlib import Path

import pytest

from inbox_server.cli import main
from inbox_server.clock import system_clock
from inbox_server.config.secret import BadSecret, add_secret, read_secret
from inbox_server.identity.layer import NO_LAYER
from inbox_server.store.sqlite.opening import add_invite
from tests.support.requests import Caller, new_key
from tests.support.serving import Deployment, client_session, deploy
from tests.support.stores import read_rows


def rotate(place: Deployment, *more: str) -> int:
    return main(["rotate-secret", "--config", str(place.folder / "config.toml"), *more])


def lines(place: Deployment) -> list[str]:
    return (place.folder / "secret").read_text().splitlines()


async def test_owners_and_senders_notice_nothing_of_a_rotation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = deploy(tmp_path)
    (first,) = lines(place)
    bob, alice = new_key(), new_key()
    async with client_session() as session:
        owner = Caller(session, place.url, bob, system_clock)
        sender = Caller(session, place.url, alice, system_clock)
        async with place.running():
            assert (await owner.claim({"accept": "contacts", "contacts": [alice.address]})).status == 201
            assert (await sender.deliver("before", recipient=bob.public)).status == 201
            assert rotate(place, "--json") == 0
            said = json.loads(capsys.readouterr().out)
            assert said == {"secret_file": str(tmp_path / "secret"), "inboxes": 1, "entries": 1, "seconds": 1}
            second, last = lines(place)
            assert (last, len(second)) == (first, 64)
            assert (await sender.deliver("meanwhile", recipient=bob.public)).status == 201
            old = read_rows(place.data, "SELECT inbox FROM inbox")
        async with place.running():
            assert read_rows(place.data, "SELECT inbox FROM inbox") != old
            assert (await sender.deliver("meanwhile", recipient=bob.public)).status == 200
            assert (await sender.deliver("after", recipient=bob.public)).status == 201
            assert await owner.texts() == ["before", "meanwhile", "after"]


def made(tmp_path: Path) -> Deployment:
    """A deployment with an empty database under the secret that `init` wrote."""
    place = deploy(tmp_path)
    check_value = read_secret(tmp_path / "secret").hashes().check_value()
    asyncio.run(add_invite(place.data, bytes(16), expires=system_clock(), check_value=check_value))
    return place


def test_a_second_rotation_waits_for_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = made(tmp_path)
    assert rotate(place) == 0
    assert "Keep a copy of the file somewhere else" in capsys.readouterr().out
    before = lines(place)
    assert rotate(place) == 1
    assert "Nothing was written. Restart the server first." in capsys.readouterr().err
    assert lines(place) == before


def test_no_secret_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = made(tmp_path)
    rotate(place)
    rotate(place)
    said = capsys.readouterr()
    assert not any(line in said.out + said.err for line in lines(place))


def test_the_file_keeps_its_mode_and_its_place_behind_a_link(tmp_path: Path) -> None:
    place = made(tmp_path)
    (tmp_path / "secret").rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").chmod(0o400)
    (tmp_path / "secret").symlink_to("elsewhere")
    assert rotate(place) == 0
    assert stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode) == 0o400
    assert (tmp_path / "secret").is_symlink()
    assert len(lines(place)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.toml", "data", "elsewhere", "secret"]


def test_what_a_killed_rotation_left_beside_the_file_is_in_nobodys_way(tmp_path: Path) -> None:
    place = made(tmp_path)
    (tmp_path / "secret.new").write_text("half a li")
    assert rotate(place) == 0
    assert len(read_secret(tmp_path / "secret").layers) == 2
    assert not (tmp_path / "secret.new").exists()


@pytest.mark.parametrize("wrong", ["no database", "another secret"])
def test_without_a_database_of_this_secret_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    place = deploy(tmp_path) if wrong == "no database" else made(tmp_path)
    if wrong == "another secret":
        (tmp_path / "secret").write_text("22" * 32)
    before = lines(place)
    assert rotate(place) == 1
    assert {"no database": "There is no file", "another secret": "The secret is not the one"}[
        wrong
    ] in capsys.readouterr().err
    assert lines(place) == before


def test_inside_the_service_the_secret_is_a_copy_that_cannot_be_rotated(tmp_path: Path) -> None:
    deploy(tmp_path)
    (tmp_path / "inbox-secret").write_text("11" * 32)
    with pytest.raises(BadSecret, match="run this outside the service"):
        add_secret(tmp_path / "secret", bytes(32), {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_secret_with_a_line_twice_is_refused(tmp_path: Path) -> None:
    deploy(tmp_path)
    add_secret(tmp_path / "secret", bytes(32), {})
    assert len(read_secret(tmp_path / "secret", {}).layers) == 2
    assert read_secret(tmp_path / "secret", {}).layers[-1] is NO_LAYER
    add_secret(tmp_path / "secret", bytes(32), {})
    with pytest.raises(BadSecret, match="the same line twice"):
        read_secret(tmp_path / "secret", {})
