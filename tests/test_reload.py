"""SIGHUP: the configuration is read again while the server runs."""

import asyncio
import signal
from pathlib import Path

from inbox_server.clock import system_clock
from tests.support.requests import Caller, at, check_problem, new_key
from tests.support.serving import Deployment, client_session, deploy


def rewrite(place: Deployment, old: str, new: str) -> None:
    path = place.folder / "config.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


async def reloaded(process: asyncio.subprocess.Process, *, until: str) -> str:
    """What the server says to a SIGHUP, up to a line with this in it."""
    process.send_signal(signal.SIGHUP)
    said = ""
    assert process.stdout
    async with asyncio.timeout(5):
        while until not in said:
            line = await process.stdout.readline()
            assert line, said
            said += line.decode()
    return said


async def test_limits_and_registration_are_reloaded_and_the_rest_is_named(tmp_path: Path) -> None:
    place = deploy(tmp_path / "inbox")
    async with place.running() as process, client_session() as session:
        owner = Caller(session, place.url, new_key(), system_clock)
        assert (await owner.claim({"accept": "anyone"})).status == 201
        rewrite(place, "inbox_entries = 10000", "inbox_entries = 1")
        rewrite(place, 'mode = "open"', 'mode = "invite"')
        rewrite(place, 'data_dir = "data"', 'data_dir = "elsewhere"')
        said = await reloaded(process, until="restart")
        assert "reloaded: registration.mode, limits.inbox_entries\n" in said
        assert "takes effect only after a restart: server.data_dir" in said
        assert (await at(owner).deliver("one", recipient=owner.key.address)).status == 201
        check_problem(await at(owner).deliver("two", recipient=owner.key.address), "inbox_full")
        other = Caller(session, place.url, new_key(), system_clock)
        check_problem(await other.claim({}), "not_registered")


async def test_names_are_reloaded(tmp_path: Path) -> None:
    place = deploy(tmp_path / "inbox")
    async with place.running() as process, client_session() as session:
        owner, sender = (Caller(session, place.url, new_key(), system_clock) for _ in range(2))
        await owner.claim({})
        check_problem(await sender.deliver("one", sender="alice.id", recipient=owner.key.address), "name_unproven")
        vouched = f'[{{ name = "bob.id", app = "https://chat.example", key = "{sender.key.public}" }}]'
        rewrite(place, "static = []", f"static = {vouched}")
        assert "reloaded: names.static" in await reloaded(process, until="reloaded")
        assert (await sender.deliver("one", sender="bob.id", recipient=owner.key.address)).status == 201


async def test_a_file_with_a_mistake_changes_nothing_and_ends_nothing(tmp_path: Path) -> None:
    place = deploy(tmp_path / "inbox")
    async with place.running() as process, client_session() as session:
        owner = Caller(session, place.url, new_key(), system_clock)
        rewrite(place, "inbox_entries = 10000", "inbox_entries = 0")
        said = await reloaded(process, until="limits.inbox_entries")
        assert "not reloaded" in said
        (place.folder / "config.toml").unlink()
        await reloaded(process, until="no such file")
        assert (await owner.claim({})).status == 201
