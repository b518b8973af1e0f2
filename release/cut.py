"""`make cut VERSION=X.Y.Z`: the version, its section of the changelog, a commit and a tag. It publishes nothing."""

import argparse
import re
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from release import changelog
from release.version import PLACE, BadVersion, assign, assigned, git, is_newer

# In pages, the names of a release's files.
_FILES: Final = re.compile(r"\b(inbox_server-|inbox-server_|message-inbox-client-)\d+\.\d+\.\d+(?=[-.])")


def cut(repository: Path, version: str, day: date) -> None:
    """Commit and tag a version. Raises `BadVersion` or `BadChangelog`, and has then changed nothing."""
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", version):
        raise BadVersion(f'"{version}" is no version of three numbers, such as 0.2.0')
    if git(repository, "status", "--porcelain"):
        raise BadVersion("there are changes that are not committed: commit them, or put them away")
    code, changes = repository / PLACE, repository / "CHANGELOG.md"
    before = assigned(code.read_text())
    if not is_newer(version, before):
        raise BadVersion(f"{version} is not newer than {before}")
    if git(repository, "tag", "--list", f"v{version}"):
        raise BadVersion(f"there is a tag v{version} already")
    cut_changes = changelog.cut(changes.read_text(), version, day)
    changes.write_text(cut_changes)
    code.write_text(assign(code.read_text(), version))
    for name in git(repository, "ls-files", "*.md", ":!CHANGELOG.md").splitlines():
        page = repository / name
        page.write_text(_FILES.sub(rf"\g<1>{version}", page.read_text()))
    git(repository, "commit", "--quiet", "--all", "--message", f"release: {version}")
    git(repository, "tag", "--annotate", f"v{version}", "--message", f"inbox-server {version}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make cut", description=__doc__)
    parser.add_argument("version", metavar="VERSION")
    options = parser.parse_args()
    try:
        cut(Path(), options.version, datetime.now(UTC).date())
    except (BadVersion, changelog.BadChangelog) as error:
        parser.exit(2, f"make cut: {error}\n")
    sys.stdout.write(
        f"committed and tagged v{options.version}. Next: make release, then push the commit and the tag.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
