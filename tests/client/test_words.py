"""What the client's commands say to people: hints that can be pasted, settings in words, files, and a pipe's end."""

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox_server.commands.settings_text import settings_text, span
from tests.client.test_command_line import Cli, Dev, alice, bob, dev, made

__all__ = ["alice", "bob", "dev"]  # fixtures

PAGE_OF_LINES = 3000


@pytest.fixture
def carol(dev: Dev, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """By a key alone, with nothing published, in a folder that a shell would split."""
    folder = tmp_path / "my files"
    folder.mkdir()
    carol = made(dev, folder, capsys, None)
    yield carol
    carol("forget", "--yes")


def test_the_hint_after_keygen_can_be_pasted(dev: Dev, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli = Cli(tmp_path / "my profile.json", capsys)
    said = cli.say("keygen", "--app", "https://chat.example", "--hub", dev.hub)[1]
    assert said.endswith(f"next: inbox-server client publish --profile '{cli.profile}' --inbox URL\n")


def test_claimed_is_said_of_what_is_new_only(dev: Dev, carol: Cli) -> None:
    assert f"{dev.inbox}: claimed\n" in carol.say("publish", "--inbox", dev.inbox)[1]
    code, said = carol.say("publish", "--accept", "anyone")
    assert code == 0
    assert f"{dev.inbox}: already claimed; the settings are as requested\n" in said
    assert [told["code"] for told in carol("publish")[1] if "code" in told] == [""]


def test_what_waits_is_told_without_empty_codes_and_with_its_pause(dev: Dev, alice: Cli, bob: Cli) -> None:
    profile = json.loads(bob.profile.read_text())
    bob.profile.write_text(json.dumps(profile | {"inboxes": [dev.inbox, dev.names]}))  # which is no inbox server
    bob("publish")
    said = alice.say("send", "bob.id", "hello")[1]
    assert (
        f"{dev.names}: not now, will be repeated later: {dev.names} answered 404, and not as an inbox server does."
        in said
    )
    outbox = alice.profile.with_name("alice.id.outbox.json")
    kept = json.loads(outbox.read_text())
    kept["deliveries"][0]["places"][dev.names]["not_before"] = int(time.time()) + 3600
    outbox.write_text(json.dumps(kept))
    assert re.search(
        r"1 still in the outbox; a server asks for a pause, of \S+ \w+ from now", alice.say("send", "--retry")[1]
    )
    outbox.unlink()
    bob.profile.write_text(json.dumps(profile))
    bob("publish")
    bob("ack", "--all")


def test_a_page_of_a_proxy_during_a_move_is_not_called_a_refusal(dev: Dev, carol: Cli) -> None:
    carol("publish", "--inbox", dev.inbox, "--accept", "anyone")
    profile = json.loads(carol.profile.read_text())
    carol.profile.write_text(json.dumps(profile | {"inboxes": [dev.names]}))  # which is no inbox server
    said = carol.say("move", "--to", dev.inbox)[1]
    assert f"not now, repeat the command: {dev.names} answered 404" in said
    carol.profile.write_text(json.dumps(profile))


def test_settings_are_told_in_words_and_units(dev: Dev, bob: Cli) -> None:
    assert bob("publish", "--retention", "90000", "--accept", "anyone")[0] == 0
    code, said = bob.say("inbox", "--settings")
    assert code == 0
    assert said.splitlines()[:4] == [
        dev.inbox,
        "   unread           0 of 10,000 entries, 0 B of 8.4 MB",
        "   kept unread for  25 hours",
        "   accepts from     anyone, even a bare key",
    ]
    assert not set("{}[]'") & set(said)


def test_settings_of_a_server_that_shows_less_or_other_things_are_told_too() -> None:
    said = settings_text(
        "https://a.example", {"accept": "friends\nx", "quota": 3, "notices": ["suspended", "push_gone", "new"]}
    )
    assert "? of ? entries" in said
    assert "friends\n   | x" in said
    assert "! the operator lets nothing in: ask there; you can still read, and move to another server\n" in said
    assert "! a browser's push subscription has ended: subscribe it again\n   ! new" in said


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(2_592_000, "30 days"), (86_400, "1 day"), (90_000, "25 hours"), (61, "61 seconds"), (0, "0 seconds"), ("x", "?")],
)
def test_a_span_of_time_has_the_unit_that_fits(seconds: object, words: str) -> None:
    assert span(seconds) == words


def test_what_send_file_sent_read_save_brings_back(alice: Cli, bob: Cli, tmp_path: Path) -> None:
    picture, back = tmp_path / "picture", tmp_path / "back"
    picture.write_bytes(bytes(range(256)) * 40)
    assert alice("send", "bob.id", "--file", str(picture))[0] == 0
    id = bob("inbox")[1][0]["ids"][0]
    said = bob.say("read")[1]
    assert f"read --profile {bob.profile} --save FILE {id[:12]})" in said
    back.write_text("mine")
    code, said = bob.say("read", id, "--save", str(back), "--ack")
    assert (code, back.read_text()) == (2, "mine")
    assert f"{back} already exists" in said
    assert bob.say("read", id, "--save", str(tmp_path / "no" / "folder"), "--ack")[0] == 2
    back.unlink()
    assert bob.say("read", id, "--save", str(back), "--ack") == (0, f"alice.id: saved as {back}\n")
    assert back.read_bytes() == picture.read_bytes()
    assert bob.say("inbox") == (0, "nothing is unread\n")


def test_a_message_that_has_no_room_leaves_no_half_file(alice: Cli, bob: Cli, tmp_path: Path) -> None:
    alice.say("send", "bob.id", "x" * 20_000)
    back = tmp_path / "back"
    read = shlex.join([sys.executable, "-m", "inbox_server", "client", "read", "--profile", str(bob.profile)])
    limited = ["bash", "-c", f"ulimit -f 8; exec {read} --save {shlex.quote(str(back))}"]  # 8 KB a file
    ended = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert (ended.returncode, back.exists()) == (2, False), ended.stderr
    assert "cannot be written: File too large; the message stays unread" in ended.stderr
    assert bob.say("read", "--save", str(back), "--ack")[0] == 0


def test_one_message_is_saved_at_a_time(alice: Cli, bob: Cli, tmp_path: Path) -> None:
    for text in ("ä", "b"):
        assert alice("send", "bob.id", text)[0] == 0
    code, said = bob.say("read", "--save", str(tmp_path / "x"))
    assert code == 2
    assert "--save takes one message" in said
    assert bob("read", bob("inbox")[1][0]["ids"][0], "--save", str(tmp_path / "x"))[0] == 0
    assert (tmp_path / "x").read_text() == "ä"
    assert bob("read", "--ack")[0] == 0


def test_a_reader_that_has_seen_enough_ends_the_command_quietly(alice: Cli, bob: Cli) -> None:
    for text in ("one\n" * PAGE_OF_LINES * 8, "two\n" * PAGE_OF_LINES * 8):  # more than a pipe holds
        assert alice("send", "bob.id", text)[0] == 0
    command = [sys.executable, "-m", "inbox_server", "client", "read", "--ack", "--profile", str(bob.profile)]
    with subprocess.Popen(command, stdout=-1, stderr=-1) as reader:
        assert reader.stdout
        assert reader.stderr
        assert reader.stdout.readline() == b"alice.id: one\n"
        reader.stdout.close()
        assert reader.stderr.read() == b""
    assert reader.returncode == 141
    assert len(bob("inbox")[1]) == 2  # what nobody saw stays unread
    assert bob("read", "--ack")[0] == 0
