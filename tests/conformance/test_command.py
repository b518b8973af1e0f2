"""`inbox-server conformance` as people and scripts run it: exit codes, the files that it writes, and stopping it."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from inbox_server.cli import main
from inbox_server.client.appkey import AppKey
from inbox_server.client.profile_file import Profile, render_profile
from inbox_server.conformance.identities import read_names
from inbox_server.conformance.suite import chosen
from tests.conftest import APP
from tests.support.bent import Bend, Headers, answering, behind, capability_document
from tests.support.conformance import timely_world

_CASE = "deliver/a-delivery-is-listed"


async def _run(*arguments: object) -> tuple[int, str, str]:
    """The exit code, standard output and standard error."""
    command = await _started(*arguments)
    output, errors = await command.communicate()
    sys.stderr.write(errors.decode())  # shown if the test fails
    assert command.returncode is not None
    return command.returncode, output.decode(), errors.decode()


async def _started(*arguments: object) -> asyncio.subprocess.Process:
    """As a terminal starts it: with Ctrl-C, which what runs in the background of a script ignores."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "inbox_server", "conformance"),
        *map(str, arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def _no_cors_on_refusals(headers: Headers) -> None:
    if headers.get("Content-Type") == "application/problem+json":
        del headers["Access-Control-Allow-Origin"]


async def test_a_server_that_conforms_is_zero_and_reported(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("c.json", "c.xml", "c.md")]
    async with behind(tmp_path) as proxy:
        options = [word for pair in zip(("--json", "--junit", "--report"), files, strict=True) for word in pair]
        code, output, errors = await _run(proxy.url, "--only", _CASE, "--only", "names", *options)
    assert (code, errors) == (0, "")
    assert f"passed   {_CASE}: " in output
    assert re.search(r"conforms to the message inbox protocol, version 1 \(\d+ s\)\.\n$", output)
    document = json.loads(files[0].read_text())
    assert document["conforms"] is True
    assert document["counts"]["required"] == {"passed": 1, "failed": 0, "not run": len(chosen(["names"]))}
    assert {case["id"]: case["verdict"] for case in document["cases"]}[_CASE] == "passed"
    suites = ET.parse(files[1]).getroot()
    assert [(suite.get("name"), suite.get("failures")) for suite in suites] == [("deliver", "0"), ("names", "0")]
    markdown = files[2].read_text()
    assert markdown.startswith(f"# {proxy.url} conforms to the message inbox protocol, version 1\n")
    assert "| a-delivery-is-listed | passed |" in markdown
    assert "It needs 1 names of yours: give them with --names" in markdown


async def test_a_required_case_that_failed_is_one(tmp_path: Path) -> None:
    report, junit = tmp_path / "c.md", tmp_path / "c.xml"
    async with behind(tmp_path, Bend(answer=_no_cors_on_refusals)) as proxy:
        code, output, errors = await _run(proxy.url, "--only", "headers", "--report", report, "--junit", junit)
    assert (code, errors) == (1, "")
    assert "FAILED   headers/every-answer-is-for-every-origin: " in output
    assert "does **not** conform" in report.read_text()
    failures = [case.get("name") for case in ET.parse(junit).iter("testcase") if case.find("failure") is not None]
    assert failures == ["every-answer-is-for-every-origin"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give the URL of a server"),
        (["https://inbox.example/"], "give the URL of a server"),
        (["http://127.0.0.1:1"], "refuses connections"),
        (["http://127.0.0.1:1", "--only", "nonsense"], "nonsense is neither a group (tokens, deliver,"),
        (["http://127.0.0.1:1", "--names", "no-such-file"], "no-such-file: cannot be read"),
        (["http://127.0.0.1:1", "--report", "no-such-folder/c.md"], "no-such-folder/c.md: cannot be written"),
    ],
)
def test_what_cannot_run_is_two(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"people":[]}', '{"key":"00","app":"https://a.example","name":"a.id"}']
)
def test_a_file_without_names_is_two(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "names.json").write_text(content)
    assert main(["conformance", "http://127.0.0.1:1", "--names", str(tmp_path / "names.json")]) == 2
    assert str(tmp_path / "names.json") in capsys.readouterr().err


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{}", "no inbox server answers at"),
        (capability_document(version=2, origin="https://inbox.example"), "the server speaks version 2"),
        (capability_document(origin="inbox"), "which is not an origin"),
    ],
)
async def test_another_service_is_two(document: str, said: str) -> None:
    async with answering(body=document, Content_Type="application/json") as url:
        code, _, errors = await _run(url, "--only", _CASE)
    assert code == 2
    assert said in errors


def test_the_cases_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "--list", "--only", "ack"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"ack ({len(chosen(['ack']))})"
    assert lines[1].startswith("  ack/")


async def test_names_come_from_the_local_worlds_json(tmp_path: Path) -> None:
    async with timely_world(tmp_path / "data") as (world, names):
        people: list[dict[str, Any]] = [
            {"name": identity.name, "app_private_key": identity.key.secret.hex()} for identity in names
        ]
        (tmp_path / "world.json").write_text(json.dumps({"app": names[0].app, "people": people}))
        code, output, _ = await _run(world.inbox_url, "--only", "names", "--names", tmp_path / "world.json")
    assert code == 0
    assert f"required: {len(chosen(['names']))} passed, 0 failed, 0 not run" in output


def test_names_come_from_a_clients_profile(tmp_path: Path) -> None:
    profile = Profile(AppKey(b"\x01" * 32), APP, "https://hub.example", ("https://gaia.example/hub/",), name="alice.id")
    (tmp_path / "alice.json").write_bytes(render_profile(profile))
    (identity,) = read_names(tmp_path / "alice.json")
    assert (identity.name, identity.app, identity.key.public) == ("alice.id", APP, profile.key.public)


def test_names_come_from_a_file_written_by_hand_as_the_page_says(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()
    match = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert match
    (tmp_path / "alice.json").write_text(re.sub(r'"the app private key[^"]*"', f'"{"01" * 32}"', match[1]))
    (identity,) = read_names(tmp_path / "alice.json")
    assert (identity.name, identity.app) == ("alice.id", "https://conformance.example")


async def test_an_inbox_that_a_name_has_already_is_not_touched(tmp_path: Path) -> None:
    async with timely_world(tmp_path / "data") as (world, names), world.user(world.people[0]) as user:
        await user.inbox(world.inbox_url).claim({"accept": "nobody"})
        (tmp_path / "world.json").write_text(
            json.dumps(
                {
                    "app": names[0].app,
                    "people": [{"name": names[0].name, "app_private_key": names[0].key.secret.hex()}],
                }
            )
        )
        code, output, _ = await _run(
            world.inbox_url, "--only", "names/a-name-may-receive", "--names", tmp_path / "world.json"
        )
        assert (await user.inbox(world.inbox_url).settings())["accept"] == "nobody"
    assert "has an inbox at this server already, and the suite touches no inbox of anybody's" in output
    assert code == 2


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
async def test_stopping_it_midway_deletes_its_inboxes_first(tmp_path: Path, by: signal.Signals) -> None:
    async with behind(tmp_path, Bend(holds="/v1/messages/ack")) as proxy:
        command = await _started(proxy.url, "--only", "ack", "--seconds", "60")
        await proxy.held.wait()
        assert proxy.inboxes() > 0
        command.send_signal(by)
        _, errors = await command.communicate()
        assert command.returncode == 128 + by
        assert errors == b""
        assert proxy.inboxes() == 0
