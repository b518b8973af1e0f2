"""Other versions of the program, laid out beside this one, and run with our libraries."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from benchmarks.builds import ROOT, base_build

SCHEMA: Final = Path("inbox_server", "store", "postgres", "schema")


@dataclass(frozen=True, slots=True)
class Version:
    """A folder that holds `inbox_server`."""

    root: Path

    @property
    def under(self) -> tuple[str, ...]:
        """What runs a command with this version of the program."""
        return "env", "PYTHONSAFEPATH=1", f"PYTHONPATH={self.root}"

    @property
    def steps(self) -> int:
        """How many steps its schema of PostgreSQL has."""
        return len(list((self.root / SCHEMA).glob("*.sql")))

    def add_step(self, sql: str) -> None:
        (self.root / SCHEMA / f"{self.steps + 1:04}_of_a_test.sql").write_text(sql)


THIS: Final = Version(ROOT)


def copy_of_this(folder: Path) -> Version:
    """This version, whose files a test may change."""
    there = folder / "copy"
    shutil.copytree(ROOT / "inbox_server", there / "inbox_server", ignore=shutil.ignore_patterns("__pycache__"))
    return Version(there)


def last_release(folder: Path) -> Version:
    """The newest one before this commit; skips if that has no PostgreSQL, or without the history."""
    if not shutil.which("git"):
        pytest.skip("there is no git here")
    said = _git("describe", "--tags", "--abbrev=0", "--match=v*")
    if said.returncode:
        pytest.skip("the history of this folder is not here: it is no clone, or a shallow one")
    tag = said.stdout.strip()
    if not _git("ls-tree", tag, f"{SCHEMA}/").stdout:
        pytest.skip(f"the last release, {tag}, does not know PostgreSQL")
    return Version(base_build(tag, folder).root)


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
