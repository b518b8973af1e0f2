"""The configuration file: every mistake named at once by its path, and an example that is the reference."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.config.config import BadConfig, Config, Listed, Tcp, Unix
from inbox_server.config.file import load_config, parse_config, render_config
from inbox_server.config.keys import KEYS
from inbox_server.identity.keys import parse_key
from inbox_server.identity.names import Address, Name

ROOT = Path(__file__).parent.parent.parent
BASE = Path("/srv/inbox")
KEY = AppKey(bytes(range(1, 33)))
NEEDED = {"server": {"public_url": "https://inbox.example"}}


def _parse(**sections: Any) -> Config:
    server = NEEDED["server"] | sections.pop("server", {})
    return parse_config({"server": server, **sections}, BASE)


def _mistakes(document: dict[str, Any]) -> list[str]:
    with pytest.raises(BadConfig) as caught:
        parse_config(document, BASE)
    assert str(caught.value) == "\n".join(caught.value.mistakes)
    return list(caught.value.mistakes)


def _paths(mistakes: list[str]) -> list[str]:
    return [mistake.split(": ")[0] for mistake in mistakes]


def test_the_public_url_is_all_that_must_be_said() -> None:
    config = _parse()
    assert config.public_url == "https://inbox.example"
    assert config.registration == "listed"
    assert config.listed == ()
    assert (config.data_dir, config.secret_file) == (BASE / "data", BASE / "secret")
    assert _mistakes({}) == ['server.public_url: is missing; for example "https://inbox.example"']


def test_the_example_is_what_is_rendered() -> None:
    assert (ROOT / "config.example.toml").read_text(encoding="utf-8") == render_config()


def test_the_example_is_the_defaults() -> None:
    assert parse_config(tomllib.loads(render_config()), BASE) == _parse()


def test_the_example_has_every_key_once_below_a_comment() -> None:
    lines = render_config().splitlines()
    for key in KEYS:
        (at,) = [
            number for number, line in enumerate(lines) if line == f"{key.path.rpartition('.')[2]} = {key.default}"
        ]
        assert lines[at - 1].startswith("# ")
    assert all(len(line) <= 120 for line in lines)


def test_overrides_stand_in_the_rendered_file() -> None:
    text = render_config({"limits.inbox_entries": "7", "server.public_url": '"https://other.example"'})
    config = parse_config(tomllib.loads(text), BASE)
    assert (config.inbox_entries, config.public_url) == (7, "https://other.example")


def test_all_mistakes_are_named_at_once_by_their_paths() -> None:
    document = {
        "server": {"public_url": "https://inbox.example/", "listen": "everywhere", "lisen": 1},
        "names": {"services": ["ftp://x"], "agreement": "yes", "static": [{"name": "Bob"}]},
        "registration": {"mode": "closed", "listed": ["bob.id", "Bob", 7], "open_per_hour": 0},
        "limits": {"inbox_entries": "many", "inbox_bytes": 5, "max_retention_seconds": 1.5},
        "outgoing": {"allow": "https://x.example", "nat64": ["64:ff9b::/96", "64:ff9b::/97"]},
        "logging": {"level": "debug"},
    }
    mistakes = _mistakes(document)
    assert sorted(_paths(mistakes)) == [
        "limits.inbox_bytes",
        "limits.inbox_entries",
        "limits.max_retention_seconds",
        "logging",
        "names.agreement",
        "names.services[0]",
        "names.static[0]",
        "outgoing.allow",
        "outgoing.nat64[1]",
        "registration.listed[1]",
        "registration.listed[2]",
        "registration.mode",
        "registration.open_per_hour",
        "server.lisen",
        "server.listen",
        "server.public_url",
    ]
    assert any("did you mean server.listen?" in mistake for mistake in mistakes)


@pytest.mark.parametrize("section", sorted({key.path.split(".")[0] for key in KEYS}))
def test_an_unknown_key_is_a_mistake_in_every_section(section: str) -> None:
    document: dict[str, dict[str, Any]] = {"server": {**NEEDED["server"]}}
    document.setdefault(section, {})["unheard_of"] = 1
    (mistake,) = _mistakes(document)
    assert mistake.startswith(f"{section}.unheard_of: unknown key")


@pytest.mark.parametrize(
    ("document", "mistake"),
    [
        ({"listen": "127.0.0.1:80"}, "listen: is in no section; did you mean server.listen?"),
        ({"loglevel": "debug"}, "loglevel: is in no section"),
        ({"limits": {"max_inboxes": 5}}, "limits.max_inboxes: unknown key; did you mean registration.max_inboxes?"),
        ({"notify": {"user_id": "@inbox:x"}}, "notify.user_id: unknown key; did you mean notify.matrix.user_id?"),
        ({"limits": {"inbox_entry": 5}}, "limits.inbox_entry: unknown key; did you mean limits.inbox_entries?"),
    ],
)
def test_a_key_in_a_wrong_place_is_told_its_right_one(document: dict[str, Any], mistake: str) -> None:
    assert _mistakes({**NEEDED, **document}) == [mistake]


@pytest.mark.parametrize("value", [1, "text", [], True])
def test_a_section_that_is_no_table_is_a_mistake(value: object) -> None:
    assert "limits: must be a table, [limits]" in _mistakes({**NEEDED, "limits": value})


@pytest.mark.parametrize(
    "url",
    [
        *("inbox.example", "https://inbox.example/", "HTTPS://inbox.example", "https://Inbox.example", "https://"),
        *("https://inbox.example:0", "https://user@inbox.example", "https://inbox.example?x", "ftp://inbox.example"),
        *("", 7, None),
    ],
)
def test_a_public_url_is_an_origin(url: object) -> None:
    assert _paths(_mistakes({"server": {"public_url": url}})) == ["server.public_url"]


@pytest.mark.parametrize(
    ("written", "listen"),
    [
        ("127.0.0.1:8710", Tcp("127.0.0.1", 8710)),
        ("localhost:0", Tcp("localhost", 0)),
        ("[::1]:8710", Tcp("::1", 8710)),
        ("unix:inbox.sock", Unix(BASE / "inbox.sock")),
        ("unix:/run/inbox.sock", Unix(Path("/run/inbox.sock"))),
    ],
)
def test_it_listens_at_a_port_or_a_socket(written: str, listen: object) -> None:
    assert _parse(server={"listen": written}).listen == listen
    assert _parse(server={"admin_listen": written}).admin_listen == listen


@pytest.mark.parametrize("written", ["8710", ":8710", "127.0.0.1", "127.0.0.1:99999", "127.0.0.1:-1", "unix:", 8710])
def test_what_is_no_place_to_listen_is_a_mistake(written: object) -> None:
    assert _paths(_mistakes({"server": NEEDED["server"] | {"listen": written}})) == ["server.listen"]


def test_the_admin_listener_can_be_turned_off() -> None:
    assert _parse(server={"admin_listen": ""}).admin_listen is None


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(render_config({"server.data_dir": '"below/data"'}))
    config = load_config(tmp_path / "config.toml")
    assert (config.data_dir, config.secret_file) == (tmp_path / "below" / "data", tmp_path / "secret")
    assert _parse(server={"data_dir": "/var/lib/inbox"}).data_dir == Path("/var/lib/inbox")


def test_the_secret_lies_outside_the_data_directory() -> None:
    assert _paths(_mistakes({"server": NEEDED["server"] | {"secret_file": "data/secret"}})) == ["server.secret_file"]


def test_name_services_lose_their_last_slash() -> None:
    config = _parse(names={"services": ["https://a.example/", "http://127.0.0.1:3999/extended"]})
    assert config.name_services == ("https://a.example", "http://127.0.0.1:3999/extended")
    assert _parse(names={"services": []}).name_services == ()


def test_who_is_listed_is_a_name_a_key_or_an_address() -> None:
    written = ["bob.id", KEY.public, KEY.address, {"identity": "carol.id", "apps": ["https://chat.example"]}]
    assert _parse(registration={"listed": written}).listed == (
        Listed(Name("bob.id"), None),
        Listed(parse_key(KEY.public), None),
        Listed(Address(KEY.address), None),
        Listed(Name("carol.id"), frozenset({"https://chat.example"})),
    )


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        ("Bob", "registration.listed[0]"),
        (KEY.public.upper(), "registration.listed[0]"),
        ({"apps": []}, "registration.listed[0]"),
        ({"identity": "bob.id", "app": "https://chat.example"}, "registration.listed[0]"),
        ({"identity": "Bob"}, "registration.listed[0].identity"),
        ({"identity": "bob.id", "apps": ["chat.example"]}, "registration.listed[0].apps[0]"),
        ({"identity": "bob.id", "apps": "https://chat.example"}, "registration.listed[0].apps"),
    ],
)
def test_who_is_listed_wrongly_is_a_mistake(entry: object, path: str) -> None:
    assert _paths(_mistakes({**NEEDED, "registration": {"listed": [entry]}})) == [path]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"name": "Bob"}, "names.static[0].name"),
        ({"app": "chat.example"}, "names.static[0].app"),
        ({"key": KEY.address}, "names.static[0].key"),
        ({"more": 1}, "names.static[0]"),
    ],
)
def test_a_static_name_is_checked_in_full(change: dict[str, Any], path: str) -> None:
    entry = {"name": "bob.id", "app": "https://chat.example", "key": KEY.public}
    (static,) = _parse(names={"static": [entry]}).static
    assert (static.name, static.app, static.key) == ("bob.id", "https://chat.example", parse_key(KEY.public))
    assert _paths(_mistakes({**NEEDED, "names": {"static": [entry | change]}})) == [path]


NUMBERS = [key for key in KEYS if key.default.isdecimal()]


@pytest.mark.parametrize("key", NUMBERS, ids=lambda key: key.path)
@pytest.mark.parametrize("value", [-1, 1 << 70, 3600.0, "3600", True, None])
def test_a_number_is_a_whole_number_within_its_limits(key: Any, value: object) -> None:
    section, name = key.path.split(".")
    (mistake,) = _mistakes({**NEEDED, section: NEEDED.get(section, {}) | {name: value}})
    assert mistake.startswith(f"{key.path}: must be a whole number from ")


def test_the_default_retention_is_within_the_maximum() -> None:
    limits = {"default_retention_seconds": 7201, "max_retention_seconds": 7200}
    assert _paths(_mistakes({**NEEDED, "limits": limits})) == ["limits.default_retention_seconds"]


@pytest.mark.parametrize("content", [b"[server", b"x = ", b"\xff\xfe", b"[server]\n[server]\n"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(BadConfig, match="is not TOML") as caught:
        load_config(path)
    assert caught.value.mistakes[0].startswith(f"{path}: ")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="`inbox-server init` writes one"):
        load_config(tmp_path / "config.toml")
    with pytest.raises(BadConfig, match="cannot be read"):
        load_config(tmp_path)


def test_a_systemd_credential_takes_the_place_of_the_webhooks_authorization(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[server]\npublic_url = "https://inbox.example"\n')
    (tmp_path / "inbox-webhook-authorization").write_text("Bearer tk_1\n")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert load_config(tmp_path / "config.toml", environment).webhook_authorization == "Bearer tk_1"
    assert load_config(tmp_path / "config.toml", {}).webhook_authorization == ""
    (tmp_path / "inbox-webhook-authorization").write_text("Bearer tk_é")
    with pytest.raises(BadConfig) as bad:
        load_config(tmp_path / "config.toml", environment)
    assert "inbox-webhook-authorization" in str(bad.value)
    assert "é" not in str(bad.value)
