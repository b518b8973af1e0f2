"""`inbox-server init` on a terminal asks for what was left out."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from inbox_server.config.file import load_config

URL = "https://inbox.example"
CTRL_D = "\x04"


def _typing(text: str, *arguments: str) -> tuple[int, str]:
    """The exit code, and all that stands on the terminal at the end."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "inbox_server", "init", *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        os.write(ours, text.encode())
        seen = b""
        while True:
            try:
                read = os.read(ours, 4096)
            except OSError:  # the program has ended
                break
            if not read:
                break
            seen += read
    os.close(ours)
    return process.returncode, seen.decode()


def test_three_answers_make_a_deployment(tmp_path: Path) -> None:
    code, seen = _typing(f"{URL}\nbob.id, carol.id\ncaddy\n", str(tmp_path / "new"))
    assert code == 0, seen
    config = load_config(tmp_path / "new" / "config.toml")
    assert (config.public_url, config.registration, len(config.listed)) == (URL, "listed", 2)
    assert (tmp_path / "new" / "Caddyfile").read_text().count("inbox.example") == 1


def test_an_answer_that_cannot_be_used_is_asked_for_again(tmp_path: Path) -> None:
    code, seen = _typing(f"inbox.example\n\n{URL}\nBOB?\ninvite\napache\n\n", str(tmp_path / "new"))
    assert code == 0, seen
    config = load_config(tmp_path / "new" / "config.toml")
    assert (config.public_url, config.registration, config.proxy_header) == (URL, "invite", "")
    assert "inbox.example: must be an origin" in seen
    assert "the URL: must be an origin" in seen
    assert "BOB?: is neither a name" in seen
    assert "apache: is not one of nginx, caddy and none" in seen


def test_what_was_given_is_not_asked(tmp_path: Path) -> None:
    code, seen = _typing("", str(tmp_path / "new"), "--url", URL, "--registration", "open", "--proxy", "none")
    assert (code, "?" in seen, "[" in seen) == (0, False, False), seen


@pytest.mark.parametrize("answers", ["", f"{URL}\n", f"{URL}\nbob.id\n"])
def test_who_has_no_answer_gets_no_files(tmp_path: Path, answers: str) -> None:
    code, seen = _typing(answers + CTRL_D, str(tmp_path / "new"))
    assert (code, "nothing was written" in seen) == (1, True), seen
    assert not (tmp_path / "new").exists()
