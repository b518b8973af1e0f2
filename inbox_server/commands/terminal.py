"""What commands share: arguments, the event loop, and output for people."""

import argparse
import asyncio
import os
import re
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from inbox_server.commands import exit_codes
from inbox_server.config.config import BadConfig
from inbox_server.config.secret import BadSecret
from inbox_server.errors import CommandFailed
from inbox_server.identity.names import NotAnIdentity, is_origin, parse_name

try:
    from uvloop import new_event_loop  # answers about a third more requests
except ImportError:  # not on every platform
    from asyncio import new_event_loop  # type: ignore[assignment]

Commands = Any  # argparse's type for subcommands has no public name

_DEFAULT_CONFIG: Final = Path("config.toml")
# What a terminal obeys, and what reverses the direction of text. Other invisible characters belong to scripts and
# emoji, such as the joiners U+200C and U+200D. Halves of surrogate pairs are no characters at all.
_OBEYED: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ud800-\udfff]")


def add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config", metavar="FILE", type=Path, default=_DEFAULT_CONFIG, help="the configuration (default: config.toml)"
    )


def whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def bns_name(text: str) -> str:
    try:
        return parse_name(text).text
    except NotAnIdentity as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def app_origin(text: str) -> str:
    if not is_origin(text):
        raise argparse.ArgumentTypeError("must be an origin such as https://chat.example, without a slash at the end")
    return text


def run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(work)


def reporting_failures(work: Callable[[], int]) -> int:
    """The exit code that `work` returns; or that of its failure, which a person is told of."""
    try:
        return work()
    except (BadConfig, BadSecret) as error:
        complain(str(error))
        return exit_codes.USAGE
    except BrokenPipeError:  # the reader of our output has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains about the rest at exit
        return exit_codes.PIPE
    except (CommandFailed, OSError) as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED


def tell(text: str) -> None:
    print(f"{text}\n", end="", flush=True)  # in one write, or lines of several processes mix where nothing is buffered


def complain(text: str) -> None:
    print(f"{text}\n", end="", file=sys.stderr, flush=True)


def counted(number: int, one: str, many: str) -> str:
    """`1 inbox`, `2 inboxes`."""
    return f"{number} {one if number == 1 else many}"


def printable(text: str) -> str:
    """Strangers' text without anything that a terminal would obey: control characters are shown as `\\x1b`."""
    return _OBEYED.sub(lambda found: repr(found[0])[1:-1], text)


def marked(text: str) -> str:
    """Strangers' text after our own: each further line gets a mark, so that none can be taken for ours."""
    return text.replace("\n", "\n   | ")
