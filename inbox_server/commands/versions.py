"""`inbox-server --version`: what to say when something is reported."""

import argparse
import platform
import sqlite3
import ssl
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from inbox_server import __version__
from inbox_server.commands.terminal import tell

_LIBRARIES: Final = ("aiohttp", "aiosqlite", "asyncpg", "coincurve", "cryptography", "pyjwt", "uvloop")


class ShowVersions(argparse.Action):
    """Prints the versions, and ends the program. They are looked up only then."""

    def __init__(self, option_strings: list[str], dest: str, **more: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **more)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        tell(versions_text())
        parser.exit()


def versions_text() -> str:
    """A line for the program, and one for each thing that it stands on."""
    lines = [
        f"inbox-server {__version__}",
        f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}",
        f"SQLite {sqlite3.sqlite_version}, {ssl.OPENSSL_VERSION}",
        ", ".join(_libraries()),
    ]
    return "\n".join(lines)


def _libraries() -> list[str]:
    found = []
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:  # a client's installation lacks some
            continue
    return found
