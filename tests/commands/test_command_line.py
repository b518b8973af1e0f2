"""The command line: what `init` writes, what is said about mistakes, and that `--help` helps."""

import pwd
import stat
import tomllib
from pathlib import Path

import pytest

from inbox_server.cli import main
from inbox_server.client.appkey import AppKey
from inbox_server.config.file import load_config, render_config
from inbox_server.config.secret import BadSecret, read_secret

KEY = AppKey(bytes(range(1, 33)))
URL = "https://inbox.example"


def _init(folder: Path, *more: str) -> int:
    return main(["init", str(folder), *more])


def test_init_writes_a_configuration_and_a_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "inbox"
    assert _init(folder, "--url", URL, "--listed", "bob.id", "--listed", KEY.address) == 0
    config = load_config(folder / "config.toml")
    assert config.public_url == URL
    assert [str(listed.identity.text) for listed in config.listed if hasattr(listed.identity, "text")] == [
        "bob.id",
        KEY.address,
    ]
    assert len(read_secret(folder / "secret").first) == 32
    said = capsys.readouterr().out
    assert str(folder / "config.toml") in said
    assert (folder / "secret").read_text().strip() not in said
    assert f"inbox-server serve --config {folder / 'config.toml'}" in said


def test_init_writes_a_secret_that_only_its_owner_can_read(tmp_path: Path) -> None:
    _init(tmp_path, "--url", URL)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_init_writes_another_secret_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        _init(tmp_path / name, "--url", URL)
    assert read_secret(tmp_path / "a" / "secret") != read_secret(tmp_path / "b" / "secret")


def test_init_writes_every_key_with_its_comment(tmp_path: Path) -> None:
    _init(tmp_path, "--url", URL)
    assert (tmp_path / "config.toml").read_text() == render_config({"server.public_url": f'"{URL}"'})


def test_doctor_says_what_to_do_after_a_question_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.toml").write_text(f'[server]\npublic_url = "{URL}"\n[store]\nur1 = ""\n')
    assert main(["doctor", "--config", str(tmp_path / "config.toml")]) == 1
    assert "did you mean store.url? Correct it in" in capsys.readouterr().out


def test_a_mistake_in_the_configuration_is_told_with_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[server]\npublic_url = "{URL}"\nport = 80\n[limits]\ninbox_entries = 0\n')
    assert main(["serve", "--config", str(path)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{path}: server.port: unknown key; known are public_url, listen, ")
    assert second == f"{path}: limits.inbox_entries: must be a whole number from 1 to 10000000"


@pytest.mark.parametrize("taken", ["config.toml", "secret"])
def test_init_overwrites_nothing(tmp_path: Path, taken: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / taken).write_text("mine")
    assert _init(tmp_path, "--url", URL) == 1
    assert [path.name for path in tmp_path.iterdir()] == [taken]
    assert (tmp_path / taken).read_text() == "mine"
    assert str(tmp_path / taken) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "name"),
    [
        ("--url", "inbox.example", "--url"),
        ("--url", "https://inbox.example/", "--url"),
        ("--url", 'https://"]\n', "--url"),
        ("--url", "https://📬.example", "--url"),
        ("--url", "https://\x7f.example", "--url"),
        ("--listed", "Bob", "--listed Bob"),
        ("--listed", "📬", "--listed 📬"),
        ("--store", "mysql://x", "--store"),
    ],
)
def test_init_writes_nothing_and_names_the_option_that_is_wrong(
    tmp_path: Path, option: str, value: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new"
    more = () if option == "--url" else ("--url", URL)
    assert _init(folder, option, value, *more) == 2
    assert not folder.exists()
    assert capsys.readouterr().err.startswith(name + ": ")


def test_init_without_a_url_says_what_is_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _init(tmp_path) == 0
    said = capsys.readouterr().out
    assert "server.public_url" in said
    assert "registration.listed" in said
    assert "public_url" not in tomllib.loads((tmp_path / "config.toml").read_text())["server"]
    assert main(["invite", "new", "--config", str(tmp_path / "config.toml")]) == 2
    assert "server.public_url: is missing" in capsys.readouterr().err


def test_init_says_what_is_next_for_each_way_to_register(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for mode, said in (
        ("invite", "inbox-server invite new"),
        ("open", "then: inbox-server serve"),
        ("listed", "list who"),
    ):
        assert _init(tmp_path / mode, "--url", URL, "--registration", mode) == 0
        assert load_config(tmp_path / mode / "config.toml").registration == mode
        assert said in capsys.readouterr().out.replace("next: ", "", 1)
    assert _init(tmp_path / "both", "--url", URL, "--registration", "open", "--listed", "bob.id") == 2
    assert "leave one out" in capsys.readouterr().err
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize(("proxy", "name"), [("nginx", "nginx-site.conf"), ("caddy", "Caddyfile")])
def test_init_writes_the_proxys_file(tmp_path: Path, proxy: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _init(tmp_path / "new", "--url", URL, "--listed", "bob.id", "--proxy", proxy) == 0
    assert load_config(tmp_path / "new" / "config.toml").proxy_header == "X-Real-IP"
    assert f"wrote {tmp_path / 'new' / name}" in capsys.readouterr().out
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / name).write_text("mine")
    assert _init(tmp_path / "taken", "--url", URL, "--proxy", proxy) == 1
    assert [path.name for path in (tmp_path / "taken").iterdir()] == [name]
    for url in ((), ("--url", "http://127.0.0.1:8710")):
        assert _init(tmp_path / "plain", *url, "--proxy", proxy) == 2
        assert "needs an https URL" in capsys.readouterr().err
    assert not (tmp_path / "plain").exists()


COMMANDS = {
    (): ("demo", "init", "serve", "invite", "doctor", "ping", "dev"),
    ("demo",): ("--once", "local world"),
    ("init",): ("--url", "--listed", "--registration", "--proxy", "0600", "overwritten", "terminal"),
    ("serve",): ("--config", "SIGTERM", "exit code 2"),
    ("invite",): ("new", "list", "revoke"),
    ("suspend",): ("ADDRESS", "--json", "accepts nobody", "resume", "running server"),
    ("quota",): ("--entries", "--bytes", "--default", "nothing is lost"),
    ("forget",): ("--yes", "cannot be undone", "suspended"),
    ("drain",): ("--end", "also after a restart", "Senders keep"),
    ("vacuum",): ("small steps", "Ctrl-C"),
    ("inboxes",): ("--json", "about a single inbox"),
    ("invite", "new"): ("--count", "--days", "--config", "one-time", "While the server runs".lower()),
    ("doctor",): (
        *("--config", "--name", "--app", "--json", "whether a server is running", "changes nothing", "exit codes: 0"),
        *("secret", "quick_check", "name service", "zone file", "root", "inbox-server ping"),
    ),
    ("ping",): (
        *("URL", "--invite", "--seconds", "--json", "throw-away", "deleted", "nobody else's", "exit codes: 0"),
        *("authorization", "preflight", "buffer", "SSL_CERT_FILE", "used up", "another machine"),
    ),
    ("dev",): (
        "--app",
        "--port",
        "Gaia hub",
        "--name",
        "carol.btc",
        "repeatable",
        "alice.id",
        "--json",
        "--strict-hub",
    ),
}


@pytest.mark.parametrize(("command", "words"), COMMANDS.items(), ids=[" ".join(command) for command in COMMANDS])
def test_help_says_what_a_command_does(
    command: tuple[str, ...], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    missing = [word for word in words if word not in said and word not in said.lower()]
    assert not missing


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unheard-of"],
        ["serve", "--unheard-of"],
        ["invite"],
        ["invite", "new", "--count", "0"],
        ["invite", "new", "--days", "-1"],
        ["invite", "revoke", "a b"],
        ["suspend"],
        ["suspend", "bob.id"],
        ["forget", f"{KEY.address}x"],
        ["quota", KEY.address, "--entries", "0"],
        ["quota", KEY.address, "--entries", "5", "--default"],
        ["dev", "--app", "chat.example"],
        ["dev", "--port", "70000"],
        ["dev", "--name", "Bob"],
        ["dev", "--name", "bob"],
        ["ping"],
        ["ping", "https://inbox.example", "--seconds", "0"],
        ["doctor", "--name", "Bob", "--app", "https://chat.example"],
        ["doctor", "--name", "bob.id"],
    ],
)
def test_arguments_that_are_wrong_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert capsys.readouterr().err.startswith("usage: inbox-server")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    _init(tmp_path, "--url", URL)
    (tmp_path / "secret").chmod(mode)
    with pytest.raises(BadSecret, match="chmod 600"):
        read_secret(tmp_path / "secret")


@pytest.mark.parametrize("content", [b"", b"secret", b"00" * 31, b"00" * 33, b"zz" * 32, b"\xff" * 64])
def test_a_secret_of_another_shape_is_refused_and_not_repeated(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(BadSecret) as caught:
        read_secret(path)
    assert content.decode("latin-1") not in str(caught.value).replace(str(path), "") or not content


def test_a_secret_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSecret, match="`inbox-server init` writes one"):
        read_secret(tmp_path / "secret")


def test_a_systemd_credential_takes_the_place_of_the_file(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    environment = {"CREDENTIALS_DIRECTORY": str(credentials)}
    _init(tmp_path, "--url", URL)
    assert read_secret(tmp_path / "secret", environment) == read_secret(tmp_path / "secret", {})
    (credentials / "inbox-secret").write_text("11" * 32)
    assert read_secret(tmp_path / "secret", environment).first == b"\x11" * 32


def test_a_user_without_a_home_directory_can_run_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `DynamicUser=` makes one, on a system that has no libnss-systemd."""

    def unknown(_: int) -> pwd.struct_passwd:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit, match="0"):
        main(["serve", "--help"])
    assert main(["client", "read"]) == 2
    assert "~/.config/inbox-server/profile.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["client", "publish", "--inbox", URL],
        ["client", "move", "--to", URL],
        ["conformance", "http://127.0.0.1:9", "--only", "capabilities"],
    ],
    ids=lambda command: command[-3],
)
def test_an_invite_that_begins_with_a_hyphen_is_no_usage_error(command: list[str], tmp_path: Path) -> None:
    """All are refused for another reason, and after their arguments were read, which would raise `SystemExit`."""
    profile = ["--profile", str(tmp_path / "nobody")] if command[0] == "client" else []
    assert main([*command, *profile, "--invite", "-zwievn4V3dljZXA8HGk8g"]) != 0


def test_an_option_after_invite_is_not_taken_for_a_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["ping", URL, "--invite", "--quick"])
    assert "--invite: expected one argument" in capsys.readouterr().err
