"""The `inbox-server` command: which commands there are, and how failures are reported."""

import argparse
import io
import logging
import os
import sys
from typing import Final

from inbox_server import __version__
from inbox_server.commands.backup import add_backup, add_restore
from inbox_server.commands.client import add_client
from inbox_server.commands.dev import add_demo, add_dev
from inbox_server.commands.doctor import add_doctor
from inbox_server.commands.init import add_init
from inbox_server.commands.invite import add_invites
from inbox_server.commands.ping import add_ping
from inbox_server.commands.serve import add_serve
from inbox_server.commands.terminal import USAGE_EXIT, complain
from inbox_server.config.config import BadConfig
from inbox_server.config.secret import BadSecret
from inbox_server.hardening import open_standard_streams
from inbox_server.http.listening import CannotListen
from inbox_server.store.contract import BadDatabase
from inbox_server.world.demo import DemoFailed
from inbox_server.world.local_world import PortsTaken

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
    except (BadDatabase, CannotListen, PortsTaken, DemoFailed, OSError) as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="inbox-server",
        description="A message-ID inbox server. It stores that Bob got something, and nothing else.",
        epilog="Try `inbox-server demo` first. To run your own: `inbox-server init`, then `inbox-server serve`.",
    )
    parser.add_argument("--version", action="version", version=f"inbox-server {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (
        add_demo,
        add_init,
        add_serve,
        add_invites,
        add_backup,
        add_restore,
        add_doctor,
        add_ping,
        add_dev,
        add_client,
    ):
        add(commands)
    return parser


def _quiet_libraries() -> None:
    """Our own log has event names and counts. Libraries' logs name clients, statements and tokens, so they are off."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    for name in ("aiohttp", "aiosqlite", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
