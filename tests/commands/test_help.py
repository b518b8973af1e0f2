"""What the command says of itself: versions, completion, the manual page, exit codes."""

import argparse
import re
import shutil
import subprocess
from collections.abc import Collection
from datetime import date
from pathlib import Path

import pytest

from inbox_server import __version__
from inbox_server.cli import make_parser
from inbox_server.commands.exit_codes import EXIT_CODES
from release.manual import manual
from tests.test_docs import table_in

ROOT = Path(__file__).parents[2]


def _names_of(parser: argparse.ArgumentParser, *, below: Collection[str] = ()) -> list[str]:
    """The commands; of those in `below`, the commands below them instead."""
    (commands,) = (action for action in parser._actions if isinstance(action.choices, dict))  # noqa: SLF001
    choices = commands.choices
    assert isinstance(choices, dict)
    of = {name: [f"{name} {each}" for each in _names_of(choices[name])] for name in below}
    return [each for name in choices for each in of.get(name, [name])]


def test_the_versions_name_what_it_stands_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        make_parser().parse_args(["--version"])
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == f"inbox-server {__version__}"
    for name in ("Python", "SQLite", "OpenSSL", "aiohttp", "coincurve"):
        assert re.search(rf"{name} \d+\.\d+", "\n".join(rest)), name


def _completed(line: str, script: Path, folder: Path) -> list[str]:
    """What bash offers at the end of the line."""
    ask = """
    source "$1"; read -ra COMP_WORDS <<< "$2"; [[ $2 == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    $(complete -p inbox-server | sed 's/.*-F \\([^ ]*\\).*/\\1/') inbox-server; printf '%s\n' "${COMPREPLY[@]}"
    """
    command = ["bash", "-c", ask, "bash", str(script), line]
    return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("inbox-server inv", ["invite"]),
        ("inbox-server client wa", ["watch"]),
        ("inbox-server invite re", ["revoke"]),
        ("inbox-server init --pro", ["--proxy"]),
        ("inbox-server init --proxy ", ["nginx", "caddy", "none"]),
        ("inbox-server serve --config conf", ["config.toml"]),
    ],
)
def test_a_shell_completes_commands_options_and_files(
    tmp_path: Path, line: str, offered: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if not shutil.which("bash"):
        pytest.skip("no bash here")
    with pytest.raises(SystemExit, match="0"):
        make_parser().parse_args(["--print-completion", "bash"])
    script = tmp_path / "completion"
    script.write_text(capsys.readouterr().out)
    (tmp_path / "config.toml").touch()
    assert _completed(line, script, tmp_path) == offered


def test_the_manual_page_has_every_command_and_exit_code() -> None:
    page = manual(date(2026, 11, 28))
    for name in (*_names_of(make_parser()), "invite new", "client send"):
        assert f".SS inbox-server {name}\n".replace("-", "\\-") in page
    for code in EXIT_CODES:
        assert f".TP\n{code}\n" in page
    assert '.TH INBOX-SERVER 1 "2026-11-28"' in page
    if man := shutil.which("mandoc") or shutil.which("groff"):
        check = ["-T", "lint", "-W", "error"] if "mandoc" in man else ["-man", "-ww", "-z", "-Tutf8"]
        said = subprocess.run([man, *check], input=page, capture_output=True, text=True, check=False)
        assert (said.returncode, said.stderr) == (0, "")


def test_the_commands_page_has_every_command_and_exit_code() -> None:
    listed = [name for row in table_in("docs/commands.md", "commands") for name in re.findall("`([^`]+)`", row[0])]
    assert sorted(listed) == sorted(_names_of(make_parser(), below=["invite", "shard"]))
    rows = [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    assert "\n".join(["| exit code | means |", "|---|---|", *rows]) in (ROOT / "docs" / "commands.md").read_text()
