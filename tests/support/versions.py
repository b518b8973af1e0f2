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


def before_the_newest_step(folder: Path) -> Version:
    """The commit before the one that brought the newest step of PostgreSQL's schema; skips without the history."""
    newest = max((ROOT / SCHEMA).glob("*.sql")).relative_to(ROOT)
    added = (
        shutil.which("git")
        and subprocess.run(
            ["git", "log", "--diff-filter=A", "--format=%H %P", "--", newest],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
    )
    if not added or len(added) != 2:  # a commit and its only parent
        pytest.skip("the history of this folder is not here: it is no clone, or a shallow one")
    return Version(base_build(added[1], folder).root)
