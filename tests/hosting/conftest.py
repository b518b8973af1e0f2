"""What every path needs: the files of a release, a fresh machine, and the local world beside it."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from release.build import build
from release.version import of_commit
from tests.hosting.machine import Machine, make_base, output, own_network
from tests.support.javascript import missing

ROOT = Path(__file__).parents[2]
_PROGRAMS = (
    "apt-get",
    "debootstrap",
    "dh",
    "dpkg-buildpackage",
    "ip",
    "lintian",
    "nsenter",
    "podman",
    "runc",
    "systemd-nspawn",
)


@pytest.fixture(scope="session", autouse=True)
def _able() -> None:
    if os.geteuid() != 0 or not Path("/etc/debian_version").exists():
        pytest.skip("only root can make machines, and only Debian has what they are made with")
    lacking = [
        program for program in _PROGRAMS if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None
    ]
    if lacking:
        missing(f"{', '.join(lacking)} cannot be found: .ci/run has the list of packages, which is Debian's")


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release of this commit: what `make release` left in dist/, or else built now."""
    made = ROOT / "dist"
    if list(made.glob(f"inbox_server-{of_commit(ROOT).python}-*.whl")):
        return made
    built = tmp_path_factory.mktemp("dist")
    build(ROOT, built, tmp_path_factory.mktemp("release"))
    return built


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("base") / "root"
    make_base(base)
    return base


@pytest.fixture
def machine(base: Path, dist: Path, tmp_path: Path) -> Iterator[Machine]:
    """A fresh machine with the files of the release in root's home, where the operator put them, not yet booted."""
    with fresh_root(base, tmp_path) as root:
        for path in dist.iterdir():
            shutil.copy(path, root / "root")
        machine = Machine(root)
        with own_network(machine), world(machine.network):
            yield machine


@contextlib.contextmanager
def fresh_root(base: Path, folder: Path) -> Iterator[Path]:
    """A root file system that is `base`, and keeps its changes to itself."""
    root, changes, work = folder / "root", folder / "changes", folder / "work"
    for each in (root, changes, work):
        each.mkdir()
    layers = f"lowerdir={base},upperdir={changes},workdir={work}"
    output("mount", "-t", "overlay", "overlay", "-o", layers, root)
    try:
        yield root
    finally:
        output("umount", root)
        shutil.rmtree(changes)


@contextlib.contextmanager
def world(network: str) -> Iterator[None]:
    """The local world in the machine's network: it stands for the internet's name service."""
    command = ("ip", "netns", "exec", network, sys.executable, "-m", "inbox_server", "dev")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout
            assert any("8721" in line for line in process.stdout)
            yield
        finally:
            process.terminate()
