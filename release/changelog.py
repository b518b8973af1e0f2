"""CHANGELOG.md: what is not released yet, and a section for each version, with its day."""

import re
from datetime import date
from typing import Final

UNRELEASED: Final = "Unreleased"
_HEADING: Final = re.compile(r"^## (.+)\n", re.MULTILINE)


class BadChangelog(Exception):
    """CHANGELOG.md does not allow this; the message says why."""


def sections(text: str) -> dict[str, str]:
    """Each heading's first word (`Unreleased` or a version), and the lines below it."""
    _, *parts = _HEADING.split(text)
    return {heading.split()[0]: lines.strip() for heading, lines in zip(parts[::2], parts[1::2], strict=True)}


def cut(text: str, version: str, day: date) -> str:
    """The changelog with everything unreleased below the version's heading. Raises `BadChangelog`."""
    known = sections(text)
    if version in known:
        raise BadChangelog(f"CHANGELOG.md has a section {version} already")
    if not known.get(UNRELEASED):
        raise BadChangelog("CHANGELOG.md has nothing under Unreleased: there is nothing to release")
    return text.replace(f"## {UNRELEASED}\n", f"## {UNRELEASED}\n\n## {version} ({day})\n", 1)


def notes(text: str, version: str) -> str:
    """What a version's section says. Raises `BadChangelog`."""
    found = sections(text).get(version)
    if not found:
        raise BadChangelog(f"CHANGELOG.md has no section {version}, or nothing in it: `make cut VERSION={version}`")
    return found
