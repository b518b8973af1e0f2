"""`inbox-server demo` and `dev`, as a newcomer runs them: real processes with a world of their own."""

import argparse
import asyncio
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.client.bucket import BucketFailed, open_bucket
from inbox_server.clock import system_clock
from tests.support.ending import end
from tests.support.patience import PATIENCE_SECONDS
from tests.support.requests import Caller, at
from tests.support.serving import client_session


@asynccontextmanager
async def _started(folder: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command with `folder` as its place for temporary files; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "inbox_server", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"TMPDIR": str(folder)},
    )
    try:
        yield process
    finally:
        await end(process)


async def _until(process: asyncio.subprocess.Process, words: str) -> str:
    """What it says up to a line with these words."""
    assert process.stdout
    said = ""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while words not in said:
            line = await process.stdout.readline()
            assert line, said
            said += line.decode()
    return said


async def _stop(process: asyncio.subprocess.Process, by: signal.Signals) -> None:
    process.send_signal(by)
    await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode == 0


async def _paste(session: aiohttp.ClientSession, command: str) -> tuple[int, str]:
    """The status of and the answer to a printed `curl` command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    for option in ("-H", "-d", "-w"):
        parser.add_argument(option)
    asked = parser.parse_args(shlex.split(command)[1:])
    headers = dict([asked.H.split(": ", 1)]) if asked.H else {}
    async with session.request("POST" if asked.d else "GET", asked.url, data=asked.d, headers=headers) as response:
        return response.status, await response.text()


def _files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_the_demo_walks_all_steps_and_shows_the_rows(tmp_path: Path) -> None:
    async with _started(tmp_path, "demo", "--once") as process:
        said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    assert [line[0] for line in said.splitlines() if re.match(r"[1-6]\. ", line)] == list("123456")
    signed, _, sealed = (
        said.partition("every row of it:")[0].rpartition("with a token (2)")[2].partition("with a ticket (6)")
    )
    assert "of Alice: the name alice.id, alice.id's app, alice.id's app key in hex" in signed
    assert "of Alice: nothing, though her name, keys and addresses were searched for" in sealed
    assert "alice.id" not in sealed
    rows = said.partition("every row of it:")[2]
    for table in ("inbox: 1 row", "message: 2 rows", "name: 1 row", "secret_check: 1 row", "listed: 0 rows"):
        assert table in rows
    assert len(re.findall(r"   slot=\d+  body=", rows)) == rows.count("   slot=") == 1  # what Bob left unread
    assert len(re.findall(r"   page=\d+  body=", rows)) == rows.count("   page=") == 1  # a ticket that Alice used
    assert (rows.count("65 of them hold nothing"), rows.count("31 of them hold nothing")) == (2, 1)
    for name in ("alice.id", "bob.id", "https://chat.example"):
        assert name in said
        assert name not in rows
    assert "none is there" in rows
    assert "signed for a delivery that its log does not have" in rows
    assert "own bucket instead: “No: at one, and bring bread.”" in rows
    assert _files_in(tmp_path) == []


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
async def test_the_demo_stays_up_for_playing_until_it_is_stopped(tmp_path: Path, by: signal.Signals) -> None:
    async with _started(tmp_path, "demo") as process, client_session() as session:
        said = await _until(process, "Ctrl-C stops it")
        url = _page_url(said)
        assert said.index(url) < said.index("name service") < said.index("stays up") < said.rindex(url)
        async with session.get(url + "world.json") as answer:
            assert [person["name"] for person in (await answer.json())["people"]] == ["alice.id", "bob.id"]
        commands = [line for line in said.splitlines() if line.startswith("curl ")]
        assert len(commands) >= 5
        answers = [await _paste(session, command) for command in commands]
        assert {status for status, _ in answers} <= {200, 201}
        assert any('"messages":[{' in body for _, body in answers)  # what Bob left unread
        await _stop(process, by)
    assert _files_in(tmp_path) == []


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
async def test_the_world_for_developers_starts_and_stops(tmp_path: Path, by: signal.Signals) -> None:
    async with _started(tmp_path, "dev", "--port", "0", "--app", "https://my.example") as process:
        said = await _until(process, "Ctrl-C stops it")
        for words in ("inbox server", "name service", "Gaia hub", "alice.id for https://my.example", "bob.id for"):
            assert words in said
        async with client_session() as session:
            assert said.startswith(f"Open {_page_url(said)} in two windows")
            async with session.get(_page_url(said)) as answer:
                assert "Who are you in this window?" in await answer.text()
            await _try(session, said)
        await _stop(process, by)
    assert _files_in(tmp_path) == []


def _page_url(said: str) -> str:
    found = re.search(r"Open (http://127\.0\.0\.1:\d+/) in two windows", said)
    assert found, said
    return found[1]


async def _try(session: aiohttp.ClientSession, said: str) -> None:
    """The keys and addresses that were printed work: Bob claims his inbox by name, and Alice writes to him."""
    (url,) = set(re.findall(r"^inbox server +(\S+)", said, re.MULTILINE))
    alice, bob = (AppKey.from_hex(key) for key in re.findall(r"app private key +([0-9a-f]{64})", said))
    assert [alice.public, bob.public] == re.findall(r"app public key +([0-9a-f]{66})", said)
    owner = Caller(session, url, bob, system_clock, "https://my.example")
    assert (await owner.claim({"names": ["bob.id"]})).status == 201
    assert (await at(owner, alice).deliver("opaque", sender="alice.id", recipient="bob.id")).status == 201
    assert await owner.texts() == ["opaque"]


async def test_the_world_for_developers_has_the_people_who_were_named(tmp_path: Path) -> None:
    names = ("--name", "carol.btc", "--name", "dan.id.blockstack", "--name", "carol.btc")
    async with _started(tmp_path, "dev", "--port", "0", *names) as process:
        said = await _until(process, "Ctrl-C stops it")
        people = re.findall(r"^(\S+) for https://chat\.example$", said, re.MULTILINE)
        assert people == ["carol.btc", "dan.id.blockstack"]
        await _stop(process, signal.SIGTERM)


async def test_a_script_is_told_everything_in_one_line_when_it_is_up(tmp_path: Path) -> None:
    asked = ("--json", "--app", "http://localhost:3000", "--name", "alice.id", "--name", "carol.btc")
    async with _started(tmp_path, "dev", "--port", "0", *asked) as process, client_session() as session:
        assert process.stdout
        told = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS))
        assert told["app"] == "http://localhost:3000"
        assert [person["name"] for person in told["people"]] == ["alice.id", "carol.btc"]
        alice, carol = (AppKey.from_hex(person["app_private_key"]) for person in told["people"])
        assert [person["app_public_key"] for person in told["people"]] == [alice.public, carol.public]

        owner = Caller(session, told["inbox_url"], carol, system_clock, told["app"])
        assert (await owner.claim({"names": ["carol.btc"]})).status == 201
        assert (await at(owner, alice).deliver("opaque", sender="alice.id", recipient="carol.btc")).status == 201

        async with session.get(told["page_url"]) as answer:
            assert answer.status == 200

        bucket = await open_bucket(session, told["hub_url"], carol, bytes(16))
        assert bucket.url == told["people"][1]["bucket_url"] == f"{told['read_url']}{carol.address}/"
        for names in (told["names_url"], told["legacy_names_url"]):
            async with session.get(f"{names}/v1/names/carol.btc") as answer:
                assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        rest, _ = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
        assert (process.returncode, rest) == (0, b"")


async def test_a_developer_can_have_a_hub_as_strict_as_a_real_one(tmp_path: Path) -> None:
    async with (
        _started(tmp_path, "dev", "--port", "0", "--strict-hub", "--json") as process,
        client_session() as session,
    ):
        assert process.stdout
        told = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS))
        bucket = await open_bucket(
            session, told["hub_url"], AppKey.from_hex(told["people"][0]["app_private_key"]), bytes(16)
        )
        with pytest.raises(BucketFailed):  # it has a whitelist
            await bucket.write("a", b"1")
        assert told["people"][0]["association_token"].count(".") == 2
        await _stop(process, signal.SIGTERM)


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    async with _started(tmp_path, "dev", "--port", "0") as process:
        said = await _until(process, "inbox server")
        port = re.search(r"inbox server +http://127\.0\.0\.1:(\d+)", said)
        assert port
        async with _started(tmp_path, "dev", "--port", port[1]) as second:
            answer = (await second.communicate())[0].decode()
        assert second.returncode == 1
        assert port[1] in answer
        assert "--port" in answer
        assert "Traceback" not in answer
