"""What docs/install.md tells an operator to do, as steps: commands to run, and keys to set in a file."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGES = sorted((Path(__file__).parents[2] / "docs").rglob("*.md"))
_PARTS = re.compile(r"In `(?P<file>/[^`]+)`, set:\n\n```toml\n(?P<keys>.*?)```|```sh\n(?P<commands>.*?)```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Commands:
    text: str


@dataclass(frozen=True, slots=True)
class Keys:
    file: Path
    lines: tuple[str, ...]

    def set_in(self, text: str) -> str:
        """The file with these keys, as a person would edit it: each in its place, even if it is a comment there."""
        section, edited, wanted = "", [], self._by_path()
        for line in text.splitlines():
            section = line if line.startswith("[") else section
            name = line.removeprefix("# ").partition(" = ")[0]
            edited.append(wanted.pop((section, name), line))
        assert not wanted, f"{self.file} has no {wanted}"
        return "\n".join(edited) + "\n"

    def _by_path(self) -> dict[tuple[str, str], str]:
        section, found = "", {}
        for line in self.lines:
            if line.startswith("["):
                section = line
            else:
                found[section, line.partition(" = ")[0]] = line
        return found


def marked(name: str) -> list[Commands | Keys]:
    """The steps between a page's markers `<!-- hosting: NAME -->` and `<!-- /hosting -->`."""
    for page in PAGES:
        match = re.search(rf"<!-- hosting: {name} -->\n(.*?)<!-- /hosting -->", page.read_text(), re.DOTALL)
        if match:
            return list(_steps(match[1]))
    raise AssertionError(f"no page has the marker <!-- hosting: {name} -->")


def _steps(text: str) -> Iterator[Commands | Keys]:
    for part in _PARTS.finditer(text):
        if part["commands"]:
            yield Commands(part["commands"])
        else:
            yield Keys(Path(part["file"]), tuple(part["keys"].splitlines()))
