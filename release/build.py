"""`make release`: everything that is released, in dist/, from the commit that is checked out.

Two builds of one commit are equal byte for byte: `make reproducible` compares them.
"""

import argparse
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from release.changelog import BadChangelog
from release.debian_package import build_debian_package
from release.programs import Failed, run
from release.sbom import client_bill, server_bill
from release.version import PLACE, BadVersion, Version, assign, git, of_commit

_PAGE: Final = "inbox_server/world/page/inbox-client.js"
SUMS: Final = "SHA256SUMS"


def build(repository: Path, target: Path, work: Path) -> Version:
    """Build everything in `work`, an empty folder, and put it into `target`. Raises `Failed`, `BadVersion` …"""
    version = of_commit(repository)
    tree = _unpack(repository, work / "tree", version)
    (work / "out").mkdir()
    client = tree / "clients" / "js"
    run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=client, epoch=version.epoch)
    run("npm", "run", "build", folder=client, epoch=version.epoch)
    shutil.copy(client / "dist" / "inbox-client.js", tree / _PAGE)
    run("npm", "pack", "--ignore-scripts", f"--pack-destination={work / 'out'}", folder=client, epoch=version.epoch)
    client_bill(client, work / "out" / f"message-inbox-client-{version.npm}.cdx.json", version)
    run(
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        work / "out",
        tree,
        folder=tree,
        epoch=version.epoch,
    )
    (wheel,) = (work / "out").glob("*.whl")
    (work / "deb").mkdir()
    package, python = build_debian_package(tree, wheel, work / "deb", version)
    shutil.copy(package, work / "out" / package.name)
    shutil.copy(tree / "Containerfile", work / "out")  # it needs the package beside it, and nothing else
    server_bill(tree, python, work / "out" / f"inbox-server-{version.python}.cdx.json", version)
    _write_sums(work / "out")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(work / "out", target)
    return version


def _unpack(repository: Path, tree: Path, version: Version) -> Path:
    """The commit's files and nothing else, with the version in them."""
    tree.mkdir()
    archive = subprocess.run(["git", "-C", repository, "archive", "HEAD"], check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(tree, filter="data")
    code, package = tree / PLACE, tree / "clients" / "js" / "package.json"
    code.write_text(assign(code.read_text(), version.python))
    package.write_text(json.dumps({**json.loads(package.read_text()), "version": version.npm}, indent=2) + "\n")
    return tree


def _write_sums(folder: Path) -> None:
    """As `sha256sum --check` reads them."""
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / SUMS).write_text("".join(sums))


def main() -> int:
    parser = argparse.ArgumentParser(prog="make release", description=__doc__)
    parser.add_argument("target", type=Path, nargs="?", default=Path("dist"))
    options = parser.parse_args()
    if git(Path(), "status", "--porcelain"):
        sys.stderr.write("warning: what is not committed is not in it\n")
    try:
        with tempfile.TemporaryDirectory(prefix="inbox-release-") as work:
            version = build(Path(), options.target, Path(work))
    except (BadVersion, BadChangelog, Failed, FileNotFoundError) as error:
        parser.exit(1, f"make release: {error}\n")
    what = "release" if not version.after else "no release, but a build to try"
    sys.stdout.write(f"{options.target}: {version.python} ({what})\n{(options.target / SUMS).read_text()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
