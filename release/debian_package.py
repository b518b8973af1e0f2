"""The Debian package: the server and its libraries in /usr/lib/inbox-server, and what release/debian adds.

It is for the release of Debian and the processor on which it is built, because some libraries are compiled.
"""

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from release.programs import run
from release.version import Version

HOME: Final = "usr/lib/inbox-server"
_SYSTEM_PYTHON: Final = Path("/usr/bin/python3")
_VERSION_OF: Final = "import sys; print('{}.{}'.format(*sys.version_info))"
_COMPLETIONS: Final = {
    "bash": "usr/share/bash-completion/completions/inbox-server",
    "zsh": "usr/share/zsh/vendor-completions/_inbox-server",
}
_CONFIG: Final = """
from inbox_server.config.file import render_config
path = '"/var/lib/inbox-server"'
print(render_config({"server.data_dir": path}, leave_out=frozenset({"server.public_url"})), end="")
"""
_COMMAND: Final = """\
#!/usr/lib/inbox-server/bin/python3 -I
import sys

from inbox_server.cli import main

sys.exit(main())
"""


def build_debian_package(tree: Path, wheel: Path, work: Path, version: Version) -> tuple[Path, Path]:
    """The package, and the Python that sees what is in it."""
    python = run(_SYSTEM_PYTHON, "-c", _VERSION_OF, folder=work, epoch=version.epoch).strip()
    root = work / "root"
    _install(root / HOME, python, wheel, tree, version)
    _write_config(root, version)
    _write_help(root, work, version)
    shutil.copytree(tree / "release" / "debian", work / "debian")
    for unit in (tree / "systemd").iterdir():
        shutil.copy(unit, work / "debian" / unit.name)
    for name in ("CHANGELOG.md", "README.md", "SECURITY.md", "docs"):
        copy = shutil.copytree if (tree / name).is_dir() else shutil.copy
        copy(tree / name, work / name)
    (work / "debian" / "changelog").write_text(_changelog(version))
    run("dpkg-buildpackage", "--build=binary", "--unsigned-changes", folder=work, epoch=version.epoch)
    (package,) = work.parent.glob("inbox-server_*.deb")
    return package, root / HOME / "bin" / "python3"


def _install(home: Path, python: str, wheel: Path, tree: Path, version: Version) -> None:
    """A virtual environment with nothing in it that tells where it was made; `venv` and pip write paths and times."""
    home.mkdir(parents=True)
    packages = home / "lib" / f"python{python}" / "site-packages"
    pip = ("pip", "--disable-pip-version-check", "--python", _SYSTEM_PYTHON, "install", "--quiet", "--no-compile")
    of_lock = ("--require-hashes", "--no-deps", "--requirement", tree / "release" / "libraries.txt")
    run(*pip, *of_lock, "--target", packages, folder=home, epoch=version.epoch)
    ours = ("--no-deps", "--no-index", "--find-links", wheel.parent, f"inbox-server=={version.python}")
    run(*pip, *ours, "--target", packages, folder=home, epoch=version.epoch)
    shutil.rmtree(packages / "bin")  # commands; their first lines name the Python that built them
    (home / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    (home / "bin").mkdir()
    (home / "bin" / "python3").symlink_to(f"/usr/bin/python{python}")
    (home / "bin" / "inbox-server").write_text(_COMMAND)
    (home / "bin" / "inbox-server").chmod(0o755)


def _write_config(root: Path, version: Version) -> None:
    folder = root / "etc" / "inbox-server"
    folder.mkdir(parents=True)
    text = run(root / HOME / "bin" / "python3", "-IB", "-c", _CONFIG, folder=root, epoch=version.epoch)
    (folder / "config.toml").write_text(text)


def _write_help(root: Path, work: Path, version: Version) -> None:
    """The manual page, and completion for shells."""
    (work / "inbox-server.1").write_text(
        run(sys.executable, "-m", "release.manual", folder=Path().resolve(), epoch=version.epoch)
    )
    python = root / HOME / "bin" / "python3"
    for shell, place in _COMPLETIONS.items():
        script = run(python, "-IB", "-m", "inbox_server", "--print-completion", shell, folder=root, epoch=version.epoch)
        (root / place).parent.mkdir(parents=True)
        (root / place).write_text(script)


def _changelog(version: Version) -> str:
    day = datetime.fromtimestamp(version.epoch, UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
    return (
        f"inbox-server ({version.python}-1) unstable; urgency=medium\n\n"
        "  * See /usr/share/doc/inbox-server/changelog.gz.\n\n"
        f" -- The inbox-server authors <noreply@inbox.example>  {day}\n"
    )
