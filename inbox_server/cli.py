"""The `inbox-server` command: which commands there are, and how failures are reported."""

import argparse
import io
import logging
import os
import sys
from typing import Final, NoReturn

from inbox_server import __version__
from inbox_server.commands.client import add_client
from inbox_server.commands.conformance import add_conformance
from inbox_server.commands.ping import add_ping
from inbox_server.commands.terminal import USAGE_EXIT, complain
from inbox_server.config.config import BadConfig
from inbox_server.config.secret import BadSecret
from inbox_server.hardening import open_standard_streams

_SERVER_LIBRARIES: Final = frozenset({"aiosqlite", "http_ece", "prometheus_client"})

try:
    from inbox_server.commands.server_commands import COMMANDS, FAILURES
except ModuleNotFoundError as lacking:
    if lacking.name not in _SERVER_LIBRARIES:
        raise
    COMMANDS, FAILURES = (), ()  # type: ignore[assignment]  # a client's installation, without the extra `server`

_PIPE_EXIT: Final = 141  # like a program that SIGPIPE ended


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 failed, 2 usage error (arguments or configuration)."""
    open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an ASCII-only terminal still gets the rest
    options = _parser().parse_args(arguments)
    _quiet_libraries()
    try:
        exit_code: int = options.run(options)
    except (BadConfig, BadSecret) as error:
        complain(str(error))
        return USAGE_EXIT
    except BrokenPipeError:  # the reader of our output has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains about the rest at exit
        return _PIPE_EXIT
    except (*FAILURES, OSError) as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return exit_code


class _ClientParser(argparse.ArgumentParser):
    """Where only the client is installed: says so to whoever asks for more."""

    def error(self, message: str) -> NoReturn:
        super().error(
            f"{message}\nOnly the client is installed here, so `client`, `ping` and `conformance` are all that there"
            " is. For the other commands, install inbox-server again, with [server] after the name or the file."
        )


def _parser() -> argparse.ArgumentParser:
    parser = (argparse.ArgumentParser if COMMANDS else _ClientParser)(
        prog="inbox-server",
        description="A message-ID inbox server. It stores that Bob got something, and nothing else.",
        epilog="Try `inbox-server demo` first. To run your own: `inbox-server init`, then `inbox-server serve`.",
    )
    parser.add_argument("--version", action="version", version=f"inbox-server {__version__}")
    parser_class = argparse.ArgumentParser  # not the class of this one: what it says is of the whole command
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=parser_class)
    for add in (*COMMANDS, add_ping, add_conformance, add_client):
        add(commands)
    return parser


def _quiet_libraries() -> None:
    """Our own log has event names and counts. Libraries' logs name clients, statements and tokens, so they are off."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    for name in ("aiohttp", "aiosqlite", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
