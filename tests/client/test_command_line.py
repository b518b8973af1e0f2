"""The client's commands as people and scripts run them, against `inbox-server dev`."""

import contextlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from inbox_server.cli import main
from inbox_server.client.appkey import AppKey
from inbox_server.commands.client_command import default_profile
from inbox_server.commands.terminal import printable
from tests.conftest import APP
from tests.support.serving import free_port

COMMANDS = (
    "keygen",
    "publish",
    "send",
    "inbox",
    "read",
    "ack",
    "watch",
    "audit",
    "verify-receipt",
    "push",
    "move",
    "forget",
)


@dataclass(frozen=True, slots=True)
class Dev:
    """`inbox-server dev`, the app keys that it printed, and the files of its people's association tokens."""

    inbox: str
    names: str
    hub: str
    alice: str
    bob: str
    tokens: tuple[str, ...]


@contextlib.contextmanager
def running_dev(*options: str) -> Iterator[Dev]:
    command = [sys.executable, "-m", "inbox_server", "dev", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        said = ""
        while "Ctrl-C" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        inbox, names, hub = re.findall(r"^(?:inbox server|name service|Gaia hub) +(http://[\d.:]+)", said, re.MULTILINE)
        alice, bob = re.findall(r"app private key +([0-9a-f]{64})", said)
        tokens = tuple(re.findall(r"^ +association +(\S+)", said, re.MULTILINE))
        try:
            yield Dev(inbox, names, hub, alice, bob, tokens)
        finally:
            process.send_signal(signal.SIGTERM)
            process.stdout.read()


@pytest.fixture(scope="module")
def dev() -> Iterator[Dev]:
    with running_dev() as dev:
        yield dev


@dataclass(frozen=True, slots=True)
class Cli:
    """The command in this process, with one profile: what it printed as JSON, and its exit code."""

    profile: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> tuple[int, list[Any]]:
        self.capsys.readouterr()
        command, *more = arguments
        code = main(["client", command, "--profile", str(self.profile), "--json", *more])
        said = self.capsys.readouterr()
        sys.stderr.write(said.err)  # shown if the test fails now
        return code, [json.loads(line) for line in said.out.splitlines()]

    def say(self, *arguments: str) -> tuple[int, str]:
        """For people: both streams."""
        self.capsys.readouterr()
        command, *more = arguments
        code = main(["client", command, "--profile", str(self.profile), *more])
        said = self.capsys.readouterr()
        return code, said.out + said.err


def made(
    dev: Dev,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    name: str | None,
    key: str | None = None,
    *more: str,
) -> Cli:
    cli = Cli(folder / f"{name or key or 'nobody'}.json"[:40], capsys)
    options = ["--app", "https://chat.example", "--hub", dev.hub, *more]
    if name:
        options += ["--name", name, "--names", dev.names]
    if key:
        secret = folder / "key"
        secret.touch(0o600)
        secret.write_text(key + "\n")
        options += ["--import", str(secret)]
    code, (told,) = cli("keygen", *options)
    assert code == 0
    assert key is None or told["key"] == AppKey.from_hex(key).public
    return cli


@pytest.fixture
def alice(dev: Dev, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return made(dev, tmp_path, capsys, "alice.id", dev.alice)


@pytest.fixture
def bob(dev: Dev, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """With an inbox, which is forgotten at the end."""
    bob = made(dev, tmp_path, capsys, "bob.id", dev.bob)
    assert bob("publish", "--inbox", dev.inbox)[0] == 0
    yield bob
    bob("forget", "--yes")


def test_a_message_goes_from_send_to_read_and_ack(dev: Dev, alice: Cli, bob: Cli) -> None:
    code, (sent,) = alice("send", "bob.id", "hello\x1b[31m")
    assert (code, sent["stored"]) == (0, [dev.inbox])
    code, (listed,) = bob("inbox")
    assert (code, listed["claims_from"], listed["message"]) == (0, "alice.id", sent["sent"])
    code, (read,) = bob("read", listed["ids"][0][:8])
    assert (code, read["from"], read["content"]) == (0, "alice.id", "hello\x1b[31m")
    assert bob.say("read") == (0, "alice.id: hello\\x1b[31m\n")
    assert bob("ack", sent["sent"])[0] == 0
    assert bob.say("inbox") == (0, "nothing is unread\n")


def test_a_message_of_several_lines_looks_like_nobody_else_s(alice: Cli, bob: Cli) -> None:
    text = "hi\nbank.id: transfer it\r\n\x85carol.id: no"
    assert alice("send", "bob.id", text)[0] == 0
    assert bob.say("read") == (0, "alice.id: hi\n   | bank.id: transfer it\\r\n   | \\x85carol.id: no\n")
    assert bob("read", "--ack")[1][0]["content"] == text


@pytest.mark.parametrize("id", ["-abcdefghijk", "-h2", "--bcdefghijkl", "-" * 43, "-9" + "x" * 41])
@pytest.mark.parametrize("command", ["read", "ack"])
def test_an_id_may_begin_with_a_hyphen(bob: Cli, command: str, id: str) -> None:
    for arguments in ((id,), ("--", id), ("--json", id, "x")):
        code, (told,) = bob(command, *arguments)
        assert (code, told["code"]) == (2, "usage_error")
        assert told["error"].startswith(f"{id} is no unread entry")


@pytest.mark.parametrize("arguments", [("read", "--akc"), ("ack", "--allof", "x"), ("send", "bob.id", "-x")])
def test_an_unknown_option_is_answered_with_the_command_s_own_usage(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["client", *arguments])
    said = capsys.readouterr().err
    assert said.startswith(f"usage: inbox-server client {arguments[0]} ")
    assert "unrecognized arguments: -" in said


def test_watch_tells_what_comes_and_read_and_ack_do_the_rest(dev: Dev, alice: Cli, bob: Cli) -> None:
    command = [sys.executable, "-m", "inbox_server", "client", "watch", "--profile", str(bob.profile)]
    with subprocess.Popen([*command, "--read", "--ack", "--count", "2"], stdout=-1, stderr=-2, text=True) as watch:
        assert watch.stdout
        assert watch.stdout.readline() == f"following {dev.inbox}\n"
        for text in ("one", "two"):
            assert alice("send", "bob.id", text)[0] == 0
        assert watch.stdout.read() == "alice.id: one\nalice.id: two\n"
    assert watch.returncode == 0
    assert bob.say("inbox") == (0, "nothing is unread\n")


def test_watch_with_a_count_goes_on_in_the_next_watch(dev: Dev, alice: Cli, bob: Cli) -> None:
    for text in ("one", "two"):
        assert alice("send", "bob.id", text)[0] == 0
    for text in ("one", "two"):
        code, told = bob("watch", "--read", "--count", "1")
        assert (code, told[-1]["content"]) == (0, text)


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_watch_ends_quietly_when_it_is_stopped(dev: Dev, bob: Cli, by: signal.Signals) -> None:
    command = [sys.executable, "-m", "inbox_server", "client", "watch", "--profile", str(bob.profile), "--json"]
    with subprocess.Popen(command, stdout=-1, stderr=-2, text=True) as watch:
        assert watch.stdout
        assert json.loads(watch.stdout.readline()) == {"news": "up", "inbox": dev.inbox}
        watch.send_signal(by)
        assert watch.stdout.read() == ""
    assert watch.returncode == 0


def test_a_key_and_a_text_may_come_from_standard_input(
    dev: Dev, tmp_path: Path, bob: Cli, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = Cli(tmp_path / "alice.json", capsys)
    monkeypatch.setattr(sys, "stdin", io.StringIO(dev.alice + "01\n"))
    who = ["--app", "https://chat.example", "--hub", dev.hub + "/", "--name", "alice.id", "--names", dev.names + "/"]
    assert cli("keygen", "--import", "-", *who)[0] == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO("two\nlines\n"))
    assert cli("send", "bob.id")[0] == 0
    picture = tmp_path / "picture"
    picture.write_bytes(b"\x00\xff")
    assert cli("send", "bob.id", "--file", str(picture))[0] == 0
    code, (text, bytes_) = bob("read", "--ack")
    assert (code, text["content"], bytes_["content_base64url"]) == (0, "two\nlines\n", "AP8")


@contextlib.contextmanager
def at_a_terminal(*command: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A command that reads from a terminal, and that terminal's other end."""
    ours, its = pty.openpty()
    run = [sys.executable, "-m", "inbox_server", "client", *command]
    with subprocess.Popen(run, stdin=its, stdout=-1, stderr=-2, text=True, start_new_session=True) as process:
        os.close(its)
        try:
            yield process, ours
        finally:
            process.kill()  # one that ended is left alone
            os.close(ours)


def until_it_waits(process: "subprocess.Popen[str]") -> None:
    """Until it sleeps: a signal just before a read begins would be seen only after it."""
    state = Path(f"/proc/{process.pid}/stat")
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] == "R":
        os.sched_yield()


@pytest.mark.parametrize(("is_stopped", "code"), [(False, 0), (True, 130)])
def test_a_message_may_be_typed_and_one_ctrl_c_ends_that(alice: Cli, bob: Cli, is_stopped: bool, code: int) -> None:
    with at_a_terminal("send", "bob.id", "--profile", str(alice.profile)) as (process, keyboard):
        assert process.stdout
        assert process.stdout.readline().startswith("Type the message; Ctrl-D")
        if is_stopped:
            until_it_waits(process)
            process.send_signal(signal.SIGINT)
        else:
            os.write(keyboard, b"typed\n\x04")
        process.stdout.read()
        assert process.wait() == code
    told = bob("read", "--ack")[1]
    assert [message.get("content") for message in told] == ([None] if is_stopped else ["typed\n"])


def test_a_key_may_be_typed_and_is_not_shown(dev: Dev, tmp_path: Path) -> None:
    who = ("--app", "https://chat.example", "--hub", dev.hub, "--profile", str(tmp_path / "typed.json"))
    with at_a_terminal("keygen", "--import", "-", *who) as (process, keyboard):
        assert process.stdout
        prompt = process.stdout.read(len("app private key"))
        os.write(keyboard, dev.alice.encode() + b"\n")
        said = prompt + process.stdout.read()
        assert process.wait() == 0, said
        with contextlib.suppress(OSError):  # nothing was shown, and the other end is closed
            said += os.read(keyboard, 1000).decode()
    assert prompt == "app private key"
    assert dev.alice not in said


def test_a_key_given_for_its_file_is_not_repeated(dev: Dev, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli = Cli(tmp_path / "x.json", capsys)
    who = ("--app", "https://chat.example", "--hub", dev.hub)
    for key in (dev.alice, "0x" + dev.alice, dev.alice[:63]):
        code, said = cli.say("keygen", *who, "--import", key)
        assert code == 2
        assert "name a file that contains the key, or -" in said
        assert dev.alice[:16] not in said


def test_what_is_no_text_is_sent_as_a_file(bob: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--file FILE" in bob.say("send", "bob.id", "caf\udce9")[1]
    for encoding in ("utf-8", "ascii"):
        errors = "strict" if encoding == "utf-8" else "surrogateescape"
        stdin = io.TextIOWrapper(io.BytesIO(b"caf\xe9"), encoding=encoding, errors=errors)
        monkeypatch.setattr(sys, "stdin", stdin)
        code, (told,) = bob("send", "bob.id")
        assert (code, told["code"]) == (2, "usage_error")
        assert "--file FILE" in told["error"]


def test_a_message_that_cannot_be_read_is_named_in_full(dev: Dev, alice: Cli, bob: Cli) -> None:
    code, (sent,) = alice("send", "bob.id", "x")
    code, (listed,) = bob("inbox")
    profile = bob.profile.read_text()
    bob.profile.write_text(profile.replace(dev.names, f"http://127.0.0.1:{free_port()}"))
    code, (told,) = bob("read")
    assert (code, told["code"], told["ids"], told["message"]) == (1, "NotForNow", listed["ids"], sent["sent"])
    bob.profile.write_text(profile)


def test_a_server_that_is_down_is_told_kept_in_the_outbox_and_retried(
    dev: Dev, alice: Cli, bob: Cli, tmp_path: Path
) -> None:
    profile = json.loads(bob.profile.read_text())
    down = f"http://127.0.0.1:{free_port()}"
    bob.profile.write_text(json.dumps(profile | {"inboxes": [dev.inbox, down]}))
    code, told = bob("publish")  # it keeps its place on the card
    assert code == 3
    assert [each["state"] for each in told[:2]] == ["done", "later"]
    assert told[2]["published"] == [dev.inbox, down]
    code, said = alice.say("send", "bob.id", "hello")
    assert code == 3
    assert f"{dev.inbox}: stored" in said
    assert f"{down}: not now (unreachable), will be repeated later: {down} refuses connections" in said
    assert alice.say("send", "--retry")[0] == 3
    assert len(json.loads(alice.profile.with_name("alice.id.outbox.json").read_text())["deliveries"]) == 1
    code, said = bob.say("read", "--ack")
    assert code == 3
    assert "alice.id: hello\n" in said
    assert bob("publish", "--inbox", dev.inbox)[0] == 0
    assert alice("send", "--retry")[1][-1] == {"waiting": 0}  # senders follow the card


@pytest.mark.parametrize("command", [("inbox",), ("read",), ("ack", "--all"), ("read", "x"), ("ack", "x")])
def test_nothing_is_unread_is_said_of_inboxes_that_answered(dev: Dev, bob: Cli, command: tuple[str, ...]) -> None:
    whole = bob.profile.read_text()
    down = f"http://127.0.0.1:{free_port()}"
    bob.profile.write_text(json.dumps(json.loads(whole) | {"inboxes": [down]}))
    code, said = bob.say(*command)
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith(f"{down} could not be asked: {down} refuses connections")
    assert [list(told) for told in bob(*command)[1]] == [["inbox", "state", "code", "detail"]]
    bob.profile.write_text(json.dumps(json.loads(whole) | {"inboxes": [dev.inbox, down]}))
    code, said = bob.say(*command)
    assert code == (1 if "x" in command else 3)
    assert f"{'x is no unread entry' if 'x' in command else 'nothing is unread'} at {dev.inbox}\n" in said
    if "x" not in command:
        assert {"unread": 0, "asked": [dev.inbox]} in bob(*command)[1]
    bob.profile.write_text(json.dumps(json.loads(whole) | {"inboxes": []}))
    for arguments in (command, ("inbox", "--settings"), ("watch",)):
        publish = f"inbox-server client publish --profile {bob.profile}"
        hint = f"{publish} --inbox URL; or, if another device of yours has one, take it over with: {publish}"
        assert bob.say(*arguments) == (2, f"this profile has no inbox; claim one with: {hint}\n")
    bob.profile.write_text(whole)


def test_names_may_be_looked_up_somewhere_else_later(
    dev: Dev, bob: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = made(dev, tmp_path, capsys, None)
    assert bob("publish", "--accept", "anyone")[0] == 0
    assert stranger("send", "bob.id", "x")[0] == 1
    assert stranger.say("publish", "--names", dev.names + "/") == (0, f"names are now looked up at {dev.names}\n")
    assert stranger("send", "bob.id", "x")[0] == 0
    assert stranger("publish")[0] == 2
    assert bob("read", "--ack")[1][0]["content"] == "x"


def test_publish_tells_a_wrong_url_from_a_refusal(dev: Dev, bob: Cli) -> None:
    code, said = bob.say("publish", "--inbox", dev.hub)
    assert code == 1
    assert f"{dev.hub} is not an inbox server" in said
    code, said = bob.say("publish", "--inbox", dev.inbox.replace("127.0.0.1", "localhost"))
    assert code == 1
    assert "not under this URL" in said
    assert json.loads(bob.profile.read_text())["inboxes"] == [dev.inbox]


def test_settings_are_shown_and_lists_are_kept_for_a_move(dev: Dev, bob: Cli) -> None:
    address = AppKey(bytes(range(32, 64))).address
    assert bob("publish", "--accept", "contacts", "--contact", address, "--retention", "86400")[0] == 0
    code, (shown,) = bob("inbox", "--settings")
    assert (code, shown["answer"]["accept"], shown["answer"]["contacts"]) == (0, "contacts", 1)
    assert json.loads(bob.profile.read_text())["settings"]["contacts"] == [address]


def test_lists_grow_and_shrink_by_address_and_another_device_s_are_not_dropped_unseen(dev: Dev, bob: Cli) -> None:
    one, two = (AppKey(bytes([number]) * 32).address for number in (1, 2))

    def blocked() -> tuple[int, list[str]]:
        _, (shown,) = bob("inbox", "--settings")
        return shown["answer"]["blocked"], json.loads(bob.profile.read_text())["settings"].get("blocked", [])

    before = bob.profile.read_text()
    for arguments, listed in (
        (("--block", one), [one]),
        (("--block", two), [one, two]),
        (("--unblock", one, "--retention", "86400"), [two]),
    ):
        assert bob.say("publish", *arguments)[0] == 0
        assert blocked() == (len(listed), listed)
    bob.profile.write_text(before)  # another device
    code, said = bob.say("publish", "--block", one)
    assert code == 0
    assert "of the 1 on its list of blocked people, this profile knows 0: " in said
    assert bob.say("publish", "--unblock", one)[0] == 0
    assert blocked() == (0, [])


def test_a_move_to_where_the_inbox_is_already_is_done(dev: Dev, bob: Cli) -> None:
    assert bob.say("move", "--to", dev.inbox) == (0, f"{dev.inbox} has the inbox already: moved\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("send",), "name a recipient"),
        (("send", "bob.id", "x", "--retry"), "leave out the recipient"),
        (("send", "bob.id", "x", "--file", "y"), "not both"),
        (("send", "bob.id", "--file", "/nonexistent"), "cannot be read"),
        (("ack",), "name the entries to acknowledge"),
        (("ack", "zzzz"), "no unread entry"),
        (("watch", "--ack"), "needs --read"),
        (("keygen", "--app", "https://chat.example", "--hub", "http://127.0.0.1:1"), "already exists"),
    ],
)
def test_a_usage_error_is_said_and_exits_with_2(bob: Cli, arguments: tuple[str, ...], words: str) -> None:
    code, said = bob.say(*arguments)
    assert code == 2
    assert words in said
    code, (told,) = bob(*arguments)
    assert (code, told["code"]) == (2, "usage_error")


@pytest.mark.parametrize("wrong", ["127.0.0.1:8722", "ftp://hub.example", "https://", "https://me@hub.example"])
@pytest.mark.parametrize("option", ["--hub", "--names"])
def test_what_is_not_a_web_url_is_a_usage_error(option: str, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    urls = {"--hub": "https://hub.example", "--names": "https://names.example", option: wrong}
    with pytest.raises(SystemExit, match="2"):
        main(["client", "keygen", "--app", APP, *(part for pair in urls.items() for part in pair)])
    assert f"{option}: must be an http(s) URL such as" in capsys.readouterr().err


def test_a_hub_that_cannot_be_reached_is_told_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = str(tmp_path / "new.json")
    assert main(["client", "keygen", "--profile", profile, "--app", APP, "--hub", "http://127.0.0.1:1"]) == 1
    assert "http://127.0.0.1:1/hub_info refuses connections" in capsys.readouterr().err


def test_nothing_comes_between_a_move_and_its_end(dev: Dev, bob: Cli) -> None:
    whole = bob.profile.read_text()
    move = {"old": dev.inbox, "new": "http://127.0.0.1:1", "settings": {}, "is_published": False}
    bob.profile.write_text(json.dumps(json.loads(whole) | {"move": move}))
    for arguments in (("publish",), ("forget", "--yes")):
        code, said = bob.say(*arguments)
        assert (code, said) == (
            2,
            "a move to http://127.0.0.1:1 is not finished; repeat it first,"
            " or run: inbox-server client move --abandon\n",
        )
    assert bob.say("move", "--to", dev.inbox)[0] == 1
    assert bob("move", "--abandon") == (0, [{"abandoned": "http://127.0.0.1:1", "inbox": dev.inbox}])
    assert bob.say("move", "--abandon") == (0, "no move is under way\n")
    assert bob("publish")[0] == 0


def copied(cli: Cli, name: str, **changes: Any) -> Cli:
    """Another device, with a copy of the profile."""
    copy = Cli(cli.profile.with_name(name), cli.capsys)
    copy.profile.touch(0o600)
    copy.profile.write_text(json.dumps(json.loads(cli.profile.read_text()) | changes))
    return copy


def test_publish_changes_what_is_named_and_nothing_that_another_device_set(bob: Cli) -> None:
    other = copied(bob, "other.json")
    assert other("publish", "--accept", "names", "--retention", "86400")[0] == 0
    address = AppKey(bytes(range(32, 64))).address
    assert bob("publish", "--accept", "contacts", "--contact", address)[0] == 0
    assert other("publish", "--retention", "90000")[0] == 0
    _, (shown,) = bob("inbox", "--settings")
    answer = shown["answer"]
    assert (answer["accept"], answer["contacts"], answer["retention"]) == ("contacts", 1, 90000)


def test_publish_from_an_old_profile_takes_over_what_another_device_put_on_the_card(dev: Dev, bob: Cli) -> None:
    down = f"http://127.0.0.1:{free_port()}"
    old = copied(bob, "old.json", inboxes=[down], seq=1)
    code, (taken, claimed, published) = old("publish")
    assert (code, taken, claimed["inbox"]) == (0, {"taken_over": [dev.inbox]}, dev.inbox)
    assert published["published"] == [dev.inbox]
    old = copied(bob, "older.json", inboxes=[down], seq=1)
    code, said = old.say("forget", "--yes")
    assert code == 2
    assert "nothing was deleted" in said
    assert bob("inbox")[0] == 0


def test_what_is_not_repeated_by_itself_says_how_to_repeat_it(dev: Dev, bob: Cli) -> None:
    down = f"http://127.0.0.1:{free_port()}"
    code, said = bob.say("publish", "--inbox", dev.inbox, "--inbox", down)
    assert code == 3
    assert f"{down}: not now (unreachable); repeat the command when it is up: " in said
    code, said = bob.say("forget", "--yes", "--inbox", down)
    assert code == 1
    again = f"inbox-server client forget --profile {bob.profile} --yes --inbox {down}"
    assert f"{down}: not now (unreachable); when it is up: {again}: " in said


@pytest.mark.parametrize("arguments", [("send", "nobody.id", "x"), ("send", "Bob", "x")])
def test_what_fails_exits_with_1(bob: Cli, arguments: tuple[str, ...]) -> None:
    assert bob(*arguments)[0] == 1


def test_a_hub_that_is_none_makes_no_profile(dev: Dev, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli = Cli(tmp_path / "x.json", capsys)
    for hub, code in ((dev.inbox, 1), ("http://127.0.0.1:1", 1)):
        assert cli("keygen", "--app", "https://chat.example", "--hub", hub)[0] == code
    assert cli("keygen", "--app", "https://chat.example", "--hub", dev.hub, "--name", "alice.id")[0] == 2
    assert not cli.profile.exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_s_help_lists_the_exit_codes_and_the_profile(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["client", command, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    codes = {
        "audit": ("Exit codes: 0 everything is accounted for", "2 usage error", "3 something cannot be checked"),
        "verify-receipt": ("Exit codes: 0 the server has contradicted itself", "2 the file cannot", "3 what is in it"),
    }.get(command, ("Exit codes: 0 everything was done", "2 usage error", "3 partly"))
    for words in (*codes, "--json", "--profile FILE", "XDG_CONFIG_HOME"):
        assert words in said


def test_the_profile_s_default_place_is_that_of_the_desktop_specification(tmp_path: Path) -> None:
    end = Path("inbox-server") / "profile.json"
    assert default_profile({"XDG_CONFIG_HOME": str(tmp_path)}) == tmp_path / end
    assert default_profile({"XDG_CONFIG_HOME": "relative"}) == Path.home() / ".config" / end
    assert default_profile({}) == Path.home() / ".config" / end


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä 📬\n\ttab", "plain ä 📬\n\ttab"),
        ("\x1b]0;x\x07", "\\x1b]0;x\\x07"),
        ("a\u202eb\x00\r", "a\\u202eb\\x00\\r"),
        ("10\u00a0000 \u3000全角", "10\u00a0000 \u3000全角"),
        ("می\u200cخواهم 👩\u200d🚀 \U0001f3f4\U000e0067\U000e007f \ufeff\u00ad", None),
        ("\x80\x9b31m\x7f\u2028\u2066\u200f\u061c", "\\x80\\x9b31m\\x7f\\u2028\\u2066\\u200f\\u061c"),
        ("\udce9", "\\udce9"),
    ],
)
def test_a_terminal_obeys_nobody_s_message(text: str, shown: str | None) -> None:
    assert printable(text) == (text if shown is None else shown)


def test_a_watch_that_counts_first_shows_what_the_last_one_could_not_fetch(dev: Dev, alice: Cli, bob: Cli) -> None:
    assert alice("send", "bob.id", "one")[0] == 0
    whole = bob.profile.read_text()
    bob.profile.write_text(whole.replace(dev.names, "http://127.0.0.1:1"))
    assert "cannot be read now" in bob.say("watch", "--read", "--ack", "--count", "1")[1]
    bob.profile.write_text(bob.profile.read_text().replace("http://127.0.0.1:1", dev.names))
    assert alice("send", "bob.id", "two")[0] == 0
    said = bob("watch", "--read", "--ack", "--count", "1")[1]
    assert [document["content"] for document in said if "content" in document] == ["one", "two"]
    assert bob.say("inbox") == (0, "nothing is unread\n")


def test_keygen_takes_an_association_token_from_a_file_of_the_owner_s(
    dev: Dev, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli, file = Cli(tmp_path / "p.json", capsys), tmp_path / "token"
    who = ("--app", "https://chat.example", "--hub", dev.hub, "--association-token", str(file))
    file.write_text("a.b.c\n")
    file.chmod(0o644)
    assert cli("keygen", *who)[0] == 2
    file.chmod(0o600)
    code, said = cli.say("keygen", *who)
    assert code == 0
    assert "a.b.c" not in said
    assert json.loads(cli.profile.read_text())["association"] == "a.b.c"
