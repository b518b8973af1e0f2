"""The `inbox-server` command: which commands there are, and how failures are reported."""

import argparse
import io
import logging
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NoReturn

import shtab

from inbox_server.commands.loading import HAS_SERVER, adders, names_for
from inbox_server.commands.terminal import reporting_failures
from inbox_server.commands.versions import ShowVersions
from inbox_server.hardening import open_standard_streams

_LIKE_AN_OPTION: Final = re.compile(r"-[a-z]?|--[a-z]*(-[a-z]+)*(=.*)?")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code (`commands/exit_codes.py`)."""
    open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an ASCII-only terminal still gets the rest
    arguments = _with_codes(sys.argv[1:] if arguments is None else arguments)
    return reporting_failures(lambda: _run(arguments))


def _run(arguments: list[str]) -> int:
    options = make_parser(names_for(arguments)).parse_args(arguments)  # which may print, and be the end of it
    _quiet_libraries()
    exit_code: int = options.run(options)
    return exit_code


def _with_codes(arguments: list[str]) -> list[str]:
    """`--invite CODE` as `--invite=CODE`, or argparse would take a code that begins with `-` for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined[-1:] == ["--invite"] and argument.startswith("-") and not _LIKE_AN_OPTION.fullmatch(argument):
            joined[-1] = f"--invite={argument}"
        else:
            joined.append(argument)
    return joined


class _ClientParser(argparse.ArgumentParser):
    """Where only the client is installed: says so to whoever asks for more."""

    def error(self, message: str) -> NoReturn:
        super().error(
            f"{message}\nOnly the client is installed here, so `client`, `ping` and `conformance` are all that there"
            " is. For the other commands, install inbox-server again, with [server] after the name or the file."
        )


def make_parser(names: Iterable[str] | None = None) -> argparse.ArgumentParser:
    """The parser of these commands; without them, of all."""
    parser = (argparse.ArgumentParser if HAS_SERVER else _ClientParser)(
        prog="inbox-server",
        description="A message-ID inbox server. It stores that Bob got something, and nothing else.",
        epilog="Try `inbox-server demo` first. To run your own: `inbox-server init`, then `inbox-server serve`.",
    )
    parser.add_argument(
        "--version", action=ShowVersions, help="show the version, and those of Python, SQLite and the libraries"
    )
    shtab.add_argument_to(parser, "--print-completion", help="print a shell's completion script, for you to install")
    parser_class = argparse.ArgumentParser  # not the class of this one: what it says is of the whole command
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=parser_class)
    for add in adders(names_for(()) if names is None else names):
        add(commands)
    _complete_files(parser)
    return parser


def _complete_files(parser: argparse.ArgumentParser) -> None:
    """Let shells offer files where an argument is one, in this command and those below it."""
    for action in parser._actions:  # noqa: SLF001 — as shtab itself reads them; argparse has no other way
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        for below in action.choices.values() if isinstance(action.choices, dict) else ():
            _complete_files(below)


def _quiet_libraries() -> None:
    """Our own log has event names and counts. Libraries' logs name clients, statements and tokens, so they are off."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    for name in ("aiohttp", "aiosqlite", "asyncio", "asyncpg"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
