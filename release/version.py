"""What a build calls itself: at a tag the version; elsewhere the version, a count of commits, and the commit."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release.changelog import notes

PLACE: Final = "inbox_server/__init__.py"
_ASSIGNED: Final = re.compile(r'^__version__ = "(\d+\.\d+\.\d+)"$', re.MULTILINE)


class BadVersion(Exception):
    """Nothing can be released under this version; the message says why."""


@dataclass(frozen=True, slots=True)
class Version:
    """The version in `PLACE`; which commit this is, if it is no release; and its time, which files in archives get."""

    base: str
    after: str
    epoch: int

    @property
    def python(self) -> str:
        """As PEP 440 has it, and Debian: after the base, and before the next."""
        return f"{self.base}+{self.after}" if self.after else self.base

    @property
    def npm(self) -> str:
        """As npm has it, where what follows a plus is dropped: before the base, unless that is asked for by name."""
        return f"{self.base}-after.{self.after}" if self.after else self.base


def assigned(text: str) -> str:
    """The version that `PLACE` assigns, as X.Y.Z. Raises `BadVersion`."""
    match = _ASSIGNED.search(text)
    if match is None:
        raise BadVersion(f"{PLACE} assigns no __version__ of three numbers")
    return match[1]


def assign(text: str, version: str) -> str:
    return _ASSIGNED.sub(f'__version__ = "{version}"', text)


def is_newer(version: str, other: str) -> bool:
    return [int(part) for part in version.split(".")] > [int(part) for part in other.split(".")]


def of_commit(repository: Path) -> Version:
    """The version of what is checked out. Raises `BadVersion` or `BadChangelog` for a tag that does not fit it."""
    base = assigned(git(repository, "show", f"HEAD:{PLACE}"))
    tags = git(repository, "tag", "--points-at", "HEAD", "--list", "v*").split()
    epoch = int(git(repository, "log", "-1", "--format=%ct"))
    if not tags:
        count, commit = (
            git(repository, "rev-list", "--count", "HEAD"),
            git(repository, "rev-parse", "--short=8", "HEAD"),
        )
        return Version(base, f"{count.strip()}.g{commit.strip()}", epoch)
    if tags != [f"v{base}"]:
        raise BadVersion(
            f"the tag is {' and '.join(tags)}, but {PLACE} says {base}: tag the commit that `make cut` made"
        )
    notes(git(repository, "show", "HEAD:CHANGELOG.md"), base)
    return Version(base, "", epoch)


def git(repository: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", repository, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout
