"""`make cut`, and the version of a commit: in a repository of their own."""

import re
import subprocess
import tomllib
from datetime import date
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from release.changelog import BadChangelog, notes
from release.cut import cut
from release.version import BadVersion, git, of_commit

ROOT = Path(__file__).parents[2]
DAY = date(2026, 11, 28)
CHANGELOG = "# Changelog\n\n## Unreleased\n\n* A thing.\n* Another.\n\n## 0.1.0 (2026-01-01)\n\n* The first.\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "inbox_server").mkdir()
    (tmp_path / "inbox_server" / "__init__.py").write_text('"""A server."""\n\n__version__ = "0.1.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    git(tmp_path, "config", "user.name", "A")
    git(tmp_path, "config", "user.email", "a@example.org")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "begin")
    return tmp_path


def commit(repository: Path, **files: str) -> None:
    for name, text in files.items():
        (repository / f"{name}.md").write_text(text)
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message", "change")


def test_a_version_that_is_cut_is_the_version_of_its_commit(repository: Path) -> None:
    cut(repository, "0.2.0", DAY)
    version = of_commit(repository)
    assert (version.python, version.npm) == ("0.2.0", "0.2.0")
    assert git(repository, "status", "--porcelain") == ""
    text = (repository / "CHANGELOG.md").read_text()
    assert notes(text, "0.2.0") == "* A thing.\n* Another."
    assert "## Unreleased\n\n## 0.2.0 (2026-11-28)\n\n* A thing." in text


def test_pages_name_the_files_of_the_version_that_is_cut(repository: Path) -> None:
    names = "inbox_server-{0}-py3-none-any.whl inbox-server_{0}-1_amd64.deb message-inbox-client-{0}.tgz, since {1}\n"
    commit(repository, page=names.format("0.1.0", "0.1.0"))
    cut(repository, "0.2.0", DAY)
    assert (repository / "page.md").read_text() == names.format("0.2.0", "0.1.0")


def test_any_other_commit_has_a_version_that_names_it(repository: Path) -> None:
    cut(repository, "0.2.0", DAY)
    commit(repository, more="more")
    short = git(repository, "rev-parse", "--short=8", "HEAD").strip()
    version = of_commit(repository)
    assert (version.python, version.npm) == (f"0.2.0+3.g{short}", f"0.2.0-after.3.g{short}")


def test_nothing_unreleased_is_not_released(repository: Path) -> None:
    cut(repository, "0.2.0", DAY)
    with pytest.raises(BadChangelog, match="nothing under Unreleased"):
        cut(repository, "0.3.0", DAY)
    assert git(repository, "status", "--porcelain") == ""


def test_a_tag_whose_version_has_no_section_is_not_released(repository: Path) -> None:
    commit(repository, CHANGELOG="# Changelog\n\n## Unreleased\n\n* A thing.\n\n## 0.1.0 (2026-01-01)\n")
    git(repository, "tag", "v0.1.0")
    with pytest.raises(BadChangelog, match=r"no section 0\.1\.0, or nothing in it"):
        of_commit(repository)


def test_a_tag_that_is_not_the_version_is_not_released(repository: Path) -> None:
    git(repository, "tag", "v0.2.0")
    with pytest.raises(BadVersion, match=r"v0\.2\.0, but .* says 0\.1\.0"):
        of_commit(repository)


@pytest.mark.parametrize("version", ["0.1.0", "0.0.9", "0.2", "v0.2.0", "0.2.0rc1", "0.02.0", ""])
def test_a_version_that_is_none_or_not_newer_is_not_cut(repository: Path, version: str) -> None:
    with pytest.raises(BadVersion):
        cut(repository, version, DAY)
    assert git(repository, "rev-list", "--count", "HEAD").strip() == "1"


def test_a_version_is_not_cut_over_changes_that_are_not_committed(repository: Path) -> None:
    (repository / "CHANGELOG.md").write_text(CHANGELOG + "* Mine.\n")
    with pytest.raises(BadVersion, match="not committed"):
        cut(repository, "0.2.0", DAY)


def test_the_version_is_in_one_place() -> None:
    for name in ("package.json", "package-lock.json"):
        assert '"version": "0.0.0"' in (ROOT / "clients" / "js" / name).read_text(), "make release sets it"


def test_what_is_released_has_libraries_that_the_package_accepts() -> None:
    lines = (ROOT / "release" / "libraries.txt").read_text()
    pinned = dict(re.findall(r"^([a-z0-9-]+)==([\w.]+)", lines, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *extras["server"], *extras["postgres"]]:
        wanted = Requirement(text)
        assert wanted.name in pinned, f"{text} is new: run `make lock`"
        assert pinned[wanted.name] in wanted.specifier, f"{text}: run `make lock`"
