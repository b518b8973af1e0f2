"""The operator's commands, as they are typed: beside a server that runs, on one that is stopped, and in vain."""

import asyncio
import contextlib
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inbox_server.cli import main
from inbox_server.clock import system_clock
from inbox_server.http.operator_socket import SOCKET_NAME
from inbox_server.store.sqlite.opening import DATABASE_NAME
from tests.support.requests import Caller, at, check_problem, new_key
from tests.support.serving import Deployment, client_session, deploy

NOBODY = new_key().address


@dataclass(slots=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@dataclass(slots=True)
class Operated:
    """A deployment whose server may be started and stopped, and the commands of its operator."""

    place: Deployment
    capsys: pytest.CaptureFixture[str]
    bob: Caller
    server: asyncio.subprocess.Process | None = None

    async def __call__(self, *words: str, config: Path | None = None) -> Said:
        command = [*words, "--config", str(config or self.place.folder / "config.toml")]
        code = await asyncio.to_thread(main, command)
        said = self.capsys.readouterr()
        return Said(code, said.out, said.err)

    @contextlib.asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        """Without the server meanwhile."""
        assert self.server
        self.server.terminate()
        said, _ = await self.server.communicate()
        assert self.bob.key.address not in said.decode()
        yield
        self.server = await self.place.start()

    async def deliver(self, text: str) -> Any:
        return await at(self.bob).deliver(text, recipient=self.bob.key.address)


@pytest.fixture
async def operated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Operated]:
    place = deploy(tmp_path / "inbox")
    async with client_session() as session:
        operated = Operated(place, capsys, Caller(session, place.url, new_key(), system_clock))
        operated.server = await place.start()
        try:
            assert (await operated.bob.claim({"accept": "anyone"})).status == 201
            yield operated
        finally:
            with contextlib.suppress(ProcessLookupError):
                operated.server.kill()
            await operated.server.communicate()


Meanwhile = Callable[[], AbstractAsyncContextManager[None]]
"""The server's state while commands are typed; after it, the server runs."""


async def inboxes_are_counted(operated: Operated, meanwhile: Meanwhile) -> None:
    for number in range(12):
        await operated.deliver(f"{number}")
    async with meanwhile():
        said, document = (await operated("inboxes")).out, (await operated("inboxes", "--json")).document
    assert said.startswith("1 inbox, 0 read entries remembered\n")
    assert "   10 to 99                      1             12         14 B\n" in said
    assert document["classes"][2] == {"least": 10, "inboxes": 1, "unread": 12, "bytes": 14}
    assert operated.bob.key.address not in said


async def an_inbox_is_suspended_and_resumed(operated: Operated, meanwhile: Meanwhile) -> None:
    address = operated.bob.key.address
    async with meanwhile():
        assert (await operated("suspend", address)).out == f"{address}: suspended: nobody can deliver to it\n"
        assert "was suspended already" in (await operated("suspend", operated.bob.key.public)).out
    check_problem(await operated.deliver("meanwhile"), "not_accepted")
    assert (await operated.bob.settings()).json()["notices"] == ["suspended"]
    async with meanwhile():
        document = (await operated("resume", address, "--json")).document
        assert (document["changed"], document["exists"], document["suspended"]) == (True, True, False)
        assert "was not suspended" in (await operated("resume", address)).out
    assert (await operated.deliver("meanwhile")).status == 201


async def test_an_address_without_an_inbox_is_suspended_with_a_warning(operated: Operated) -> None:
    said = await operated("suspend", NOBODY)
    assert (said.code, said.out.splitlines()[1]) == (
        0,
        "There is no inbox with this address here. Is the address right? It cannot be claimed now.",
    )


async def a_quota_is_shown_set_and_taken_back(operated: Operated, meanwhile: Meanwhile) -> None:
    address = operated.bob.key.address
    async with meanwhile():
        assert "0 of 10,000 (as all inboxes)" in (await operated("quota", address)).out
        assert "0 of 1 (its own quota)" in (await operated("quota", address, "--entries", "1")).out
        both = (await operated("quota", address, "--bytes", "4096", "--json")).document
        assert (both["most_entries"], both["most_bytes"]) == (1, 4096)
    assert (await operated.deliver("one")).status == 201
    check_problem(await operated.deliver("two"), "inbox_full")
    async with meanwhile():
        assert "1 of 10,000 (as all inboxes)" in (await operated("quota", address, "--default")).out
        said = await operated("quota", NOBODY, "--entries", "1")
        assert (said.code, said.err) == (1, "There is no inbox with this address here. Nothing was done.\n")
    assert (await operated.deliver("two")).status == 201


async def an_inbox_is_deleted_only_when_the_operator_says_so_twice(operated: Operated, meanwhile: Meanwhile) -> None:
    address = operated.bob.key.address
    await operated.deliver("unread")
    async with meanwhile():
        said = await operated("forget", address)
        assert (said.code, said.err) == (
            1,
            f"Nothing was deleted. The inbox of {address} has 1 unread entry: to delete it, add --yes.\n",
        )
        said = await operated("forget", address, "--yes")
        assert (said.code, said.out.splitlines()[0]) == (0, f"deleted the inbox of {address}, with 1 unread entry")
        assert (await operated("forget", address, "--yes")).code == 1
    check_problem(await operated.bob.unread(), "no_inbox")
    assert (await operated.bob.claim()).status == 201


async def invites_are_listed_and_revoked(operated: Operated, meanwhile: Meanwhile) -> None:
    async with meanwhile():
        assert "There is no unused code" in (await operated("invite", "list")).out
        codes = (await operated("invite", "new", "--count", "3", "--json")).document["codes"]
        invites = (await operated("invite", "list", "--json")).document["invites"]
        assert len({invite["handle"] for invite in invites}) == 3
        assert (await operated("invite", "list")).out.startswith(f"{invites[0]['handle']}  until 20")
        assert (await operated("invite", "revoke", invites[0]["handle"])).out.startswith("revoked")
        again = await operated("invite", "revoke", invites[0]["handle"])
        assert (again.code, "no such unused code" in again.err) == (1, True)
        revoked = [(await operated("invite", "revoke", code, "--json")).document["revoked"] for code in codes]
        assert sorted(revoked) == [False, True, True]


async def a_server_is_drained_and_takes_deliveries_again(operated: Operated, meanwhile: Meanwhile) -> None:
    await operated.deliver("before")
    async with meanwhile():
        said = (await operated("drain")).out
        assert "Still here: " in said
        assert "as before" in (await operated("drain")).out
    check_problem(await operated.deliver("after"), "draining")
    assert await operated.bob.texts() == ["before"]
    async with meanwhile():
        assert "draining: no delivery" in (await operated("inboxes")).out
        assert (await operated("drain", "--end", "--json")).document["changed"]
        assert (await operated("drain", "--end")).out == "it was not draining\n"
    assert (await operated.deliver("after")).status == 201


async def room_is_given_back_and_what_is_unread_stays(operated: Operated, meanwhile: Meanwhile) -> None:
    texts = [f"text {number}" for number in range(800)]
    await asyncio.gather(*map(operated.deliver, texts))
    listed = (await operated.bob.unread(limit=1000)).json()["messages"]
    await operated.bob.acknowledge(*(entry["id"] for entry in listed[:790]))
    async with meanwhile():
        assert (await operated("vacuum", "--json")).document["freed_bytes"] > 800 // 4 * 4096 // 2
        assert (await operated("vacuum")).out.startswith("gave 0 B back; the database has ")
    assert sorted(await operated.bob.texts()) == sorted(entry["message_id"] for entry in listed[790:])


STEPS = (
    inboxes_are_counted,
    an_inbox_is_suspended_and_resumed,
    a_quota_is_shown_set_and_taken_back,
    an_inbox_is_deleted_only_when_the_operator_says_so_twice,
    invites_are_listed_and_revoked,
    a_server_is_drained_and_takes_deliveries_again,
    room_is_given_back_and_what_is_unread_stays,
)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("state", ["running", "stopped"])
async def test_every_command_works_beside_a_server_and_without_one(operated: Operated, state: str) -> None:
    meanwhile = operated.stopped if state == "stopped" else contextlib.nullcontext
    for step in STEPS:
        await step(operated, meanwhile)
        operated.bob = at(operated.bob)
        assert (await operated.bob.claim({"accept": "anyone"})).status == 201


async def test_what_cannot_be_done_says_what_to_do(operated: Operated, tmp_path: Path) -> None:
    folder = operated.place.folder
    other = tmp_path / "other"
    shutil.copytree(folder, other, ignore=lambda _, names: {"data"} & set(names))
    said = await operated("inboxes", config=other / "config.toml")
    assert (said.code, said.err.split(". ")[0]) == (1, f"There is no database in {other / 'data'}")
    (other / "secret").write_text("11" * 32)
    (other / "data").symlink_to(folder / "data")
    said = await operated("inboxes", config=other / "config.toml")
    assert (said.code, "was started with another secret" in said.err) == (1, True)
    (folder / "data" / SOCKET_NAME).unlink()
    said = await operated("inboxes")
    assert (said.code, "Restart it" in said.err) == (1, True)
    async with operated.stopped():
        said = await operated("inboxes", config=other / "config.toml")
        assert (said.code, "Put the file with that secret back" in said.err) == (1, True)
        with contextlib.closing(sqlite3.connect(folder / "data" / DATABASE_NAME)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_whoever_opens_the_socket_without_the_secret_is_refused(operated: Operated) -> None:
    socket = operated.place.data / SOCKET_NAME
    assert socket.stat().st_mode & 0o777 == 0o600
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session:
        for headers in ({}, {"Authorization": f"Bearer {'0' * 32}"}):
            async with session.post("http://localhost/operator/drain", data=b'{"on":true}', headers=headers) as answer:
                assert (answer.status, (await answer.json())["code"]) == (401, "bad_token")
    assert (await operated.deliver("still taken")).status == 201


async def test_the_log_has_the_commands_and_not_whom_they_were_for(operated: Operated) -> None:
    address = operated.bob.key.address
    await operated("suspend", address)
    await operated("forget", address, "--yes")
    await operated("invite", "list")
    assert operated.server
    operated.server.terminate()
    said, _ = await operated.server.communicate()
    lines = [line for line in said.decode().splitlines() if "operator" in line]
    assert lines == [f"INFO operator: {command}" for command in ("suspend", "inbox", "forget", "invites")]


async def test_a_server_that_was_killed_leaves_no_socket_in_the_way(operated: Operated) -> None:
    assert operated.server
    operated.server.kill()
    await operated.server.communicate()
    assert (operated.place.data / SOCKET_NAME).is_socket()
    assert (await operated("drain")).code == 0
    operated.server = await operated.place.start()
    assert (await operated("drain", "--end", "--json")).document["changed"]
