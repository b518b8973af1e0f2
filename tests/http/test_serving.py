"""`inbox-server serve` as a process of its own: how it starts, stops, refuses, and what is there after a restart."""

import asyncio
import os
import resource
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inbox_server.clock import system_clock
from inbox_server.commands.serve import is_plain_and_public
from inbox_server.store.sqlite.opening import DATABASE_NAME
from tests.support.patience import PATIENCE_SECONDS
from tests.support.requests import Caller, at, check_problem, new_key
from tests.support.serving import Deployment, client_session, deploy, free_port

STOP_SECONDS = 5


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with client_session() as session:
        yield session


@pytest.fixture
def place(tmp_path: Path) -> Deployment:
    return deploy(tmp_path / "inbox")


def _owner(place: Deployment, session: aiohttp.ClientSession) -> Caller:
    return Caller(session, place.url, new_key(), system_clock)


async def _stop(process: asyncio.subprocess.Process, by: signal.Signals) -> str:
    """That it stops in time and well; what it said."""
    begun = time.monotonic()
    process.send_signal(by)
    said, _ = await asyncio.wait_for(process.communicate(), STOP_SECONDS)
    assert time.monotonic() - begun < STOP_SECONDS
    assert process.returncode == 0, said.decode()
    return said.decode()


async def _run(folder: Path, *arguments: str, **more: Any) -> tuple[int, str]:
    """A command that ends by itself: its exit code, and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "inbox_server", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        **more,
    )
    said, _ = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_an_answered_delivery_is_there_after_a_restart(
    place: Deployment, session: aiohttp.ClientSession, by: signal.Signals
) -> None:
    owner = _owner(place, session)
    async with place.running() as process:
        assert (await owner.claim({"accept": "anyone"})).status == 201
        sender = at(owner)
        texts = [f"entry {number}" for number in range(20)]
        answers = await asyncio.gather(*(sender.deliver(text, recipient=owner.key.address) for text in texts))
        assert {answer.status for answer in answers} == {201}
        if by is signal.SIGKILL:
            process.kill()
            await process.wait()
        else:
            assert "stopping" in await _stop(process, by)
            assert not (place.data / f"{DATABASE_NAME}-wal").exists()
    async with place.running() as process:
        assert sorted(await owner.texts()) == sorted(texts)
        assert (await sender.deliver(texts[0], recipient=owner.key.address)).status == 200
        await _stop(process, signal.SIGTERM)


async def test_it_stops_in_time_though_clients_are_slow_or_silent(place: Deployment) -> None:
    async with place.running() as process:
        head = b"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 100\r\n\r\n" % place.port
        streams = []
        for sent in (b"", b"GET /v1/inb", head, head + b'{"message_id":'):
            reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
            writer.write(sent)
            await writer.drain()
            streams.append((reader, writer))
        await _stop(process, signal.SIGTERM)
        for _, writer in streams:
            writer.close()


async def test_a_delivery_under_way_is_answered_before_it_stops(
    place: Deployment, session: aiohttp.ClientSession
) -> None:
    owner = _owner(place, session)
    async with place.running() as process:
        await owner.claim({"accept": "anyone"})
        sender = at(owner)
        waiting = [
            asyncio.create_task(sender.deliver(f"entry {number}", recipient=owner.key.address)) for number in range(32)
        ]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        await _stop(process, signal.SIGTERM)
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    taken = [f"entry {n}" for n, answer in enumerate(answers) if getattr(answer, "status", 0) == 201]
    assert len(taken) >= len(done)
    async with place.running():
        assert set(taken) <= set(await owner.texts())


async def test_it_says_where_it_listens_and_whose_it_is(place: Deployment) -> None:
    port = free_port()
    place = deploy(place.folder.parent / "other", server__admin_listen=f"127.0.0.1:{port}")
    async with place.running() as process, client_session() as session:
        async with session.get(f"http://127.0.0.1:{port}/ready") as response:
            assert (response.status, (await response.json())["status"]) == (200, "ready")
        said = await _stop(process, signal.SIGTERM)
    assert f"http://127.0.0.1:{port}" in said


async def _origin_at(socket: Path, place: Deployment) -> object:
    """The origin of the server there, if it is that of the deployment; another one knows no such host."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session,
        session.get(f"{place.url}/.well-known/message-inbox") as response,
    ):
        return (await response.json()).get("origin")


async def test_it_answers_at_a_unix_socket(tmp_path: Path) -> None:
    place = deploy(tmp_path / "inbox", server__listen="unix:inbox.sock")
    socket = place.folder / "inbox.sock"
    for _ in range(2):
        async with place.running() as process:
            assert await _origin_at(socket, place) == place.url
            process.kill()  # which leaves the socket behind
            await process.wait()
    async with place.running() as process:
        await _stop(process, signal.SIGTERM)
    assert not _exists(socket)


async def test_a_socket_that_another_server_listens_at_is_left_to_it(tmp_path: Path) -> None:
    first = deploy(tmp_path / "first", server__listen="unix:../inbox.sock")
    second = deploy(tmp_path / "second", server__listen="unix:../inbox.sock")
    async with first.running():
        code, said = await _run(second.folder, "serve")
        assert (code, "inbox.sock: Address already in use. Another process or file" in said) == (1, True), said
        assert await _origin_at(tmp_path / "inbox.sock", first) == first.url


async def test_a_server_removes_only_its_own_socket(tmp_path: Path) -> None:
    first = deploy(tmp_path / "first", server__listen="unix:../inbox.sock")
    second = deploy(tmp_path / "second", server__listen="unix:../inbox.sock")
    async with first.running() as process:
        (tmp_path / "inbox.sock").rename(tmp_path / "moved.sock")
        async with second.running():
            await _stop(process, signal.SIGTERM)
            assert await _origin_at(tmp_path / "inbox.sock", second) == second.url


async def test_a_file_where_the_socket_should_be_is_left_alone(tmp_path: Path) -> None:
    place = deploy(tmp_path / "inbox", server__listen="unix:notes.txt")
    (place.folder / "notes.txt").write_text("mine")
    code, said = await _run(place.folder, "serve")
    assert code == 1
    assert "notes.txt" in said
    assert "Traceback" not in said
    assert (place.folder / "notes.txt").read_text() == "mine"


def _exists(path: Path) -> bool:
    return path.exists()


async def test_a_port_that_is_taken_is_named(place: Deployment) -> None:
    other = deploy(place.folder.parent / "other", server__listen=f"127.0.0.1:{place.port}")
    async with place.running():
        code, said = await _run(other.folder, "serve")
    assert code == 1
    assert f"127.0.0.1:{place.port}: Address already in use. Another process or file" in said
    assert "Traceback" not in said


async def test_a_second_server_on_the_same_data_is_refused(place: Deployment) -> None:
    async with place.running():
        code, said = await _run(place.folder, "serve")
    assert code == 1
    assert "in use by another inbox-server" in said


async def test_a_bad_configuration_is_listed_in_full(place: Deployment) -> None:
    (place.folder / "config.toml").write_text(
        '[server]\npublic_url = "inbox"\nlisen = 1\n[limits]\ninbox_entries = 0\n[what]\n'
    )
    code, said = await _run(place.folder, "serve")
    assert code == 2
    assert [line.split(":")[:2] for line in said.splitlines()] == [
        ["config.toml", " server.lisen"],
        ["config.toml", " what"],
        ["config.toml", " server.public_url"],
        ["config.toml", " limits.inbox_entries"],
    ]


async def test_a_secret_that_others_can_read_is_refused(place: Deployment) -> None:
    (place.folder / "secret").chmod(0o644)
    code, said = await _run(place.folder, "serve")
    assert (code, "chmod 600" in said) == (2, True)
    assert not _exists(place.data)


async def test_another_secret_than_the_databases_is_refused(place: Deployment) -> None:
    async with place.running() as process:
        await _stop(process, signal.SIGTERM)
    (place.folder / "secret").write_text(secrets.token_hex(32))
    code, said = await _run(place.folder, "serve")
    assert code == 1
    assert "secret" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("content", [b"Dear diary,\n" * 1000, b"SQLite format 3\0" + bytes(5000)])
async def test_a_file_that_is_no_database_is_refused_in_one_line(place: Deployment, content: bytes) -> None:
    place.data.mkdir()
    (place.data / DATABASE_NAME).write_bytes(content)
    code, said = await _run(place.folder, "serve")
    assert code == 1
    assert len(said.splitlines()) == 1, said
    assert (place.data / DATABASE_NAME).read_bytes() == content


async def test_invites_can_be_made_beside_a_running_server(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    place = deploy(tmp_path / "inbox", registration__mode="invite")
    async with place.running() as process:
        code, said = await _run(place.folder, "invite", "new", "--count", "3")
        assert code == 0
        codes = said.split()
        assert len(set(codes)) == 3
        for each in codes:
            owner = _owner(place, session)
            assert (await owner.claim({"invite": each})).status == 201
            check_problem(await at(owner).claim({"invite": each}), "not_registered")
        await _stop(process, signal.SIGTERM)
    assert all(each.encode() not in path.read_bytes() for path in _files(place.folder) for each in codes)


async def test_invites_can_be_made_before_the_first_start(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    place = deploy(tmp_path / "inbox", registration__mode="invite")
    code, said = await _run(place.folder, "invite", "new", "--count", "100")
    assert code == 0
    codes = said.split()
    assert all(map(str.isalnum, codes))  # none begins with a hyphen, as an option does
    async with place.running():
        assert (await _owner(place, session).claim({"invite": codes[0]})).status == 201


async def test_invites_that_are_of_no_use_come_with_a_note(place: Deployment) -> None:
    code, said = await _run(place.folder, "invite", "new")
    assert code == 0
    assert 'registration.mode is "open"' in said


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_disk_that_is_full_is_said_and_nothing_that_was_answered_is_lost(
    place: Deployment, session: aiohttp.ClientSession
) -> None:
    owner = _owner(place, session)
    async with place.running() as process:
        await owner.claim({"accept": "anyone"})
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (300_000, 300_000))
        sender, taken = at(owner), []
        for number in range(1000):
            text = f"{number:04}" + "x" * 1000
            answer = await sender.deliver(text, recipient=owner.key.address)
            if answer.status != 201:
                break
            taken.append(text)
        check_problem(answer, "storage_full")
        assert taken
        process.kill()
        await process.wait()
    async with place.running():
        listed: list[str] = []
        document: dict[str, Any] = {"more": True}
        while document["more"]:
            after = {"after": document["cursor"]} if listed else {}
            document = (await owner.unread(limit=1000, **after)).json()
            listed += [entry["message_id"] for entry in document["messages"]]
        assert listed == taken


async def test_what_it_says_names_nobody(place: Deployment, session: aiohttp.ClientSession) -> None:
    owner = _owner(place, session)
    async with place.running() as process:
        await owner.claim({"accept": "anyone"})
        await at(owner).deliver("opaque", recipient=owner.key.address)
        await owner.deliver("opaque", recipient="nobody.id", bend={"aud": "https://other.example"})
        _, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(b"GET / HTTP/1.1\r\nAuthorization Bearer " + owner.owner_token("read").encode() + b"\r\n\r\n")
        await writer.drain()
        writer.close()
        said = await _stop(process, signal.SIGTERM)
    assert not [word for word in (owner.key.public, owner.key.address, "nobody.id", "eyJ", "opaque") if word in said]


async def test_a_test_whose_server_does_not_start_leaves_no_process(place: Deployment, tmp_path: Path) -> None:
    """One that ended only later gave its warnings to whichever test ran then."""
    number = tmp_path / "pid"
    with pytest.raises(AssertionError):
        await place.start("sh", "-c", f"echo $$ > {number}; exec >&- 2>&-; exec sleep 60")
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), 0)


@pytest.mark.parametrize(
    ("origin", "warns"),
    [
        ("http://inbox.example.org", True),
        ("http://8.8.8.8:8710", True),
        ("https://inbox.example.org", False),
        ("http://127.0.0.1:8710", False),
        ("http://localhost:8710", False),
        ("http://inbox.lan", False),
    ],
)
def test_plain_http_on_a_public_name_is_warned_of(origin: str, warns: bool) -> None:
    assert is_plain_and_public(origin) == warns
