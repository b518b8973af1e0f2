"""The manual page, inbox-server(1): what `--help` says of every command, one after the other.

`python -m release.manual > inbox-server.1` writes it; the Debian package has it.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Final

from inbox_server import __version__
from inbox_server.cli import make_parser
from inbox_server.commands.exit_codes import EXIT_CODES

_WIDTH: Final = "78"  # of what argparse breaks into lines: a terminal of 80 columns shows it whole


def manual(day: date) -> str:
    """The page in roff (man(7))."""
    os.environ["COLUMNS"] = _WIDTH  # argparse has no other way
    parser = make_parser()
    lines = [
        f'.TH INBOX-SERVER 1 "{day}" "inbox-server {__version__}" "User Commands"',
        *(".SH NAME", f"inbox\\-server \\- {_escaped('message-ID inbox server, and its client')}"),
        *(".SH DESCRIPTION", _escaped(parser.description or ""), ".PP", _escaped(parser.epilog or "")),
        ".SH COMMANDS",
    ]
    for command in _commands(parser):
        lines += [f".SS {_escaped(command.prog)}", ".nf", _escaped(command.format_help().rstrip()), ".fi"]
    lines += [".SH EXIT STATUS"]
    for code, meaning in EXIT_CODES.items():
        lines += [".TP", str(code), _escaped(meaning)]
    lines += [
        ".SH SEE ALSO",
        _escaped("The pages of the project's docs folder: begin with operations.md or client.md."),
    ]
    return "\n".join(lines) + "\n"


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of all commands below this one, each before its own."""
    for action in parser._actions:  # noqa: SLF001 — argparse has no other way
        for command in action.choices.values() if isinstance(action.choices, dict) else ():
            yield command
            yield from _commands(command)


def _escaped(text: str) -> str:
    """Text in which roff sees no commands."""
    text = text.replace("\\", "\\\\").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return "\n".join(f"\\&{line}" if line.startswith(".") else line for line in text.splitlines())


def main() -> int:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    sys.stdout.write(manual(now.date()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
