"""PostgreSQL in the configuration, without a server of it: what commands say, and what they leave to its own tools."""

import subprocess
import sys
from pathlib import Path

import pytest

from inbox_server.cli import main
from inbox_server.commands import exit_codes
from inbox_server.config.file import load_config
from tests.commands.test_client_only import run_without
from tests.support.serving import deploy

URL = "postgresql://inbox@127.0.0.1:1/inbox"


@pytest.mark.parametrize("command", [("serve",), ("invite", "new"), ("inboxes",), ("drain",)])
def test_a_command_on_postgresql_without_asyncpg_says_what_to_install(tmp_path: Path, command: tuple[str, ...]) -> None:
    place = deploy(tmp_path / "place", store__url=URL, registration__mode="invite")
    done = run_without(["asyncpg"], *command, "--config", place.folder / "config.toml")
    assert done.returncode == 1
    assert "pip install 'inbox-server[server,postgres]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (place.data / "day-keys").exists()


@pytest.mark.parametrize(
    ("command", "leads_to"),
    [
        (("backup", "copy"), "docs/postgresql.md, Backups"),
        (("backup", "--settings-only", "copy"), "docs/postgresql.md, Backups"),
        (("restore", "copy"), "docs/postgresql.md, Restore"),
        (("rotate-secret",), "docs/postgresql.md, The secret leaked"),
    ],
)
def test_what_is_not_for_postgresql_says_so_before_anything_changes(
    tmp_path: Path, command: tuple[str, ...], leads_to: str
) -> None:
    place = deploy(tmp_path / "place", store__url=URL)
    before = {path: path.read_bytes() for path in place.folder.iterdir()}
    done = run_without([], *command, "--config", place.folder / "config.toml")
    assert done.returncode == 1
    assert leads_to in done.stderr
    assert {path: path.read_bytes() for path in place.folder.iterdir()} == before


def test_init_writes_a_database_and_refuses_a_password_in_its_url(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("init", str(tmp_path / "new"), "--url", "https://inbox.example", "--store")
    assert main([*arguments, "postgresql://inbox:hunter2@db1/inbox?sslmode=require"]) == exit_codes.USAGE
    refused = capsys.readouterr().err
    assert "must not hold a password" in refused
    assert "hunter2" not in refused
    assert not (tmp_path / "new").exists()
    assert main([*arguments, URL]) == 0
    config = load_config(tmp_path / "new" / "config.toml")
    assert (config.store_url, config.store_password_file) == (URL, tmp_path / "new" / "database-password")
    assert "database-password (mode 0600)" in capsys.readouterr().out


def test_a_server_on_sqlite_loads_nothing_of_postgresql(tmp_path: Path) -> None:
    """Loading asyncpg takes memory and time, and an installation may lack it."""
    place = deploy(tmp_path / "place")
    program = "import sys; from inbox_server.cli import main; main(); print('asyncpg' in sys.modules)"
    for command in ("inboxes", "invite", "doctor", "drain"):
        more = ("new",) if command == "invite" else ()
        arguments = (command, *more, "--config", str(place.folder / "config.toml"))
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
        assert done.stdout.splitlines()[-1:] == ["False"], done.stderr
    done = subprocess.run(
        [sys.executable, "-c", "import sys, inbox_server.serving; print('asyncpg' in sys.modules)"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
