"""The builds that are measured: the files beside this one, and with `--base` an older commit, laid out in a folder."""

import os
import subprocess
import sys
import tarfile
import tomllib
import venv
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
_ARCHIVED: Final = ("inbox_server", "pyproject.toml")


class NoSuchBuild(Exception):
    """The commit cannot be laid out; the message says why."""


@dataclass(frozen=True, slots=True)
class Build:
    """A state of the program: the folder that holds `inbox_server`, and the Python that has its libraries."""

    commit: str
    root: Path = ROOT
    python: str = sys.executable

    def command(self, *arguments: str) -> list[str]:
        """A module and its arguments, to be run with `environment`."""
        return [self.python, "-P", "-m", *arguments]

    def environment(self, *beside: Path) -> dict[str, str]:
        """One in which `inbox_server` is this build's; modules that it does not have come from `beside`."""
        return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (self.root, *beside)))}


def this_build() -> Build:
    """With a + after the commit when the files differ from it."""
    said = _git("describe", "--always", "--dirty=+", "--exclude=*")
    return Build(said.stdout.decode().strip() or "none")


def base_build(commit: str, folder: Path) -> Build:
    """Lay out `commit` in `folder`. It shares our libraries, or gets its own if it asks for any that we do not.

    Raises `NoSuchBuild`.
    """
    said = _git("rev-parse", "--verify", "--short", f"{commit}^{{commit}}")
    if said.returncode:
        raise NoSuchBuild(f"there is no commit called {commit} in this repository")
    short, root = said.stdout.decode().strip(), folder / "base"
    archive = _git("archive", "--format=tar", short, *_ARCHIVED)
    if archive.returncode:
        raise NoSuchBuild(f"{short} cannot be laid out: {archive.stderr.decode().strip()}")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(root, filter="data")
    asked = _dependencies(root)
    build = Build(short, root, sys.executable if asked <= _dependencies(ROOT) else _python_with(asked, folder / "venv"))
    _check(build)
    return build


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)  # noqa: S603, S607


def _dependencies(root: Path) -> set[str]:
    """What a server needs; since there is an extra of that name, it has the larger part of them."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return {*project["dependencies"], *project.get("optional-dependencies", {}).get("server", [])}


def _python_with(libraries: set[str], folder: Path) -> str:
    print("   the base asks for other libraries: they are installed for it", flush=True)
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *sorted(libraries)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if said.returncode:
        raise NoSuchBuild(f"the libraries of the base cannot be installed: {said.stderr}")
    return python


def _check(build: Build) -> None:
    """That its Python really finds this build, and not the one that is installed."""
    command = [build.python, "-P", "-c", "import inbox_server; print(inbox_server.__file__)"]
    found = subprocess.run(command, env=build.environment(), stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603
    if not Path(found.strip()).is_relative_to(build.root):
        raise NoSuchBuild(f"{build.commit} would be measured with the files of {found.strip()}")
